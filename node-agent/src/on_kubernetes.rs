//! An agent that Kubernetes tells what to serve, and that tells Kubernetes of itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Client;
use pagemesh_agent::config::{Api, Life, Me, OwnAgent};
use pagemesh_agent::csi::Csi;
use pagemesh_agent::http::{Readiness, Standing};
use pagemesh_agent::instance::Dirs;
use pagemesh_agent::kubernetes::{AgentIdentity, PodEvents, Stage};
use pagemesh_agent::observe::look;
use pagemesh_agent::succession::{Door, Heir};
use pagemesh_agent::volume;
use pagemesh_protocol::AgentId;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::agent::{Agent, Ending, Pages, Served, Signals, shard_count, shown};
use crate::args::RunArgs;
use crate::cluster::Cluster;
use crate::goodbye::{Leaver, say_goodbye};
use crate::start_up::{Ready, StartUp};

/// How long the operator may take to hear what Kubernetes has heard.
const NEWS_TRAVEL: Duration = Duration::from_secs(1);
/// How long it may take to answer an agent that is to end.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How long it may take to find out that the API server will not hear an agent any more.
const OUTCAST_WAIT: Duration = Duration::from_secs(15);
/// How long Kubernetes may take to end a pod whose successor is ready.
const ENDED_WAIT: Duration = Duration::from_secs(60);

/// Serves until a signal comes and others have taken over, a successor on this node takes over, or a part fails.
pub(crate) async fn run(
    args: &RunArgs,
    identity: AgentIdentity,
    advertise: SocketAddr,
    begun_nanos: u64,
) -> Result<()> {
    let mut signals = Signals::new()?;
    let client = Client::try_default().await.context(
        "cannot find the API server: run in a pod with a service account, or name a kubeconfig in KUBECONFIG",
    )?;
    let pages = Pages::start(args, Readiness::Alone, "the agent is starting").await?;
    let api = Api::start(client.clone());
    let events = PodEvents::start(client.clone(), &identity.name);
    let own = watch::Sender::new(OwnAgent { present: true, ..OwnAgent::default() });
    let identity_of = &identity;
    let mut start_up =
        StartUp { args, client, identity: identity_of, advertise, pages: &pages, api, own, begun_nanos };
    let ready = tokio::select! {
        ready = start_up.ready() => ready?,
        signal = signals.next() => return bye(signal),
    };
    let Ready { dirs, before, mut cluster, incarnation, id, csi } = ready;
    let api = start_up.api;

    let me = Me { name: identity.name.clone(), id: AgentId(id) };
    let in_force = api.in_force(me.clone());
    let (publish, published) = watch::channel(in_force.objects());
    let volumes = csi.as_ref().map_or_else(volume::none, Csi::volumes);
    let served = Served { objects: published, volumes, events };
    // Before it is announced, for who reads of it may want to take over.
    let door = Door::open(dirs.dir(), shard_count(args))?;
    let mut agent = Agent::start(args, &dirs, &pages, me, incarnation, served, before).await?;
    if let Some(csi) = csi {
        agent.depend_on(csi.run());
    }
    agent.depend_on(api.run(identity.name.clone(), in_force, publish, cluster.own.clone()));
    cluster.stage = Stage::Serving;

    let life = Life { name: identity.name, incarnation: shown(incarnation) };
    let leaver = Leaver { life, pool: identity.pool };
    let result = tokio::select! {
        result = serve(&mut agent, &mut cluster, &pages, &mut signals, id, &leaver, args) => result,
        heir = door.heir() => {
            return hand_over(heir, agent, cluster, dirs, &pages, &mut signals).await;
        }
    };
    if let Ok(End::Stays) = result {
        cluster.hush().await;
        return agent.stand_down().await.map(drop);
    }
    info!("the agent ends: {}", if result.is_ok() { "it has said goodbye" } else { "a part has failed" });
    cluster.stage = if result.is_ok() { Stage::Stopped } else { Stage::Stopping };
    if let Ok(observation) = look(&agent.control).await {
        cluster.observation = observation;
    }
    agent.end(Ending::of(&result)).await;
    if result.is_ok() {
        dirs.end();
    }
    cluster.farewell().await;
    result.map(drop)
}

/// Gives everything to the agent that another pod runs on this node, and waits to be told to end.
async fn hand_over(
    heir: Heir,
    agent: Agent,
    cluster: Cluster,
    dirs: Dirs,
    pages: &Pages,
    signals: &mut Signals,
) -> Result<()> {
    info!("the agent hands over: release {} takes over", heir.release());
    // From here on the successor speaks in this agent's name.
    cluster.hush().await;
    let stopped_nanos = agent.stand_down().await?;
    heir.give(dirs.into_locks(), stopped_nanos).await?;
    pages.standing.send_replace(Standing::Waiting("another agent has taken over from this one".into()));
    match timeout(ENDED_WAIT, signals.next()).await {
        Ok(signal) => info!("the agent ends, since it got {signal}: it has handed over long ago"),
        // Kubernetes has changed its mind, as when an upgrade is rolled back: started again, this pod takes over from the other one.
        Err(_) => bail!("it has handed over, and its pod goes on: it starts again"),
    }
    Ok(())
}

fn bye(signal: &str) -> Result<()> {
    info!("the agent ends before it has served: {signal}");
    Ok(())
}

/// How an agent ends with which nothing is wrong.
enum End {
    /// Nothing of it is left on the node.
    Gone,
    /// All of it stays there for another agent.
    Stays,
}

/// Serves, and when told to end, asks what is to become of what it holds: it stays for another agent of the node, or the agent
/// hands it over to other nodes and leaves.
async fn serve(
    agent: &mut Agent,
    cluster: &mut Cluster,
    pages: &Pages,
    signals: &mut Signals,
    id: u16,
    leaver: &Leaver,
    args: &RunArgs,
) -> Result<End> {
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
    info!("the agent was told to end by {signal}");
    if stays(agent, cluster, pages, signals).await? {
        info!("what it holds stays on this node for the agent that follows");
        return Ok(End::Stays);
    }

    info!("the agent hands over to other nodes");
    agent.control.stop_admitting();
    let stopping = Standing::Stopping(Arc::clone(&agent.control), Stage::Stopping.message().into());
    cluster.stand_with(pages, Stage::Stopping, stopping);
    let at_most = Duration::from_secs(args.hand_over.into());
    say_goodbye(agent, cluster, signals, leaver, at_most).await?;
    Ok(End::Gone)
}

/// Asks the operator whether another agent follows on this node, and serves until it has answered. Without an answer
/// it does: to hand over to other nodes takes the operator as well.
async fn stays(
    agent: &mut Agent,
    cluster: &mut Cluster,
    pages: &Pages,
    signals: &mut Signals,
) -> Result<bool> {
    let pod = cluster.pod_name().to_owned();
    let (mut own, mut outcast) = (cluster.own.subscribe(), cluster.outcast.clone());
    let mut observed = agent.observed.clone();
    // What made Kubernetes end this pod, the operator must have seen as well.
    let heard = async {
        tokio::select! {
            () = sleep(NEWS_TRAVEL) => {}
            never = cluster.follow(&mut observed) => match never {},
        }
    };
    agent.serve_until(heard).await?;
    cluster.stand_with(pages, Stage::Ending, Standing::Serving(Arc::clone(&agent.control)));
    let answered = |own: &OwnAgent| {
        let ending = own.ending.as_ref();
        let ending = ending.filter(|ending| ending.pod_name.as_ref().is_none_or(|name| *name == pod));
        ending.map(|ending| ending.stays).or_else(|| (!own.present).then_some(false))
    };
    let answer = async {
        tokio::select! {
            answer = own.wait_for(|own| answered(own).is_some()) => answer.ok().and_then(|own| answered(&own)),
            _ = outcast.wait_for(|outcast| *outcast) => Some(false),
            _ = signals.next() => None,
            () = sleep(ANSWER_WAIT) => None,
            never = cluster.follow(&mut observed) => match never {},
        }
    };
    let mut answer = agent.serve_until(answer).await?;
    let was_heard = cluster.own.borrow().reason.as_deref() == Some(Stage::Ending.reason());
    if answer.is_none() && !was_heard {
        // The rights of an agent go with its pool, and then nobody follows.
        let cast_out = async {
            tokio::select! {
                _ = outcast.wait_for(|outcast| *outcast) => Some(false),
                _ = signals.next() => None,
                () = sleep(OUTCAST_WAIT) => None,
                never = cluster.follow(&mut observed) => match never {},
            }
        };
        answer = agent.serve_until(cast_out).await?;
    }
    if answer.is_none() {
        warn!("the operator does not say whether another agent follows on this node: it is taken to");
    }
    Ok(answer.unwrap_or(true))
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
