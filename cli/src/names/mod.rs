//! `pagemesh resolve` and `pagemesh ls`: what paths stand for. A mesh on this machine is asked at an agent's name server; on a
//! cluster the objects that the user may see are looked at in the way in which agents do, so that the API server decides what is
//! shown to whom.

mod cluster;
mod list;
mod node;
mod resolve;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use pagemesh_crds::{ENV_SOCKET, NAMESPACE_DEFAULT};
use pagemesh_names::{End, Listing, Place, Problem, Referral};

use crate::called;
use crate::kubernetes::{Access, Patience};
use crate::mesh::{self, DirArg, Mesh};
use cluster::Objects;
use node::Node;

pub(crate) use list::{Args as ListArgs, list};
pub(crate) use resolve::{Args as ResolveArgs, resolve};

/// Where programs find the tree.
const ROOT_IN_PROGRAMS: &str = "/pagemesh";

/// Whom to ask, and where a path begins.
#[derive(Clone, Debug, clap::Args)]
struct Asking {
    /// Namespace that PATH is in unless it begins with `/` [default: the context's; `default` on this machine]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// MountTable of that namespace to look in [default: its default one]
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    #[command(flatten)]
    dir: DirArg,
    /// Socket of a pod's volume or of an agent, by which programs attach: it is asked as this pod [default: $PAGEMESH_SOCKET, where
    /// no mesh or cluster is named]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["node", "namespace", "table"])]
    socket: Option<PathBuf>,
    /// Node of a mesh on this machine whose agent is asked [default: 0]
    #[arg(long, value_name = "K")]
    node: Option<u16>,
    #[command(flatten)]
    access: Access,
}

/// Whom a question goes to on this machine.
enum Local {
    /// The agent with this directory.
    Agent(PathBuf),
    /// Who listens for programs at this socket.
    Socket(PathBuf),
}

impl Local {
    async fn connect(&self) -> Result<Names> {
        Ok(match self {
            Local::Agent(dir) => Names::Node(Node::connect(dir).await?),
            Local::Socket(socket) => Names::Pod(Node::connect_by(socket).await?),
        })
    }
}

/// Who knows names.
enum Names {
    /// An agent.
    Node(Node),
    /// An agent, by a socket of which it knows whose it is.
    Pod(Node),
    /// A cluster's objects.
    Cluster(Objects),
}

/// What a path stands for.
struct Resolved {
    trace: Vec<Referral>,
    end: Result<End, Problem>,
    /// Who says so, and the generation of its names.
    by: Option<(String, u64)>,
}

impl Names {
    async fn resolve(&self, place: &Place) -> Result<Resolved> {
        match self {
            Names::Node(node) => node.resolve(node::query(place)).await,
            Names::Pod(node) => node.resolve(node::query_of_pod(place)).await,
            Names::Cluster(objects) => Ok(objects.resolve(place).await),
        }
    }

    /// A place as who asks sees it.
    fn shown(&self, place: &Place) -> String {
        match self {
            Names::Pod(_) if place.own => format!("{ROOT_IN_PROGRAMS}/{}", place.path),
            Names::Node(_) | Names::Pod(_) | Names::Cluster(_) => place.absolute(),
        }
    }

    async fn list(&self, place: &Place) -> Result<Result<Listing, Problem>> {
        match self {
            Names::Node(node) => node.list(node::query(place)).await,
            Names::Pod(node) => node.list(node::query_of_pod(place)).await,
            Names::Cluster(objects) => Ok(objects.list(place).await),
        }
    }
}

impl Asking {
    /// Does `work` with who knows names, and the place that `path` means.
    fn with<T>(&self, path: &str, work: impl AsyncFnOnce(Names, Place) -> Result<T>) -> Result<T> {
        let place = |namespace: &str| {
            let namespace = self.namespace.as_deref().unwrap_or(namespace);
            Place::parse(namespace, path)?.with_table(self.table.as_deref().unwrap_or_default())
        };
        if let Some(local) = self.local()? {
            let place = place(NAMESPACE_DEFAULT)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.context("the system gives no descriptors to wait on; raise `ulimit -n`")?;
            return runtime.block_on(async { work(local.connect().await?, place).await });
        }
        self.access.with_cluster(Patience::Answer, async |cluster| {
            let place = place(&cluster.namespace)?;
            let objects = Objects::read(&cluster, &place).await?;
            work(Names::Cluster(objects), place).await
        })
    }

    fn local(&self) -> Result<Option<Local>> {
        if let Some(socket) = self.socket.clone().or_else(|| self.socket_of_program()) {
            return Ok(Some(Local::Socket(socket)));
        }
        if !self.is_of_this_machine()? {
            return Ok(None);
        }
        let mesh = Mesh::find(self.dir.resolve()?)?;
        Ok(Some(Local::Agent(mesh.node(self.node.unwrap_or(0))?)))
    }

    /// Where programs that are started as this one was find their agent, unless somebody else is named.
    fn socket_of_program(&self) -> Option<PathBuf> {
        let names_another = self.dir.is_given()
            || self.access.is_given()
            || self.namespace.is_some()
            || self.table.is_some()
            || self.node.is_some()
            || called::as_plugin();
        let socket = std::env::var_os(ENV_SOCKET).filter(|socket| !socket.is_empty());
        socket.filter(|_| !names_another).map(PathBuf::from)
    }

    /// A mesh that is named is meant, and so is one that runs where nobody names a cluster.
    fn is_of_this_machine(&self) -> Result<bool> {
        match (self.dir.is_given(), self.access.is_given()) {
            (true, true) => {
                bail!("--dir names a mesh on this machine and the other flags a cluster; write one of them")
            }
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            (false, false) => Ok(!called::as_plugin() && mesh::file(&self.dir.resolve()?).exists()),
        }
    }
}

/// What a region is called here, with how it may be used by that path.
fn shown(region: &pagemesh_names::Region) -> String {
    format!("{}/{}", region.namespace, region.name)
}
