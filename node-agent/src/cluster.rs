//! What an agent tells Kubernetes, and what it is told there of itself.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use nix::sys::statvfs::statvfs;
use pagemesh_agent::config::OwnAgent;
use pagemesh_agent::http::Standing;
use pagemesh_agent::kubernetes::{self, AgentIdentity, Lent, Stage, StatusMaker};
use pagemesh_agent::observe::Observation;
use pagemesh_agent::preflight::Finding;
use pagemesh_crds::AgentStatus;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::agent::Pages;
use crate::args::RunArgs;

/// What the last status may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// What this agent tells Kubernetes.
pub(crate) struct Cluster {
    maker: StatusMaker,
    pub(crate) stage: Stage,
    pub(crate) preflight: Vec<Finding>,
    pub(crate) observation: Observation,
    memory_dir: PathBuf,
    memory: Option<u64>,
    /// What is not free for regions of this life: [`Dirs::held_bytes`].
    ///
    /// [`Dirs::held_bytes`]: pagemesh_agent::instance::Dirs::held_bytes
    pub(crate) held_bytes: u64,
    status: watch::Sender<AgentStatus>,
    pub(crate) own: watch::Sender<OwnAgent>,
    /// UID of the agent's object; empty until it is known to be there.
    pub(crate) uid: watch::Receiver<String>,
    /// The API server refuses to hear this agent.
    pub(crate) outcast: watch::Receiver<bool>,
    /// Writes the status; the Lease.
    writers: JoinSet<()>,
}

impl Cluster {
    pub(crate) fn new(
        client: Client,
        identity: AgentIdentity,
        maker: StatusMaker,
        args: &RunArgs,
        own: watch::Sender<OwnAgent>,
    ) -> Cluster {
        let (status, statuses) = watch::channel(AgentStatus::default());
        let (tell_uid, uid) = watch::channel(String::new());
        let (cast_out, outcast) = watch::channel(false);
        let mut writers = JoinSet::new();
        let (owned, told_uid) = (own.subscribe(), uid.clone());
        writers.spawn(async move {
            kubernetes::declare(&client, &identity, &tell_uid).await;
            let mut lease = JoinSet::new();
            lease.spawn(kubernetes::renew(client.clone(), identity.clone(), told_uid));
            kubernetes::report(client, identity, statuses, owned, cast_out, tell_uid).await;
        });
        Cluster {
            maker,
            stage: Stage::PreflightFailed,
            preflight: Vec::new(),
            observation: Observation::default(),
            memory_dir: args.memory_dir.clone(),
            memory: args.memory,
            held_bytes: 0,
            status,
            own,
            uid,
            outcast,
            writers,
        }
    }

    /// The pod that this agent runs in.
    pub(crate) fn pod_name(&self) -> &str {
        &self.maker.pod_name
    }

    /// Says why the agent does not serve yet.
    pub(crate) fn stand(&mut self, pages: &Pages, stage: Stage) {
        self.stand_with(pages, stage, Standing::Waiting(stage.message().into()));
    }

    pub(crate) fn stand_with(&mut self, pages: &Pages, stage: Stage, standing: Standing) {
        pages.standing.send_replace(standing);
        self.stage = stage;
        self.tell();
    }

    /// Tells of what is observed, for ever.
    pub(crate) async fn follow(&mut self, observed: &mut watch::Receiver<Observation>) -> Infallible {
        loop {
            self.observation = observed.borrow_and_update().clone();
            self.tell();
            if observed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn tell(&mut self) {
        let lent = self.lent();
        let status =
            self.maker.status(Timestamp::now(), self.stage, &self.preflight, lent, &self.observation);
        self.status.send_if_modified(|last| {
            let changed = *last != status;
            *last = status;
            changed
        });
    }

    /// What is told to be lent, or else all of the tmpfs, without what was in use there before.
    fn lent(&self) -> Option<Lent> {
        let resident_bytes =
            self.observation.regions.iter().filter_map(|r| r.open).map(|o| o.resident_bytes).sum();
        let bytes = self.memory.or_else(|| {
            let filesystem = statvfs(&self.memory_dir).ok()?;
            Some(filesystem.blocks() * filesystem.fragment_size())
        })?;
        Some(Lent { bytes: bytes.saturating_sub(self.held_bytes), resident_bytes })
    }

    /// Tells nothing any more.
    pub(crate) async fn hush(mut self) {
        self.writers.shutdown().await;
    }

    /// Tells what there is at the end, if the API server takes it soon.
    pub(crate) async fn farewell(mut self) {
        self.tell();
        drop(self.status);
        let _ = timeout(FAREWELL, self.writers.join_next()).await;
    }
}
