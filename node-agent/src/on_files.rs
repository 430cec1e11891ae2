//! An agent that reads its objects from files.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use pagemesh_agent::config::{Me, Watch};
use pagemesh_agent::http::Readiness;
use pagemesh_agent::instance::Dirs;
use pagemesh_protocol::AgentId;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::agent::{Agent, Pages, Signals, life};
use crate::args::RunArgs;

/// Serves until a signal comes, or a part fails.
pub(crate) async fn run(args: &RunArgs, id: u16, objects: &Path) -> Result<()> {
    let mut signals = Signals::new()?;
    let dirs = Dirs::take(&args.dir, &args.memory_dir, args.memory)?;
    let me = Me { name: args.name.clone(), id: AgentId(id) };
    let source = Watch::start(objects, me.clone())?;
    let (publish, published) = watch::channel(source.in_force());
    let pages = Pages::start(args, Readiness::WholeMesh, "the agent is starting").await?;
    if !pages.address.ip().is_loopback() {
        warn!(http = %pages.address, "everyone who reaches this address can read the agent's status");
    }
    let mut agent = Agent::start(args, &dirs, &pages, me, life(&args.memory_dir)?, published).await?;
    agent.depend_on(source.run(publish));
    let result = agent.serve_until(signals.next()).await;
    info!("the agent ends: {}", result.as_ref().map_or("a part has failed", |signal| signal));
    if result.is_ok() {
        // Whoever is in a hurry says so twice.
        let deadline = Instant::now() + Duration::from_secs(args.hand_over.into());
        tokio::select! {
            _ = agent.leave(deadline) => {}
            signal = signals.next() => info!("ending at once: {signal}"),
        }
    }
    agent.end(result.is_ok()).await;
    if result.is_ok() {
        dirs.end();
    }
    result.map(drop)
}
