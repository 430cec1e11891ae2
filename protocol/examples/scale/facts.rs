//! What grows with the number of agents without any program's access: connections, memory, and what is repeated after
//! connections have broken.

use pagemesh_protocol::{CHUNK_PAGES, Coherence};

use crate::heap::heap_bytes;
use crate::measure::homed_at;
use crate::measure::machine::{Op, load, store};
use crate::measure::mesh::Mesh;
use crate::measure::pattern::Phase;

/// The home of the pages looked at.
const HOME: usize = 0;

/// What is counted: its name, and how.
type Fact = (&'static str, fn(&Mesh) -> u64);

pub(crate) const FACTS: [Fact; 9] = [
    ("messages until all agents are connected", |connected| connected.counts().messages),
    ("bytes an agent keeps for its peers", |connected| heap_bytes(connected.node(0)) as u64),
    ("bytes an agent keeps for a region, no page of it touched", |connected| {
        let bare = heap_bytes(connected.node(0));
        (heap_bytes(declared(connected, Coherence::WriteInvalidate).node(0)) - bare) as u64
    }),
    ("bytes for a page at an agent that reads it", |connected| {
        per_page(connected, Coherence::WriteInvalidate, writer(connected))
    }),
    ("bytes for a page at its home, WriteInvalidate, all others read it", |connected| {
        per_page(connected, Coherence::WriteInvalidate, HOME)
    }),
    ("bytes for a page at its home, WriteUpdate, all others read it", |connected| {
        per_page(connected, Coherence::WriteUpdate, HOME)
    }),
    ("messages of one write to a page that all read", |connected| write_to_shared(connected, None)),
    ("the same, all connections of its home broken once meanwhile", |connected| {
        write_to_shared(connected, Some(HOME))
    }),
    ("the same, all connections of the writer broken once meanwhile", |connected| {
        write_to_shared(connected, Some(writer(connected)))
    }),
];

/// Who writes where one agent does: not the home.
fn writer(connected: &Mesh) -> usize {
    connected.agents() - 1
}

fn declared(connected: &Mesh, coherence: Coherence) -> Mesh {
    let mut mesh = connected.clone();
    mesh.declare(coherence);
    mesh
}

fn together(programs: impl Iterator<Item = (usize, Vec<Op>)>) -> Phase {
    Phase { pause_nanos: 0, programs: programs.collect() }
}

/// What an agent keeps for each page of a chunk when all others read all of it.
fn per_page(connected: &Mesh, coherence: Coherence, agent: usize) -> u64 {
    let mut mesh = declared(connected, coherence);
    let before = heap_bytes(mesh.node(agent));
    let chunk = || (0..CHUNK_PAGES).map(|number| load(homed_at(HOME, number))).collect();
    mesh.run(together((HOME + 1..connected.agents()).map(|reader| (reader, chunk()))), 0);
    mesh.settle();
    (heap_bytes(mesh.node(agent)) - before) as u64 / CHUNK_PAGES
}

/// Messages for a write to a page that all agents have a copy of, while which all connections of one agent may break.
fn write_to_shared(connected: &Mesh, broken: Option<usize>) -> u64 {
    let (writer, index) = (writer(connected), homed_at(HOME, 0));
    let mut mesh = declared(connected, Coherence::WriteInvalidate);
    mesh.run(together([(writer, vec![store(index)])].into_iter()), 0);
    mesh.settle();
    mesh.run(together((0..connected.agents()).map(|reader| (reader, vec![load(index)]))), 0);
    mesh.settle();
    mesh.count_anew();
    mesh.begin(together([(writer, vec![store(index)])].into_iter()), 0);
    if let Some(agent) = broken {
        mesh.run_until(|mesh| mesh.node(HOME).in_flight().transactions > 0);
        mesh.reconnect(agent);
    }
    mesh.settle();
    mesh.counts().messages
}
