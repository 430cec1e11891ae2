//! Pages that two nodes take from each other.

use anyhow::Result;

use super::{Beside, Mesh, Nanos, Of, Workload};
use crate::PAGES;
use crate::program::Order;

/// Turns of each of the two in a round.
const TURNS: u64 = 128;
/// Times that each takes the lock in a round.
const TIMES: u64 = 200;

pub(super) const HAND_OVER: Workload = Workload {
    name: "hand-over",
    what: "a turn of two nodes that add to one word in turn",
    beside: Beside::OwnRemoteRead,
    limit: Some(1.2),
    round: |mesh, _| {
        mesh.ask(Of::Pair, 0, &Order::Store { pages: vec![PAGES], value: (PAGES as u64).wrapping_neg() })?;
        let order = |parity| Order::PingPong { page: PAGES, parity, turns: TURNS };
        both(mesh, &order(0), &order(1)).map(|[mine, theirs]| {
            // A turn's time is the wait for the other and one's own: half of it is a hand-over.
            mine.into_iter().chain(theirs).map(|nanos| nanos / 2).collect()
        })
    },
};

pub(super) const LOCK: Workload = Workload {
    name: "lock",
    what: "a spinlock taken, a counter counted and the lock given back, by two nodes at a time",
    beside: Beside::OwnRemoteRead,
    limit: Some(1.3),
    round: |mesh, _| {
        let order = Order::Lock { page: PAGES + 1, times: TIMES };
        let [mine, theirs] = both(mesh, &order, &order)?;
        // Of all that both did, what each operation took of the time that passed.
        let passed = mine.iter().sum::<u64>().max(theirs.iter().sum());
        Ok(vec![passed / (2 * TIMES)])
    },
};

/// Two nodes at a time.
fn both(mesh: &mut Mesh, first: &Order, second: &Order) -> Result<[Nanos; 2]> {
    mesh.tell(Of::Pair, 0, first)?;
    mesh.tell(Of::Pair, 1, second)?;
    Ok([mesh.answer(Of::Pair, 0)?, mesh.answer(Of::Pair, 1)?])
}
