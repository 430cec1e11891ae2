//! Pages that several nodes read.

use anyhow::Result;

use super::{Beside, Mesh, Of, Taken, Unit, Workload};
use crate::clock::now_nanos;
use crate::program::Order;

/// Values that a writer stores in a round.
const TIMES: u64 = 50;
/// Nanoseconds until all have heard of it.
const LEAD: u64 = 5_000_000;

pub(super) const UPDATED: Workload = Workload {
    name: "write-update",
    what: "faults of a reader for each value that a writer stores and it looks at a moment later, with 2 readers, under WriteUpdate",
    beside: Beside::Itself,
    limit: Some(0.1),
    unit: Unit::Times,
    round: |mesh, round| publish(mesh, Of::Updated, round),
};

pub(super) const INVALIDATED: Workload = Workload {
    name: "write-invalidate",
    what: "the same, under WriteInvalidate",
    beside: Beside::Itself,
    limit: None,
    unit: Unit::Times,
    round: |mesh, round| publish(mesh, Of::Pair, round),
};

/// The last page of a region of 4 MiB.
const PAGE: usize = 1023;

fn publish(mesh: &mut Mesh, region: Of, round: u64) -> Result<Taken> {
    let from = round * TIMES + 1;
    let start = now_nanos() + LEAD;
    let look = Order::Look { page: PAGE, from, times: TIMES, start };
    let publish = Order::Publish { page: PAGE, from, times: TIMES, start };
    let done = mesh.all_done(region, &[(0, look.clone()), (2, look), (1, publish)])?;
    let faults = done.iter().take(2).map(|done| done.faults).max().unwrap_or(0);
    Ok(Taken { ours: vec![faults], beside: vec![TIMES] })
}
