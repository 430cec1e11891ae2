//! For `bench/peers`, which does with other systems what it does with ours: the floor, and the arithmetic of rounds.

use anyhow::{Context, Result};

use crate::PAGES;
use crate::floor::Floor;
use crate::floor::setup::FREE;
use crate::floor::table::RUN;
pub use crate::series::{Series, middle};
pub use crate::steal::Ticks;

/// The floor, bound to no processor, with 1 MiB.
#[derive(Debug)]
pub struct Bare(Floor);

impl Bare {
    /// Starts its processes: this program once more, with `bench-process ROLE`, which [`crate::play`] is for.
    ///
    /// # Errors
    /// A process cannot be started.
    pub fn start() -> Result<Bare> {
        Floor::start(PAGES).map(Bare).context("the floor cannot be measured")
    }

    /// Nanoseconds of each load of a page that is on the other side.
    ///
    /// # Errors
    /// A process has ended.
    pub fn remote_reads(&mut self) -> Result<Vec<u64>> {
        self.0.enter(FREE)?;
        self.0.remote_reads()
    }

    /// Nanoseconds of each request with an answer of 64 bytes.
    ///
    /// # Errors
    /// A process has ended.
    pub fn round_trips(&mut self) -> Result<Vec<u64>> {
        self.0.enter(FREE)?;
        self.0.round_trips(0, PAGES)
    }

    /// Nanoseconds for all pages to come as a stream.
    ///
    /// # Errors
    /// A process has ended.
    pub fn stream(&mut self) -> Result<Vec<u64>> {
        self.0.enter(FREE)?;
        self.0.stream(RUN).map(|nanos| vec![nanos])
    }
}
