//! What programs do with shared memory, a round at a time.

mod faults;
mod hand_over;
mod stream;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::floor::Floor;
use crate::floor::setup::FREE;
use crate::floor::table::RUN;
use crate::process::{Role, Talking};
use crate::program::{Done, Order};

/// Regions that a mesh of three nodes must have, and which of the nodes home them.
pub const REGIONS: [(&str, &str, &[u16]); 3] =
    [("bench-pair", "4Mi", &[1]), ("bench-third", "4Mi", &[2]), ("bench-stream", "256Mi", &[1])];

/// Names of all workloads.
pub const NAMES: [&str; 10] = [
    "remote-read",
    "remote-write",
    "upgrade-1",
    "upgrade-2",
    "third-node-read",
    "hand-over",
    "lock",
    "sequential-read",
    "strided-read",
    "sequential-write",
];

/// What a workload is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    /// The floor's load of a page of the other side.
    RemoteRead,
    /// The floor's store to a page that the other side was asked about.
    RemoteUpgrade,
    /// The floor's stream of pages, by bytes in time: more is better.
    Stream,
    /// Our own load of a page that another node owns.
    OwnRemoteRead,
}

/// What a round has measured: nanoseconds of each access.
pub(crate) type Nanos = Vec<u64>;

/// A workload.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) beside: Beside,
    /// Times what it is beside that it may take, or part of its rate that it must reach.
    pub(crate) limit: Option<f64>,
    pub(crate) round: fn(&mut Mesh, u64) -> Result<Nanos>,
}

/// All of them, in the order of [`NAMES`].
pub(crate) fn all() -> [Workload; NAMES.len()] {
    [
        faults::REMOTE_READ,
        faults::REMOTE_WRITE,
        faults::UPGRADE_OF_TWO,
        faults::UPGRADE_OF_THREE,
        faults::THIRD_NODE_READ,
        hand_over::HAND_OVER,
        hand_over::LOCK,
        stream::SEQUENTIAL_READ,
        stream::STRIDED_READ,
        stream::SEQUENTIAL_WRITE,
    ]
}

/// Programs on three nodes.
pub(crate) struct Mesh {
    /// By region and node.
    programs: Vec<Vec<Talking>>,
}

/// A region of [`REGIONS`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    /// Homed by node 1.
    Pair = 0,
    /// Homed by node 2.
    Third = 1,
    /// Large, and homed by node 1.
    Stream = 2,
}

impl Mesh {
    pub(crate) fn start(sockets: &[PathBuf]) -> Result<Mesh> {
        let program = |socket: &Path, region: &str| {
            Talking::start(Role::Program { socket: socket.to_owned(), region: region.to_owned() })
        };
        let of_region =
            |(name, ..): &(&str, &str, &[u16])| sockets.iter().map(|socket| program(socket, name)).collect();
        Ok(Mesh { programs: REGIONS.iter().map(of_region).collect::<Result<_>>()? })
    }

    fn at(&mut self, region: Of, node: usize) -> &mut Talking {
        &mut self.programs[region as usize][node]
    }

    /// Has the program of a node do something, to its end.
    pub(crate) fn ask(&mut self, region: Of, node: usize, order: &Order) -> Result<Nanos> {
        self.tell(region, node, order)?;
        self.answer(region, node)
    }

    /// The same, and does not wait for it.
    pub(crate) fn tell(&mut self, region: Of, node: usize, order: &Order) -> Result<()> {
        self.at(region, node).tell(order)
    }

    /// Awaits what [`Mesh::tell`] has begun.
    pub(crate) fn answer(&mut self, region: Of, node: usize) -> Result<Nanos> {
        self.at(region, node).answer::<Done>().map(|done| done.nanos)
    }
}

/// A round of what a workload is compared with.
pub(crate) fn beside(floor: &mut Floor, mesh: &mut Mesh, beside: Beside, round: u64) -> Result<Nanos> {
    match beside {
        Beside::RemoteRead => {
            floor.enter(FREE)?;
            floor.remote_reads()
        }
        Beside::RemoteUpgrade => {
            floor.enter(FREE)?;
            floor.remote_reads()?;
            floor.remote_upgrades()
        }
        Beside::Stream => {
            floor.enter(FREE)?;
            floor.stream(RUN).map(|nanos| vec![nanos])
        }
        Beside::OwnRemoteRead => (faults::REMOTE_READ.round)(mesh, round),
    }
}
