//! What programs do with shared memory, a round at a time.

mod copies;
mod faults;
mod hand_over;
mod local;
mod stream;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::floor::Floor;
use crate::floor::setup::FREE;
use crate::floor::table::RUN;
use crate::process::{Child, Role, Talking};
use crate::program::{Done, Order};

/// A region that workloads need.
#[derive(Clone, Copy, Debug)]
pub struct Needed {
    /// Its name.
    pub name: &'static str,
    /// Its size, as an object says it.
    pub size: &'static str,
    /// Number of the node that homes it.
    pub home: u16,
    /// Its coherence.
    pub coherence: &'static str,
}

/// Regions that a mesh of three nodes must have, in the order of [`Of`].
pub const REGIONS: [Needed; 5] = [
    Needed { name: "bench-pair", size: "4Mi", home: 1, coherence: "WriteInvalidate" },
    Needed { name: "bench-third", size: "4Mi", home: 2, coherence: "WriteInvalidate" },
    Needed { name: "bench-stream", size: "256Mi", home: 1, coherence: "WriteInvalidate" },
    Needed { name: "bench-updated", size: "4Mi", home: 1, coherence: "WriteUpdate" },
    Needed { name: "bench-huge", size: "1Ti", home: 1, coherence: "WriteInvalidate" },
];

/// All workloads.
pub(crate) const ALL: [Workload; 22] = [
    faults::REMOTE_READ,
    faults::REMOTE_WRITE,
    faults::UPGRADE_OF_TWO,
    faults::UPGRADE_OF_THREE,
    faults::THIRD_NODE_READ,
    faults::BUSY,
    hand_over::HAND_OVER,
    hand_over::LOCK_OF_TWO_NODES,
    hand_over::LOCK_OF_SIX_PROCESSES,
    hand_over::FALSE_SHARING,
    hand_over::NO_SHARING,
    copies::UPDATED,
    copies::INVALIDATED,
    stream::SEQUENTIAL_READ,
    stream::STRIDED_READ,
    stream::SEQUENTIAL_WRITE,
    stream::RANDOM_1,
    stream::RANDOM_4,
    stream::RANDOM_32,
    local::LOCAL,
    local::ATTACH,
    local::ATTACH_HUGE,
];

/// Names of all workloads.
pub const NAMES: [&str; ALL.len()] = {
    let mut names = [""; ALL.len()];
    let mut at = 0;
    while at < ALL.len() {
        names[at] = ALL[at].name;
        at += 1;
    }
    names
};

/// What a workload is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    /// The floor's load of a page of the other side.
    RemoteRead,
    /// The floor's store to a page that the other side was asked about.
    RemoteUpgrade,
    /// The floor's stream of pages, by bytes in time: more is better.
    Stream,
    /// The floor's loads of pages by so many threads, by their number in time: more is better.
    Storm(u8),
    /// Our own load of a page that another node owns.
    OwnRemoteRead,
    /// What the workload itself has measured.
    Itself,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Time.
    Micros,
    /// A count of something.
    Times,
}

/// What a round has measured: nanoseconds, or counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) ours: Vec<u64>,
    /// With [`Beside::Itself`].
    pub(crate) beside: Vec<u64>,
}

impl Taken {
    fn of(ours: Vec<u64>) -> Taken {
        Taken { ours, beside: Vec::new() }
    }
}

/// A workload.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) beside: Beside,
    /// Times what it is beside that it may take, or part of its rate that it must reach.
    pub(crate) limit: Option<f64>,
    pub(crate) unit: Unit,
    pub(crate) round: fn(&mut Mesh, u64) -> Result<Taken>,
}

impl Workload {
    /// Whether it is measured when all others have been: agents that have had to wait behave otherwise for a while.
    pub(crate) fn is_apart(&self) -> bool {
        self.name == faults::BUSY.name
    }
}

/// Programs on three nodes, two of each region on each.
pub(crate) struct Mesh {
    /// By region, node and number.
    programs: Vec<Vec<Vec<Talking>>>,
}

/// Programs of each region on each node.
const PROGRAMS: usize = 2;

/// A region of [`REGIONS`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    /// Homed by node 1.
    Pair = 0,
    /// Homed by node 2.
    Third = 1,
    /// Large, and homed by node 1.
    Stream = 2,
    /// Under `WriteUpdate`, and homed by node 1.
    Updated = 3,
}

impl Mesh {
    pub(crate) fn start(sockets: &[PathBuf]) -> Result<Mesh> {
        let program = |socket: &Path, region: &str| {
            Talking::start(Role::Program { socket: socket.to_owned(), region: region.to_owned() })
        };
        let on_node = |socket: &PathBuf, name: &str| (0..PROGRAMS).map(|_| program(socket, name)).collect();
        let of_region = |needed: &Needed| sockets.iter().map(|socket| on_node(socket, needed.name)).collect();
        // Nobody has the huge one but who attaches to it on purpose.
        let regions = REGIONS.iter().take(Of::Updated as usize + 1);
        Ok(Mesh { programs: regions.map(of_region).collect::<Result<_>>()? })
    }

    /// Has the program of a node do something, to its end.
    pub(crate) fn ask(&mut self, region: Of, node: usize, order: &Order) -> Result<Vec<u64>> {
        let program = &mut self.programs[region as usize][node][0];
        program.tell(order)?;
        program.answer::<Done>().map(|done| done.nanos)
    }

    /// Has programs of several nodes do something at a time. A node that is named again is another program of that node.
    pub(crate) fn all(&mut self, region: Of, orders: &[(usize, Order)]) -> Result<Vec<Vec<u64>>> {
        Ok(self.all_done(region, orders)?.into_iter().map(|done| done.nanos).collect())
    }

    /// The same, with all that they answer.
    pub(crate) fn all_done(&mut self, region: Of, orders: &[(usize, Order)]) -> Result<Vec<Done>> {
        let programs = &mut self.programs[region as usize];
        let number = |at: usize| orders[..at].iter().filter(|(node, _)| *node == orders[at].0).count();
        for (at, (node, order)) in orders.iter().enumerate() {
            programs[*node][number(at)].tell(order)?;
        }
        orders.iter().enumerate().map(|(at, (node, _))| programs[*node][number(at)].answer()).collect()
    }

    /// Programs that keep all processors busy, until they are dropped.
    pub(crate) fn spinners(&self) -> Result<Vec<Child>> {
        let count = std::thread::available_parallelism()?.get();
        (0..count).map(|_| Child::start(Role::Spinner).map(|(child, _)| child)).collect()
    }
}

/// All numbers below `count`, in an order in which no stream is seen; always the same.
pub(crate) fn shuffled(count: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for at in (1..count).rev() {
        // Knuth's generator for MMIX; any would do.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        numbers.swap(at, (state >> 33) as usize % (at + 1));
    }
    numbers
}

/// A round of what a workload is compared with.
pub(crate) fn beside(floor: &mut Floor, mesh: &mut Mesh, beside: Beside, round: u64) -> Result<Vec<u64>> {
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
        Beside::Storm(threads) => {
            floor.enter(FREE)?;
            floor.storm(threads).map(|nanos| vec![nanos])
        }
        Beside::OwnRemoteRead => (faults::REMOTE_READ.round)(mesh, round).map(|taken| taken.ours),
        Beside::Itself => Ok(Vec::new()),
    }
}
