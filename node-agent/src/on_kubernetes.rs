//! An agent that Kubernetes tells what to serve, and that tells Kubernetes of itself.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Client;
use pagemesh_agent::config::{Api, Life, Me, OwnAgent};
use pagemesh_agent::http::{Readiness, Standing};
use pagemesh_agent::instance::{DirError, Dirs};
use pagemesh_agent::kept;
use pagemesh_agent::kubernetes::{AgentIdentity, Stage, StatusMaker};
use pagemesh_agent::observe::look;
use pagemesh_agent::preflight::{self, Finding, Level};
use pagemesh_protocol::AgentId;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info};

use crate::agent::{Agent, Pages, Signals, life, shard_count, shown};
use crate::args::RunArgs;
use crate::cluster::Cluster;
use crate::goodbye::{Leaver, say_goodbye};

/// Before a node that cannot serve is looked at again.
const PREFLIGHT_EVERY: Duration = Duration::from_secs(30);

/// Serves until a signal comes and others have taken over, or a part fails.
pub(crate) async fn run(args: &RunArgs, identity: AgentIdentity, advertise: SocketAddr) -> Result<()> {
    let mut signals = Signals::new()?;
    let client = Client::try_default().await.context(
        "cannot find the API server: run in a pod with a service account, or name a kubeconfig in KUBECONFIG",
    )?;
    let pages = Pages::start(args, Readiness::Alone, "the agent is starting").await?;
    let kept = kept::incarnation(&args.memory_dir);
    let incarnation = life(&args.memory_dir)?;
    let maker = StatusMaker::new(advertise, shown(incarnation), identity.pod_name.clone(), shard_count(args));
    let mut api = Api::start(client.clone());
    let mut cluster = Cluster::new(client, identity.clone(), maker, args);
    let (own, mut uid) = (cluster.own.clone(), cluster.uid.clone());

    // Whoever deletes the agent's object while it waits must not have it wait for ever.
    let dirs = tokio::select! {
        dirs = pass_preflight(args, &pages, &mut cluster) => dirs?,
        never = async {
            declared(&mut uid).await;
            api.follow_own(&identity.name, &own).await
        } => match never {},
        signal = signals.next() => return bye(signal),
    };
    cluster.held_bytes = dirs.held_bytes();
    // It has been told already in which life this agent is.
    if kept.is_some() && kept::incarnation(&args.memory_dir) != kept {
        bail!("what an earlier process of this agent has kept is lost, and so is its life: start it anew");
    }
    cluster.stand(&pages, Stage::WaitingForId);
    let id = tokio::select! {
        id = async {
            declared(&mut uid).await;
            api.wait_for_id(&identity.name, &own).await
        } => id,
        signal = signals.next() => return bye(signal),
    };
    info!(id, incarnation = shown(incarnation), "the operator has given this agent its number");

    let me = Me { name: identity.name.clone(), id: AgentId(id) };
    let in_force = api.in_force(me.clone());
    let (publish, published) = watch::channel(in_force.objects());
    let mut agent = Agent::start(args, &dirs, &pages, me, incarnation, published).await?;
    agent.depend_on(api.run(identity.name.clone(), in_force, publish, cluster.own.clone()));
    cluster.stage = Stage::Serving;

    let life = Life { name: identity.name, incarnation: shown(incarnation) };
    let leaver = Leaver { life, pool: identity.pool };
    let result = serve(&mut agent, &mut cluster, &pages, &mut signals, id, &leaver, args).await;
    info!("the agent ends: {}", if result.is_ok() { "it has said goodbye" } else { "a part has failed" });
    cluster.stage = if result.is_ok() { Stage::Stopped } else { Stage::Stopping };
    if let Ok(observation) = look(&agent.control).await {
        cluster.observation = observation;
    }
    agent.end(result.is_ok()).await;
    if result.is_ok() {
        dirs.end();
    }
    cluster.farewell().await;
    result
}

fn bye(signal: &str) -> Result<()> {
    info!("the agent ends before it has served: {signal}");
    Ok(())
}

/// Serves, then hands over, then leaves.
async fn serve(
    agent: &mut Agent,
    cluster: &mut Cluster,
    pages: &Pages,
    signals: &mut Signals,
    id: u16,
    leaver: &Leaver,
    args: &RunArgs,
) -> Result<()> {
    let mut own = cluster.own.subscribe();
    let mut observed = agent.observed.clone();
    let end = async {
        tokio::select! {
            signal = signals.next() => Ok(signal),
            other = other_id(&mut own, id) => Err(other),
            never = cluster.follow(&mut observed) => match never {},
        }
    };
    let signal = match agent.serve_until(end).await? {
        Ok(signal) => signal,
        // Peers know this agent by its number, and somebody else may have it by now.
        Err(other) => {
            bail!("the Agent object now has the id {other}, and this agent runs as {id}: start it anew")
        }
    };

    info!("the agent hands over, since it got {signal}");
    agent.control.stop_admitting();
    let stopping = Standing::Stopping(Arc::clone(&agent.control), Stage::Stopping.message().into());
    cluster.stand_with(pages, Stage::Stopping, stopping);
    say_goodbye(agent, cluster, signals, leaver, Duration::from_secs(args.hand_over.into())).await
}

/// Waits until the agent's object is there: before that its absence says nothing.
async fn declared(uid: &mut watch::Receiver<String>) {
    if uid.wait_for(|uid| !uid.is_empty()).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Returns when the agent's object has another number than this agent runs with.
async fn other_id(own: &mut watch::Receiver<OwnAgent>, id: u16) -> u16 {
    loop {
        if let Some(other) = own.borrow_and_update().id.filter(|other| *other != id) {
            return other;
        }
        if own.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Looks until this node has what an agent needs.
async fn pass_preflight(args: &RunArgs, pages: &Pages, cluster: &mut Cluster) -> Result<Dirs> {
    let mut failed = false;
    loop {
        let (dir, memory_dir, lent) = (args.dir.clone(), args.memory_dir.clone(), args.memory);
        let looked = tokio::task::spawn_blocking(move || examine(&dir, &memory_dir, lent)).await?;
        let (dirs, findings) = looked?;
        let passed = preflight::passes(&findings);
        if findings != cluster.preflight {
            for Finding { check, found, advice, .. } in findings.iter().filter(|f| f.level == Level::Fail) {
                error!(check, found, advice, "this node cannot serve");
            }
        }
        cluster.preflight = findings;
        match dirs.filter(|_| passed) {
            Some(dirs) => {
                if failed {
                    info!("this node can serve now");
                }
                return Ok(dirs);
            }
            None => cluster.stand(pages, Stage::PreflightFailed),
        }
        failed = true;
        sleep(PREFLIGHT_EVERY).await;
    }
}

/// Takes the directories and looks at the node. Only that another agent runs here is nothing to wait for.
fn examine(dir: &Path, memory_dir: &Path, lent: Option<u64>) -> Result<(Option<Dirs>, Vec<Finding>)> {
    let (dirs, trouble) = match Dirs::take(dir, memory_dir, lent) {
        Ok(dirs) => (Some(dirs), None),
        Err(taken @ DirError::Taken(_)) => return Err(taken.into()),
        Err(
            trouble @ (DirError::Mount { .. }
            | DirError::TooFull { .. }
            | DirError::Kept(_)
            | DirError::Io { .. }),
        ) => (None, Some(trouble)),
    };
    let mut findings = preflight::evaluate(&preflight::gather(memory_dir));
    findings.extend(trouble.map(|trouble| preflight::failure("directories", trouble.to_string())));
    Ok((dirs, findings))
}
