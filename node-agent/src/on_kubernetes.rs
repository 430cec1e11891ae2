//! An agent that Kubernetes tells what to serve, and that tells Kubernetes of itself.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Client;
use pagemesh_agent::config::{Life, Me, Objects, OwnAgent};
use pagemesh_agent::handover::{HandOver, hand_over};
use pagemesh_agent::http::{Readiness, Standing};
use pagemesh_agent::instance::{DirError, Dirs};
use pagemesh_agent::kubernetes::{AgentIdentity, Stage, StatusMaker};
use pagemesh_agent::observe::look;
use pagemesh_agent::preflight::{self, Finding, Level};
use pagemesh_protocol::AgentId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::agent::{Agent, Pages, Signals, incarnation, shard_count, shown};
use crate::args::RunArgs;
use crate::cluster::Cluster;

/// Before a node that cannot serve is looked at again.
const PREFLIGHT_EVERY: Duration = Duration::from_secs(30);

/// How long nobody may be ready to take over before there is nobody: in an update the next agent starts while this one ends,
/// and its pod is ready a moment before its object says so.
const ALONE_MAX: Duration = Duration::from_secs(15);

/// What leaving takes at least, however late the hand-over was done.
const LEAVE_MIN: Duration = Duration::from_secs(5);

/// Serves until a signal comes and others have taken over, or a part fails.
pub(crate) async fn run(args: &RunArgs, identity: AgentIdentity, advertise: SocketAddr) -> Result<()> {
    let mut signals = Signals::new()?;
    let client = Client::try_default().await.context(
        "cannot find the API server: run in a pod with a service account, or name a kubeconfig in KUBECONFIG",
    )?;
    let pages = Pages::start(args, Readiness::Alone, "the agent is starting").await?;
    let incarnation = incarnation()?;
    let maker = StatusMaker::new(advertise, shown(incarnation), identity.pod_name.clone(), shard_count(args));
    let mut cluster = Cluster::new(client, identity.clone(), maker, args);

    let dirs = tokio::select! {
        dirs = pass_preflight(args, &pages, &mut cluster) => dirs?,
        signal = signals.next() => return bye(signal),
    };
    cluster.stand(&pages, Stage::WaitingForId);
    let (id, api) = tokio::select! {
        found = cluster.wait_for_id(&identity) => found,
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
    let result = serve(&mut agent, &mut cluster, &pages, &mut signals, id, &life, args).await;
    info!("the agent ends: {}", if result.is_ok() { "it has said goodbye" } else { "a part has failed" });
    cluster.stage = if result.is_ok() { Stage::Stopped } else { Stage::Stopping };
    cluster.observation = look(&agent.control).await;
    agent.end().await;
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
    life: &Life,
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
    cluster.stand_with(
        pages,
        Stage::Stopping,
        Standing::Stopping(Arc::clone(&agent.control), Stage::Stopping.message().into()),
    );
    let deadline = Instant::now() + Duration::from_secs(args.hand_over.into());
    let (mut objects, mut outcast) = (agent.objects(), cluster.outcast.clone());
    let end = async {
        tokio::select! {
            leave_until = handed_over(&mut objects, life, deadline) => leave_until,
            () = cast_out(&mut outcast) => {
                warn!("the API server does not hear this agent any more, so nobody will take over: the agent goes");
                Some(Instant::now())
            }
            signal = signals.next() => {
                warn!("the agent goes at once, since it got {signal} again: pages that it homes go with it");
                None
            }
            never = cluster.follow(&mut observed) => match never {},
        }
    };
    if let Some(deadline) = agent.serve_until(end).await? {
        agent.leave(deadline.max(Instant::now() + LEAVE_MIN)).await;
    }
    Ok(())
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

/// Returns when the API server refuses to hear this agent, as when its pool was deleted and its rights with it.
async fn cast_out(outcast: &mut watch::Receiver<bool>) {
    if outcast.wait_for(|outcast| *outcast).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until no placement names this agent any more, at most until the deadline; until when it may then leave, if there
/// is anybody to take leave of.
async fn handed_over(
    objects: &mut watch::Receiver<Arc<Objects>>,
    life: &Life,
    deadline: Instant,
) -> Option<Instant> {
    let mut told = HandOver::Done;
    let mut alone_since = None;
    loop {
        let now = hand_over(&objects.borrow_and_update(), life);
        let mut look_again = deadline;
        match &now {
            HandOver::Done => return Some(deadline),
            HandOver::NobodyLeft => {
                let alone_since: Instant = *alone_since.get_or_insert_with(Instant::now);
                if alone_since.elapsed() >= ALONE_MAX {
                    warn!(
                        "nobody is ready to take over: the agent goes, and the pages that it homes go with it"
                    );
                    return None;
                }
                look_again = deadline.min(alone_since + ALONE_MAX);
            }
            HandOver::Waiting { regions, more } => {
                alone_since = None;
                if now != told {
                    info!(?regions, more, "waiting for others to take over");
                }
            }
        }
        told = now;
        let changed = tokio::time::timeout_at(look_again, objects.changed()).await;
        if matches!(changed, Ok(Err(_))) || Instant::now() >= deadline {
            error!(
                ?told,
                "the time to hand over is over: the agent goes, and the pages that it homes go with it"
            );
            return Some(deadline);
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
        Err(trouble @ (DirError::Mount { .. } | DirError::Io { .. })) => (None, Some(trouble)),
    };
    let mut findings = preflight::evaluate(&preflight::gather(memory_dir));
    findings.extend(trouble.map(|trouble| preflight::failure("directories", trouble.to_string())));
    Ok((dirs, findings))
}
