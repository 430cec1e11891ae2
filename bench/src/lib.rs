//! `pagemesh bench`: what sharing memory costs here, beside what the bare kernel and network cost on the same machine in the same
//! run.
//!
//! A shared machine changes its speed by a factor of two from one second to the next. So every workload is done in many short
//! rounds, each right after a round of its floor, and what is reported of both is the median over rounds of *the ratio within a round*.
//! [`floor`] is the least that any such system can take, [`workloads`] are what programs do, `program` is who does it.

pub mod apps;
mod clock;
mod floor;
mod limits;
pub mod own_mesh;
pub mod peers;
mod process;
mod program;
mod report;
mod rounds;
mod series;
mod steal;
mod workloads;

use std::path::PathBuf;

use anyhow::{Result, bail};

pub use floor::table::FloorRow;
pub use limits::Agreement;
pub use process::{Role, play};
pub use report::Report;
pub use workloads::{NAMES, Needed, REGIONS};

/// Pages that a round of single accesses touches.
pub(crate) const PAGES: usize = 256;
/// Pages that many threads touch at a time.
pub(crate) const STORM_PAGES: usize = 4096;
/// Pages of a stream: 256 MiB.
pub(crate) const STREAM_PAGES: usize = 65_536;

/// What to measure, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The attach sockets of three nodes' agents, which have [`REGIONS`].
    pub sockets: Vec<PathBuf>,
    /// Rounds of each workload.
    pub rounds: usize,
    /// A program that measures the same floor, to be compared with.
    pub limits: Option<PathBuf>,
    /// Names of workloads; all when there are none.
    pub workloads: Vec<String>,
}

/// Measures.
///
/// # Errors
/// A process cannot be started, a region cannot be attached, or memory holds what nobody stored.
pub fn run(options: &Options) -> Result<Report> {
    if let Some(unknown) = options.workloads.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!("there is no workload `{}`; there are {}", unknown.escape_debug(), NAMES.join(", "));
    }
    if options.sockets.len() < 3 {
        bail!("three nodes are needed, and there are {}", options.sockets.len());
    }
    let chosen =
        |name: &str| options.workloads.is_empty() || options.workloads.iter().any(|other| other == name);
    rounds::measure(options, &chosen)
}
