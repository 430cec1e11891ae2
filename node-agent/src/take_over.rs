//! An agent's directories: free ones, or those of the agent that runs there, which hands them over.

use std::time::Duration;

use anyhow::Result;
use pagemesh_agent::instance::{DirError, Dirs};
use pagemesh_agent::succession::{self, CannotSucceed, Inheritance};
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::agent::shard_count;
use crate::args::RunArgs;

/// For how long an agent that has the directories may begin to take successors, or end.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(10);
const PREDECESSOR_WAIT_STEP: Duration = Duration::from_millis(20);

/// What was there before this agent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Predecessor {
    /// An agent that has handed over.
    HandedOver {
        /// When it stopped, on the machine's clock.
        stopped_nanos: u64,
    },
    /// None that lived.
    NotThere {
        /// When this process began, on the machine's clock.
        begun_nanos: u64,
    },
}

/// Has the agent that runs in the directories hand them over; takes them if that one is gone.
///
/// # Errors
/// It stays, or they cannot be used.
pub(crate) async fn take_over(args: &RunArgs, begun_nanos: u64) -> Result<(Dirs, Predecessor)> {
    let (dir, memory_dir, shards) = (&args.dir, &args.memory_dir, shard_count(args));
    let deadline = Instant::now() + PREDECESSOR_WAIT;
    let mut waits = false;
    loop {
        match Dirs::take(dir, memory_dir, args.memory) {
            Ok(dirs) => return Ok((dirs, Predecessor::NotThere { begun_nanos })),
            Err(DirError::Taken(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match succession::ask(dir, shards).await {
            Ok(Inheritance { locks, stopped_nanos }) => {
                let dirs = Dirs::inherit(dir, memory_dir, args.memory, locks)?;
                return Ok((dirs, Predecessor::HandedOver { stopped_nanos }));
            }
            // It has just begun, or it has just ended.
            Err(CannotSucceed::Unreachable(_) | CannotSucceed::Gone(_)) if Instant::now() < deadline => {
                sleep(PREDECESSOR_WAIT_STEP).await;
            }
            Err(error) => return Err(error.into()),
        }
        if !std::mem::replace(&mut waits, true) {
            info!("the agent that runs here is not ready to hand over; trying on");
        }
    }
}
