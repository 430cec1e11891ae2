//! A few agents' data paths in one process, joined by real TCP connections, with memory of this process for programs.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use pagemesh_protocol::{AgentId, Coherence, Incarnation, Placement, RegionConfig, RegionId, Tuning};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::memory::RegionFile;
use crate::metrics::Metrics;
use crate::shard::{AttachmentId, Command, Counts, Event, Range, Report, Setup, Shard, ShardHandle, split};
use crate::uffd::testing::{Directory, Mapping, new_uffd};

pub(super) const REGION: RegionId = RegionId(77);

/// What the region of a test is like.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) pages: u64,
    pub(super) page_size: u32,
    pub(super) coherence: Coherence,
    pub(super) shards: u16,
    pub(super) ahead_bytes: u64,
}

impl Default for Shape {
    fn default() -> Shape {
        let ahead_bytes = 512 << 10;
        Shape { pages: 4, page_size: 4096, coherence: Coherence::WriteInvalidate, shards: 1, ahead_bytes }
    }
}

/// One agent.
pub(super) struct Agent {
    pub(super) id: AgentId,
    pub(super) shards: Vec<ShardHandle>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) file: Arc<RegionFile>,
    shape: Shape,
    _directory: Directory,
}

impl Agent {
    fn start(id: AgentId, shape: Shape) -> (Agent, UnboundedReceiver<Event>) {
        let directory = Directory::new();
        let len = shape.pages * u64::from(shape.page_size);
        let file = Arc::new(RegionFile::create(&directory.0, "region", len).unwrap());
        let metrics = Arc::new(Metrics::new());
        let (events, receiver) = unbounded_channel();
        let setup = Setup {
            me: id,
            incarnation: Incarnation(1),
            shards: shape.shards,
            tuning: Tuning::default(),
            ahead_bytes: shape.ahead_bytes,
            metrics: metrics.clone(),
            state_dir: None,
        };
        let shards = (0..shape.shards)
            .map(|shard| Shard::spawn(shard, setup.clone(), None, events.clone()).unwrap())
            .collect();
        (Agent { id, shards, metrics, file, shape, _directory: directory }, receiver)
    }

    fn declare(&self, homes: &[AgentId]) {
        for shard in &self.shards {
            let Shape { pages, page_size, coherence, .. } = self.shape;
            let placement = Placement { epoch: 1, homes: homes.to_vec(), previous: Vec::new() };
            let (file, config) = (self.file.clone(), RegionConfig { pages, coherence });
            let region = REGION;
            shard.send(Command::Region { region, file, page_size, config, placement });
        }
    }

    /// Attaches a program that maps the whole region.
    pub(super) fn attach(&self, attachment: AttachmentId) -> Arc<Mapping> {
        self.attach_counted(attachment).0
    }

    /// The same, of a program that may only read.
    pub(super) fn attach_read_only(&self, attachment: AttachmentId) -> Arc<Mapping> {
        self.bind(attachment, true).0
    }

    /// The same, with what its faults cost in each shard.
    pub(super) fn attach_counted(&self, attachment: AttachmentId) -> (Arc<Mapping>, Vec<Arc<Counts>>) {
        self.bind(attachment, false)
    }

    fn bind(&self, attachment: AttachmentId, read_only: bool) -> (Arc<Mapping>, Vec<Arc<Counts>>) {
        let memory = Arc::new(Mapping::of(&self.file));
        let whole = Range { base: memory.base(), len: memory.len(), offset: 0 };
        let parts = split(whole, REGION, self.shape.page_size.into(), self.shape.shards);
        let counts: Vec<Arc<Counts>> = self.shards.iter().map(|_| Arc::default()).collect();
        for (index, (shard, counts)) in self.shards.iter().zip(&counts).enumerate() {
            let uffd = Arc::new(new_uffd());
            let (bound, counts) = (uffd.clone(), counts.clone());
            let region = REGION;
            shard.send(Command::Bind { attachment, region, uffd: bound, read_only, counts });
            for (_, range) in parts.iter().filter(|(shard, _)| usize::from(*shard) == index) {
                uffd.register(range.base, range.len).unwrap();
                let (done, answer) = oneshot::channel();
                shard.send(Command::Map { attachment, range: *range, done });
                answer.blocking_recv().unwrap();
            }
        }
        (memory, counts)
    }

    pub(super) fn report(&self, shard: usize) -> Report {
        let (reply, answer) = oneshot::channel();
        self.shards[shard].send(Command::Report { reply });
        answer.blocking_recv().unwrap()
    }

    /// The value of a metric, given as it is written.
    pub(super) fn metric(&self, name: &str) -> u64 {
        // A thread goes on before its fault has been counted: let the shards finish what they are at.
        (0..self.shards.len()).for_each(|shard| drop(self.report(shard)));
        let text = prometheus::TextEncoder::new().encode_to_string(&self.metrics.registry.gather()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }
}

/// Which shard of which two agents, the one with the higher id first.
type Line = (AgentId, AgentId, u16);

/// The last connection of each line, and its number.
type Lines = Mutex<BTreeMap<Line, (TcpStream, u64)>>;

/// Agents that are connected each to each, and are again when a connection breaks.
pub(super) struct Mesh {
    pub(super) agents: Arc<Vec<Agent>>,
    lines: Arc<Lines>,
    keepers: Vec<JoinHandle<()>>,
}

impl Mesh {
    pub(super) fn start(count: u16, shape: Shape) -> Mesh {
        let (agents, receivers): (Vec<_>, Vec<_>) =
            (0..count).map(|id| Agent::start(AgentId(id), shape)).unzip();
        let agents = Arc::new(agents);
        let lines = Arc::new(Mutex::new(BTreeMap::new()));
        let ids: Vec<_> = agents.iter().map(|agent| agent.id).collect();
        agents.iter().for_each(|agent| agent.declare(&ids));
        let mesh = Mesh {
            keepers: receivers
                .into_iter()
                .zip(ids)
                .map(|(events, id)| {
                    let (agents, lines) = (agents.clone(), lines.clone());
                    std::thread::spawn(move || keep(id, events, &agents, &lines))
                })
                .collect(),
            agents,
            lines,
        };
        for high in 0..count {
            for low in 0..high {
                for shard in 0..shape.shards {
                    connect(&mesh.agents, &mesh.lines, (AgentId(high), AgentId(low), shard));
                }
            }
        }
        mesh
    }

    /// Breaks a connection, wherever in a message it may be.
    pub(super) fn cut(&self, high: u16, low: u16) {
        let lines = self.lines.lock().unwrap();
        // It may be broken already.
        let _ = lines[&(AgentId(high), AgentId(low), 0)].0.shutdown(Shutdown::Both);
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for shard in self.agents.iter().flat_map(|agent| &agent.shards) {
            shard.send(Command::Stop);
        }
        for shard in self.agents.iter().flat_map(|agent| &agent.shards) {
            shard.join();
        }
        // The shards held the senders of events.
        self.keepers.drain(..).for_each(|keeper| keeper.join().unwrap());
    }
}

fn keep(id: AgentId, mut events: UnboundedReceiver<Event>, agents: &[Agent], lines: &Lines) {
    while let Some(event) = events.blocking_recv() {
        match event {
            Event::Left { region, .. } => panic!("nobody leaves region {}", region.0),
            Event::PeerLost { shard, peer, reason, refused } => {
                assert!(!refused, "agent {} refuses agent {}: {reason}", id.0, peer.0);
                if peer < id {
                    connect(agents, lines, (id, peer, shard));
                }
            }
            Event::AttachmentEnded { attachment, reason } => {
                panic!("attachment {} ended: {reason}", attachment.0);
            }
        }
    }
}

fn connect(agents: &[Agent], lines: &Lines, line: Line) {
    let (high, low, shard) = line;
    let (one, other) = tcp_pair();
    let number = {
        let mut lines = lines.lock().unwrap();
        let number = lines.get(&line).map_or(1, |(_, last)| last + 1);
        lines.insert(line, (one.try_clone().unwrap(), number));
        number
    };
    for (agent, peer, stream) in [(high, low, one), (low, high, other)] {
        let shard = &agents[usize::from(agent.0)].shards[usize::from(shard)];
        shard.send(Command::Peer { peer, incarnation: Incarnation(1), number, stream });
    }
}

/// Both ends of a connection.
pub(super) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    one.set_nodelay(true).unwrap();
    other.set_nodelay(true).unwrap();
    (one, other)
}
