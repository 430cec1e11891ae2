//! Single faults: pages that others own, share, or home.

use anyhow::Result;

use super::{Beside, Mesh, Of, Taken, Unit, Workload};
use crate::PAGES;
use crate::program::Order;

/// What the pages hold: never what they held before.
fn value(round: u64) -> u64 {
    (round + 1) << 32
}

fn pages() -> Vec<usize> {
    super::shuffled(PAGES)
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
    unit: Unit::Micros,
    round: |mesh, round| {
        mesh.ask(Of::Pair, 1, &store(round))?;
        mesh.ask(Of::Pair, 0, &load(round)).map(Taken::of)
    },
};

pub(super) const REMOTE_WRITE: Workload = Workload {
    name: "remote-write",
    what: "first store to a page that another node owns",
    beside: Beside::RemoteRead,
    limit: Some(1.15),
    unit: Unit::Micros,
    round: |mesh, round| {
        mesh.ask(Of::Pair, 1, &store(round))?;
        mesh.ask(Of::Pair, 0, &store(round)).map(Taken::of)
    },
};

pub(super) const UPGRADE_OF_TWO: Workload = Workload {
    name: "upgrade-1",
    what: "store to a page that one other node has, too",
    beside: Beside::RemoteUpgrade,
    limit: Some(1.2),
    unit: Unit::Micros,
    round: |mesh, round| upgrade(mesh, round, &[0]),
};

pub(super) const UPGRADE_OF_THREE: Workload = Workload {
    name: "upgrade-2",
    what: "store to a page that two other nodes have, too",
    beside: Beside::RemoteUpgrade,
    limit: None,
    unit: Unit::Micros,
    round: |mesh, round| upgrade(mesh, round, &[0, 2]),
};

/// All of `readers` have the pages, besides the home; node 0 then writes.
fn upgrade(mesh: &mut Mesh, round: u64, readers: &[usize]) -> Result<Taken> {
    mesh.ask(Of::Pair, 1, &store(round))?;
    for reader in readers {
        mesh.ask(Of::Pair, *reader, &load(round))?;
    }
    mesh.ask(Of::Pair, 0, &store(round)).map(Taken::of)
}

pub(super) const THIRD_NODE_READ: Workload = Workload {
    name: "third-node-read",
    what: "first load of a page that is homed by one other node and owned by another",
    beside: Beside::OwnRemoteRead,
    limit: Some(1.5),
    unit: Unit::Micros,
    round: |mesh, round| {
        mesh.ask(Of::Third, 1, &store(round))?;
        mesh.ask(Of::Third, 0, &load(round)).map(Taken::of)
    },
};

pub(super) const BUSY: Workload = Workload {
    name: "busy-read",
    what: "remote-read while programs keep all processors busy, once the agents know",
    beside: Beside::OwnRemoteRead,
    limit: Some(1.5),
    unit: Unit::Micros,
    round: |mesh, round| {
        let spinners = mesh.spinners()?;
        let taken = (REMOTE_READ.round)(mesh, round);
        drop(spinners);
        taken
    },
};
