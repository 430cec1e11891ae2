//! `pagemesh resolve` and `pagemesh ls`: what paths stand for. A mesh on this machine is asked at an agent's name server; on a
//! cluster the objects that the user may see are looked at in the way in which agents do, so that the API server decides what is
//! shown to whom.

mod cluster;
mod list;
mod node;
mod resolve;

use anyhow::{Context, Result, bail};
use pagemesh_crds::NAMESPACE_DEFAULT;
use pagemesh_names::{End, Listing, Place, Problem, Referral};

use crate::called;
use crate::kubernetes::{Access, Patience};
use crate::mesh::{self, DirArg, Mesh};
use cluster::Objects;
use node::Node;

pub(crate) use list::{Args as ListArgs, list};
pub(crate) use resolve::{Args as ResolveArgs, resolve};

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
    /// Node of a mesh on this machine whose agent is asked.
    #[arg(long, value_name = "K", default_value_t = 0)]
    node: u16,
    #[command(flatten)]
    access: Access,
}

/// Who knows names.
enum Names {
    /// An agent.
    Node(Node),
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
            Names::Node(node) => node.resolve(place).await,
            Names::Cluster(objects) => Ok(objects.resolve(place).await),
        }
    }

    async fn list(&self, place: &Place) -> Result<Result<Listing, Problem>> {
        match self {
            Names::Node(node) => node.list(place).await,
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
        if self.is_of_this_machine()? {
            let mesh = Mesh::find(self.dir.resolve()?)?;
            let dir = mesh.node(self.node)?;
            let place = place(NAMESPACE_DEFAULT)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.context("the system gives no descriptors to wait on; raise `ulimit -n`")?;
            return runtime.block_on(async { work(Names::Node(Node::connect(&dir).await?), place).await });
        }
        self.access.with_cluster(Patience::Answer, async |cluster| {
            let place = place(&cluster.namespace)?;
            let objects = Objects::read(&cluster, &place).await?;
            work(Names::Cluster(objects), place).await
        })
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
