//! An agent that reads its objects from files.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use pagemesh_agent::config::{Me, Watch};
use pagemesh_agent::csi::Csi;
use pagemesh_agent::http::Readiness;
use pagemesh_agent::instance::Dirs;
use pagemesh_agent::kubernetes::PodEvents;
use pagemesh_agent::succession::{Door, Heir};
use pagemesh_agent::volume;
use pagemesh_protocol::AgentId;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::agent::{Agent, Ending, Pages, Served, Signals, life, shard_count};
use crate::args::RunArgs;
use crate::start_up::start_csi;
use crate::take_over::{Predecessor, take_over};

/// Why an agent ends that nothing is wrong with.
enum End {
    Signal(&'static str),
    Heir(Heir),
}

/// Serves until a signal comes, a successor takes over, or a part fails.
pub(crate) async fn run(args: &RunArgs, id: u16, objects: &Path, begun_nanos: u64) -> Result<()> {
    let mut signals = Signals::new()?;
    let me = Me { name: args.name.clone(), id: AgentId(id) };
    let source = Watch::start(objects, me.clone())?;
    let (publish, published) = watch::channel(source.in_force());
    let (dirs, before) = if args.take_over {
        take_over(args, begun_nanos).await?
    } else {
        let dirs = Dirs::take(&args.dir, &args.memory_dir, args.memory)?;
        (dirs, Predecessor::NotThere { begun_nanos })
    };
    let pages = Pages::start(args, Readiness::WholeMesh, "the agent is starting").await?;
    if !pages.address.ip().is_loopback() {
        warn!(http = %pages.address, "everyone who reaches this address can read the agent's status");
    }
    let life = life(&args.memory_dir)?;
    let csi = start_csi(args, &args.name, &dirs, &pages)?;
    let volumes = csi.as_ref().map_or_else(volume::none, Csi::volumes);
    let served = Served { objects: published, volumes, events: PodEvents::nobody() };
    // Before it is announced, for who reads of it may want to take over.
    let door = Door::open(dirs.dir(), shard_count(args))?;
    let mut agent = Agent::start(args, &dirs, &pages, me, life, served, before).await?;
    if let Some(csi) = csi {
        agent.depend_on(csi.run());
    }
    agent.depend_on(source.run(publish));
    let end = async {
        tokio::select! {
            signal = signals.next() => End::Signal(signal),
            heir = door.heir() => End::Heir(heir),
        }
    };
    let result = agent.serve_until(end).await;
    match &result {
        Err(_) => info!("the agent ends: a part has failed"),
        Ok(End::Heir(heir)) => info!("the agent ends: release {} takes over", heir.release()),
        Ok(End::Signal(signal)) => {
            info!("the agent ends: {signal}");
            // Whoever is in a hurry says so twice.
            let deadline = Instant::now() + Duration::from_secs(args.hand_over.into());
            tokio::select! {
                _ = agent.leave(deadline) => {}
                signal = signals.next() => info!("ending at once: {signal}"),
            }
        }
    }
    if let Ok(End::Heir(heir)) = result {
        let stopped_nanos = agent.stand_down().await?;
        // The successor may be told to listen at the same address.
        pages.end().await;
        return Ok(heir.give(dirs.into_locks(), stopped_nanos).await?);
    }
    agent.end(Ending::of(&result)).await;
    if result.is_ok() {
        dirs.end();
    }
    result.map(drop)
}
