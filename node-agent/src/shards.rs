//! The shards of this agent: those that an earlier process of it has kept, or new ones.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use pagemesh_agent::journal::Recovered;
use pagemesh_agent::kept::{self, CannotTakeUp, Kept, TakenUp};
use pagemesh_agent::metrics::Metrics;
use pagemesh_agent::peer::Identity;
use pagemesh_agent::shard::{Event, Setup, Shard, ShardHandle};
use pagemesh_protocol::Tuning;
use tokio::sync::mpsc;
use tracing::info;

use crate::args::RunArgs;

const CANNOT: &str = "what an earlier process of this agent has kept cannot be taken up";

/// What an earlier process of this agent has kept, if it can be relied on.
///
/// # Errors
/// It can, but not by this agent; or it cannot, and its life must not go on in this one.
pub(crate) fn take_up(memory_dir: &Path, identity: Identity) -> Result<Option<TakenUp>> {
    let kept = Kept::of(memory_dir);
    match kept::take_up(memory_dir, identity.me, identity.shards) {
        Ok(Some(taken_up)) if taken_up.incarnation == identity.incarnation => {
            info!(
                regions = taken_up.regions.len(),
                attachments = taken_up.attachments.len(),
                "taking up what an earlier process of this agent has served"
            );
            Ok(Some(taken_up))
        }
        Ok(None) => {
            kept.make().context("cannot make the directory for what is to outlive this process")?;
            Ok(None)
        }
        Err(error @ CannotTakeUp::Shards { .. }) => Err(error).context(CANNOT),
        Err(error) => {
            // Started anew, the agent finds nothing and begins another life, which peers can tell from this one.
            kept.remove().context("cannot remove what cannot be taken up")?;
            Err(error).context(CANNOT)
        }
        Ok(Some(_)) => {
            kept.remove().context("cannot remove what cannot be taken up")?;
            Err(anyhow!("it is of another life")).context(CANNOT)
        }
    }
}

pub(crate) fn spawn_shards(
    args: &RunArgs,
    identity: Identity,
    recovered: Vec<Recovered>,
    metrics: &Arc<Metrics>,
    events: &mpsc::UnboundedSender<Event>,
) -> io::Result<Vec<ShardHandle>> {
    let Identity { me, incarnation, shards } = identity;
    let mut tuning = Tuning::default();
    if let Some(turn) = args.turn {
        tuning.turn_nanos = u64::from(turn) * 1000;
    }
    let state_dir = Some(Kept::of(&args.memory_dir).dir().to_owned());
    let (ahead_bytes, metrics) = (args.fault_ahead, Arc::clone(metrics));
    let setup = Setup { me, incarnation, shards, tuning, ahead_bytes, metrics, state_dir };
    let mut recovered = recovered.into_iter();
    (0..shards).map(|shard| Shard::spawn(shard, setup.clone(), recovered.next(), events.clone())).collect()
}
