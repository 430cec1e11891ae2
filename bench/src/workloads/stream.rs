//! Many pages one after the other.

use anyhow::Result;

use super::{Beside, Mesh, Of, Taken, Unit, Workload};
use crate::program::Order;
use crate::{STORM_PAGES, STREAM_PAGES};

/// Pages from one access to the next of a strided stream: a column of a matrix of doubles with 2,048 columns.
const STEP: usize = 4;

pub(super) const SEQUENTIAL_READ: Workload = Workload {
    name: "sequential-read",
    what: "256 MiB that another node owns, read in a row",
    beside: Beside::Stream,
    limit: Some(0.7),
    unit: Unit::Micros,
    round: |mesh, round| read(mesh, round, 1),
};

pub(super) const STRIDED_READ: Workload = Workload {
    name: "strided-read",
    what: "the same, every fourth page first",
    beside: Beside::Stream,
    limit: None,
    unit: Unit::Micros,
    round: |mesh, round| read(mesh, round, STEP),
};

pub(super) const SEQUENTIAL_WRITE: Workload = Workload {
    name: "sequential-write",
    what: "256 MiB that another node owns, written in a row",
    beside: Beside::Stream,
    limit: Some(0.5),
    unit: Unit::Micros,
    round: |mesh, round| {
        mesh.ask(Of::Stream, 1, &fill(round))?;
        mesh.ask(Of::Stream, 0, &fill(round + 1)).map(Taken::of)
    },
};

fn fill(round: u64) -> Order {
    Order::Fill { pages: STREAM_PAGES, step: 1, value: round << 32 }
}

fn read(mesh: &mut Mesh, round: u64, step: usize) -> Result<Taken> {
    mesh.ask(Of::Stream, 1, &fill(round))?;
    mesh.ask(Of::Stream, 0, &Order::Sweep { pages: STREAM_PAGES, step, expect: round << 32 }).map(Taken::of)
}

pub(super) const RANDOM_1: Workload = random(
    "random-1",
    "4,096 pages of all over 256 MiB, read by 1 thread",
    Beside::Storm(1),
    None,
    |mesh, round| scatter(mesh, round, 1),
);
pub(super) const RANDOM_4: Workload =
    random("random-4", "the same by 4 threads", Beside::Storm(4), None, |mesh, round| {
        scatter(mesh, round, 4)
    });
pub(super) const RANDOM_32: Workload =
    random("random-32", "the same by 32 threads", Beside::Storm(32), Some(0.5), |mesh, round| {
        scatter(mesh, round, 32)
    });

const fn random(
    name: &'static str,
    what: &'static str,
    beside: Beside,
    limit: Option<f64>,
    round: fn(&mut Mesh, u64) -> Result<Taken>,
) -> Workload {
    Workload { name, what, beside, limit, unit: Unit::Micros, round }
}

fn scatter(mesh: &mut Mesh, round: u64, threads: usize) -> Result<Taken> {
    let mut pages = super::shuffled(STREAM_PAGES);
    pages.truncate(STORM_PAGES);
    mesh.ask(Of::Stream, 1, &Order::Store { pages: pages.clone(), value: round << 32 })?;
    mesh.ask(Of::Stream, 0, &Order::Scatter { pages, threads }).map(Taken::of)
}
