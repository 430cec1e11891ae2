//! Single faults: pages that others own, share, or home.

use anyhow::Result;

use super::{Beside, Mesh, Nanos, Of, Workload};
use crate::PAGES;
use crate::program::Order;

/// What the pages of a round hold: never what they held before.
fn value(round: u64) -> u64 {
    (round + 1) << 32
}

/// All pages, shuffled: no stream is seen.
fn pages() -> Vec<usize> {
    let mut pages: Vec<usize> = (0..PAGES).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for at in (1..PAGES).rev() {
        // Knuth's generator for MMIX; any would do.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        pages.swap(at, (state >> 33) as usize % (at + 1));
    }
    pages
}

fn store(round: u64) -> Order {
    Order::Store { pages: pages(), value: value(round) }
}

fn load(round: u64) -> Order {
    Order::Load { pages: pages(), expect: value(round) }
}

pub(super) const REMOTE_READ: Workload = Workload {
    name: "remote-read",
    what: "first load of a page that another node owns",
    beside: Beside::RemoteRead,
    limit: Some(1.15),
    round: |mesh, round| {
        mesh.ask(Of::Pair, 1, &store(round))?;
        mesh.ask(Of::Pair, 0, &load(round))
    },
};

pub(super) const REMOTE_WRITE: Workload = Workload {
    name: "remote-write",
    what: "first store to a page that another node owns",
    beside: Beside::RemoteRead,
    limit: Some(1.15),
    round: |mesh, round| {
        mesh.ask(Of::Pair, 1, &store(round))?;
        mesh.ask(Of::Pair, 0, &store(round))
    },
};

pub(super) const UPGRADE_OF_TWO: Workload = Workload {
    name: "upgrade-1",
    what: "store to a page that one other node has, too",
    beside: Beside::RemoteUpgrade,
    limit: Some(1.2),
    round: |mesh, round| upgrade(mesh, round, &[0]),
};

pub(super) const UPGRADE_OF_THREE: Workload = Workload {
    name: "upgrade-2",
    what: "store to a page that two other nodes have, too",
    beside: Beside::RemoteUpgrade,
    limit: None,
    round: |mesh, round| upgrade(mesh, round, &[0, 2]),
};

/// All of `readers` have the pages, besides the home; node 0 then writes.
fn upgrade(mesh: &mut Mesh, round: u64, readers: &[usize]) -> Result<Nanos> {
    mesh.ask(Of::Pair, 1, &store(round))?;
    for reader in readers {
        mesh.ask(Of::Pair, *reader, &load(round))?;
    }
    mesh.ask(Of::Pair, 0, &store(round))
}

pub(super) const THIRD_NODE_READ: Workload = Workload {
    name: "third-node-read",
    what: "first load of a page that is homed by one other node and owned by another",
    beside: Beside::OwnRemoteRead,
    limit: Some(1.5),
    round: |mesh, round| {
        mesh.ask(Of::Third, 1, &store(round))?;
        mesh.ask(Of::Third, 0, &load(round))
    },
};
