//! How an agent on Kubernetes gets to where it can serve: on a node of its own, or beside an agent that is to hand over to it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use kube::Client;
use pagemesh_agent::config::{Api, OwnAgent};
use pagemesh_agent::csi::{self, Csi};
use pagemesh_agent::http::Standing;
use pagemesh_agent::instance::{DirError, Dirs};
use pagemesh_agent::kept;
use pagemesh_agent::kubernetes::{AgentIdentity, Stage, StatusMaker};
use pagemesh_agent::preflight::{self, Finding, Level};
use pagemesh_protocol::Incarnation;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info};

use crate::agent::{Pages, life, shard_count, shown};
use crate::args::RunArgs;
use crate::cluster::Cluster;
use crate::take_over::{Predecessor, take_over};

/// Before a node that cannot serve is looked at again.
const PREFLIGHT_EVERY: Duration = Duration::from_secs(30);

/// What an agent starts with.
pub(crate) struct StartUp<'a> {
    pub(crate) args: &'a RunArgs,
    pub(crate) client: Client,
    pub(crate) identity: &'a AgentIdentity,
    pub(crate) advertise: SocketAddr,
    pub(crate) pages: &'a Pages,
    pub(crate) api: Api,
    /// What becomes of the agent's object.
    pub(crate) own: watch::Sender<OwnAgent>,
    pub(crate) begun_nanos: u64,
}

/// All that it needs to serve.
pub(crate) struct Ready {
    pub(crate) dirs: Dirs,
    pub(crate) before: Predecessor,
    pub(crate) cluster: Cluster,
    pub(crate) incarnation: Incarnation,
    pub(crate) id: u16,
    /// Serves the kubelet, if the agent is told where that is.
    pub(crate) csi: Option<Csi>,
}

/// The directories of the node.
enum Found {
    Free(Box<Dirs>),
    /// An agent runs there.
    Taken,
    Unusable,
}

impl StartUp<'_> {
    /// Waits until the agent can serve, and tells Kubernetes of itself as soon as nobody else does so in its name.
    ///
    /// # Errors
    /// It never can.
    pub(crate) async fn ready(&mut self) -> Result<Ready> {
        match look(self.args).await? {
            (Found::Taken, findings) => self.after_another(findings).await,
            first => self.alone(first).await,
        }
    }

    /// Another agent serves this node, and goes on until this one can do so in its place.
    async fn after_another(&mut self, findings: Vec<Finding>) -> Result<Ready> {
        info!("an agent serves this node: this one gets ready to take over from it");
        let standing = "an agent serves this node, and this one is about to take over from it";
        self.pages.standing.send_replace(Standing::Waiting(standing.into()));
        let id = self.api.wait_for_id(&self.identity.name, &self.own).await;
        // What can go wrong here does, as long as the other one serves.
        csi_settings(self.args, &self.identity.name, &self.args.dir).as_ref().map_or(Ok(()), csi::check)?;
        let (dirs, before) = take_over(self.args, self.begun_nanos).await?;
        let csi = start_csi(self.args, &self.identity.name, &dirs, self.pages)?;
        let incarnation = life(&self.args.memory_dir)?;
        let mut cluster = self.cluster(incarnation);
        (cluster.preflight, cluster.held_bytes) = (findings, dirs.held_bytes());
        Ok(Ready { dirs, before, cluster, incarnation, id, csi })
    }

    async fn alone(&mut self, first: (Found, Vec<Finding>)) -> Result<Ready> {
        let kept = kept::incarnation(&self.args.memory_dir);
        let incarnation = life(&self.args.memory_dir)?;
        let mut cluster = self.cluster(incarnation);
        let mut uid = cluster.uid.clone();
        // Whoever deletes the agent's object while it waits must not have it wait for ever.
        let dirs = tokio::select! {
            dirs = pass_preflight(self.args, self.pages, &mut cluster, first) => dirs?,
            never = async {
                declared(&mut uid).await;
                self.api.follow_own(&self.identity.name, &self.own).await
            } => match never {},
        };
        cluster.held_bytes = dirs.held_bytes();
        // It has been told already in which life this agent is.
        if kept.is_some() && kept::incarnation(&self.args.memory_dir) != kept {
            bail!(
                "what an earlier process of this agent has kept is lost, and so is its life: start it anew"
            );
        }
        // Pods come and go, whether the agent has its number already or not.
        let csi = start_csi(self.args, &self.identity.name, &dirs, self.pages)?;
        cluster.stand(self.pages, Stage::WaitingForId);
        declared(&mut uid).await;
        let id = self.api.wait_for_id(&self.identity.name, &self.own).await;
        info!(id, incarnation = shown(incarnation), "the operator has given this agent its number");
        let before = Predecessor::NotThere { begun_nanos: self.begun_nanos };
        Ok(Ready { dirs, before, cluster, incarnation, id, csi })
    }

    fn cluster(&self, incarnation: Incarnation) -> Cluster {
        let (identity, args) = (self.identity.clone(), self.args);
        let pod = identity.pod_name.clone();
        let maker = StatusMaker::new(self.advertise, shown(incarnation), pod, shard_count(args));
        Cluster::new(self.client.clone(), identity, maker, args, self.own.clone())
    }
}

/// Waits until the agent's object is there: before that its absence says nothing.
async fn declared(uid: &mut watch::Receiver<String>) {
    if uid.wait_for(|uid| !uid.is_empty()).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Looks until this node has what an agent needs.
async fn pass_preflight(
    args: &RunArgs,
    pages: &Pages,
    cluster: &mut Cluster,
    first: (Found, Vec<Finding>),
) -> Result<Dirs> {
    let mut failed = false;
    let (mut found, mut findings) = first;
    loop {
        let passed = preflight::passes(&findings);
        if findings != cluster.preflight {
            for Finding { check, found, advice, .. } in findings.iter().filter(|f| f.level == Level::Fail) {
                error!(check, found, advice, "this node cannot serve");
            }
        }
        cluster.preflight = findings;
        match found {
            Found::Free(dirs) if passed => {
                if failed {
                    info!("this node can serve now");
                }
                return Ok(*dirs);
            }
            Found::Taken => return Err(DirError::Taken(args.dir.clone()).into()),
            // They are taken again when the node is looked at again.
            Found::Free(dirs) => drop(dirs),
            Found::Unusable => {}
        }
        cluster.stand(pages, Stage::PreflightFailed);
        failed = true;
        sleep(PREFLIGHT_EVERY).await;
        (found, findings) = look(args).await?;
    }
}

async fn look(args: &RunArgs) -> Result<(Found, Vec<Finding>)> {
    let (dir, memory_dir, lent) = (args.dir.clone(), args.memory_dir.clone(), args.memory);
    Ok(tokio::task::spawn_blocking(move || examine(&dir, &memory_dir, lent)).await?)
}

/// Takes the directories and looks at the node.
fn examine(dir: &Path, memory_dir: &Path, lent: Option<u64>) -> (Found, Vec<Finding>) {
    let (found, trouble) = match Dirs::take(dir, memory_dir, lent) {
        Ok(dirs) => (Found::Free(Box::new(dirs)), None),
        Err(DirError::Taken(_)) => (Found::Taken, None),
        Err(
            trouble @ (DirError::Mount { .. }
            | DirError::TooFull { .. }
            | DirError::Kept(_)
            | DirError::Io { .. }),
        ) => (Found::Unusable, Some(trouble)),
    };
    let mut findings = preflight::evaluate(&preflight::gather(memory_dir));
    findings.extend(trouble.map(|trouble| preflight::failure("directories", trouble.to_string())));
    (found, findings)
}

fn csi_settings(args: &RunArgs, node: &str, dir: &Path) -> Option<csi::Settings> {
    let RunArgs { kubelet_dir, library, .. } = args;
    let (node, dir, library) = (node.to_owned(), dir.into(), library.clone());
    kubelet_dir.clone().map(|kubelet_dir| csi::Settings { node, kubelet_dir, dir, library })
}

/// Opens the volumes of the node's pods. The directories must be this agent's.
pub(crate) fn start_csi(args: &RunArgs, node: &str, dirs: &Dirs, pages: &Pages) -> Result<Option<Csi>> {
    let standing = pages.standing.subscribe();
    let serving = move || matches!(&*standing.borrow(), Standing::Serving(_));
    Ok(csi_settings(args, node, dirs.dir()).map(|settings| Csi::start(&settings, serving)).transpose()?)
}
