//! Many pages one after the other.

use anyhow::Result;

use super::{Beside, Mesh, Nanos, Of, Workload};
use crate::STREAM_PAGES;
use crate::program::Order;

/// Pages from one access to the next of a strided stream: a column of a matrix of doubles with 2,048 columns.
const STEP: usize = 4;

pub(super) const SEQUENTIAL_READ: Workload = Workload {
    name: "sequential-read",
    what: "256 MiB that another node owns, read in a row",
    beside: Beside::Stream,
    limit: Some(0.7),
    round: |mesh, round| read(mesh, round, 1),
};

pub(super) const STRIDED_READ: Workload = Workload {
    name: "strided-read",
    what: "the same, every fourth page first",
    beside: Beside::Stream,
    limit: None,
    round: |mesh, round| read(mesh, round, STEP),
};

pub(super) const SEQUENTIAL_WRITE: Workload = Workload {
    name: "sequential-write",
    what: "256 MiB that another node owns, written in a row",
    beside: Beside::Stream,
    limit: Some(0.5),
    round: |mesh, round| {
        mesh.ask(Of::Stream, 1, &fill(round))?;
        mesh.ask(Of::Stream, 0, &fill(round + 1))
    },
};

fn fill(round: u64) -> Order {
    Order::Fill { pages: STREAM_PAGES, step: 1, value: round << 32 }
}

fn read(mesh: &mut Mesh, round: u64, step: usize) -> Result<Nanos> {
    mesh.ask(Of::Stream, 1, &fill(round))?;
    mesh.ask(Of::Stream, 0, &Order::Sweep { pages: STREAM_PAGES, step, expect: round << 32 })
}
