//! Pages that several nodes take from one another.

use anyhow::Result;

use super::{Beside, Mesh, Of, Taken, Unit, Workload};
use crate::PAGES;
use crate::program::Order;

/// Pages behind those of single accesses, each for one thing.
const RACE: usize = PAGES;
const LOCK: usize = PAGES + 2;
const LOCK_OF_SIX: usize = PAGES + 4;
const COUNTERS: usize = PAGES + 6;

/// Times that a page comes back to each of the two in a round.
const TIMES: u64 = 200;
/// Times that all take the lock together.
const LOCKED: u64 = 600_000;
/// Times that each of the two counts.
const COUNTED: u64 = 1_000_000;

pub(super) const HAND_OVER: Workload = Workload {
    name: "hand-over",
    what: "one page goes from one node to another and back, while programs of both add to it all the time; a turn included",
    beside: Beside::OwnRemoteRead,
    limit: Some(1.2),
    unit: Unit::Micros,
    round: |mesh, round| {
        let order = Order::Race { page: RACE, times: TIMES, round: round + 1 };
        let taken = mesh.all(Of::Pair, &[(0, order.clone()), (1, order)])?;
        // From one coming to the next the page has been handed over twice.
        Ok(Taken::of(taken.into_iter().flatten().map(|nanos| nanos / 2).collect()))
    },
};

pub(super) const LOCK_OF_TWO_NODES: Workload = Workload {
    name: "lock-2",
    what: "a spinlock taken, a counter counted and the lock given back, by 2 processes of 2 nodes at a time; per operation",
    beside: Beside::OwnRemoteRead,
    limit: Some(1.3),
    unit: Unit::Micros,
    round: |mesh, _| lock(mesh, LOCK, &[0, 1]),
};

pub(super) const LOCK_OF_SIX_PROCESSES: Workload = Workload {
    name: "lock-6",
    what: "the same, by 6 processes of 3 nodes",
    beside: Beside::OwnRemoteRead,
    limit: None,
    unit: Unit::Micros,
    round: |mesh, _| lock(mesh, LOCK_OF_SIX, &[0, 1, 2, 0, 1, 2]),
};

pub(super) const FALSE_SHARING: Workload = Workload {
    name: "same-page",
    what: "two counters in one page, counted by 2 nodes at a time; per operation",
    beside: Beside::OwnRemoteRead,
    limit: None,
    unit: Unit::Micros,
    round: |mesh, _| count(mesh, COUNTERS, [(COUNTERS + 1, 0), (COUNTERS + 1, 64)]),
};

pub(super) const NO_SHARING: Workload = Workload {
    name: "own-pages",
    what: "the same, in two pages",
    beside: Beside::OwnRemoteRead,
    limit: None,
    unit: Unit::Micros,
    round: |mesh, _| count(mesh, COUNTERS + 2, [(COUNTERS + 3, 0), (COUNTERS + 4, 0)]),
};

fn lock(mesh: &mut Mesh, page: usize, nodes: &[usize]) -> Result<Taken> {
    let (others, times) = (nodes.len() as u64 - 1, LOCKED / nodes.len() as u64);
    let order = |node: &usize| (*node, Order::Lock { page, meet: page + 1, others, times });
    let orders: Vec<_> = nodes.iter().map(order).collect();
    per_operation(mesh.all(Of::Pair, &orders)?, LOCKED)
}

fn count(mesh: &mut Mesh, meet: usize, counters: [(usize, usize); 2]) -> Result<Taken> {
    let order = |(page, word)| Order::Count { page, word, meet, others: 1, times: COUNTED };
    let [first, second] = counters.map(order);
    per_operation(mesh.all(Of::Pair, &[(0, first), (1, second)])?, 2 * COUNTED)
}

/// Of all that they did, what each operation took of the time that passed: they began together.
fn per_operation(taken: Vec<Vec<u64>>, operations: u64) -> Result<Taken> {
    let passed = taken.into_iter().flatten().max().unwrap_or(0);
    Ok(Taken::of(vec![passed / operations]))
}
