//! Many pages one after the other.

use super::{Beside, Of, Workload};
use crate::PAGES;
use crate::program::Order;

pub(super) const SEQUENTIAL_READ: Workload = Workload {
    name: "sequential-read",
    what: "pages that another node owns, read in a row; the floor is their stream",
    beside: Beside::Stream,
    limit: Some(0.7),
    round: |mesh, round| {
        mesh.ask(Of::Pair, 1, &Order::Store { pages: (0..PAGES).collect(), value: round << 32 })?;
        mesh.ask(Of::Pair, 0, &Order::Sweep { pages: PAGES })
    },
};
