//! Programs and peers that do what they should not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use nix::errno::Errno;
use pagemesh_protocol::{
    AgentId, Body, Coherence, Incarnation, Message, PageId, Placement, RegionConfig, RegionId, RequestId,
    Tuning, Txn,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use super::mesh::{Mesh, REGION, Shape, tcp_pair};
use crate::memory::RegionFile;
use crate::metrics::Metrics;
use crate::shard::{AttachmentId, Command, Event, Range, Setup, Shard, ShardHandle};
use crate::uffd::Uffd;
use crate::uffd::testing::{Directory, Mapping, make_blocking, new_uffd};

const PAGE: u64 = 4096;
const PEER: AgentId = AgentId(9);

/// One shard that the test talks to itself, as its control path and as its peer.
pub(super) struct Alone {
    shard: ShardHandle,
    events: UnboundedReceiver<Event>,
    metrics: Arc<Metrics>,
    /// Connections made.
    connections: u64,
    file: Arc<RegionFile>,
    _directory: Directory,
}

impl Alone {
    pub(super) fn start() -> Alone {
        let directory = Directory::new();
        let file = Arc::new(RegionFile::create(&directory.0, "region", 4 * PAGE).unwrap());
        let (sender, events) = unbounded_channel();
        let metrics = Arc::new(Metrics::new());
        let setup = Setup {
            me: AgentId(0),
            incarnation: Incarnation(1),
            shards: 1,
            tuning: Tuning::default(),
            ahead_bytes: 1 << 20,
            metrics: metrics.clone(),
            state_dir: None,
        };
        let shard = Shard::spawn(0, setup, None, sender).unwrap();
        let config = RegionConfig { pages: 4, coherence: Coherence::WriteInvalidate };
        let placement = Placement { epoch: 1, homes: vec![AgentId(0)], previous: Vec::new() };
        let (page_size, region) = (PAGE as u32, REGION);
        shard.send(Command::Region { region, file: file.clone(), page_size, config, placement });
        Alone { shard, events, metrics, connections: 0, file, _directory: directory }
    }

    /// Connects as a peer that sends these bytes, and says why the shard gave the connection up.
    pub(super) fn fate_of(&mut self, bytes: &[u8]) -> String {
        let mut mine = self.connect(1, self.connections + 1);
        // The shard may have given up before all is written.
        let _ = mine.write_all(bytes);
        let Event::PeerLost { peer: PEER, reason, .. } = self.event() else { panic!("the peer is not lost") };
        reason
    }

    /// Connects as the peer in one of its lives.
    pub(super) fn connect(&mut self, incarnation: u64, number: u64) -> TcpStream {
        let (mine, stream) = tcp_pair();
        self.connections = self.connections.max(number);
        let (peer, incarnation) = (PEER, Incarnation(incarnation));
        self.shard.send(Command::Peer { peer, incarnation, number, stream });
        mine
    }

    /// Gives the region other homes.
    pub(super) fn place(&self, epoch: u64, homes: &[AgentId]) {
        let config = RegionConfig { pages: 4, coherence: Coherence::WriteInvalidate };
        let placement = Placement { epoch, homes: homes.to_vec(), previous: vec![AgentId(0)] };
        let (file, page_size, region) = (self.file.clone(), PAGE as u32, REGION);
        self.shard.send(Command::Region { region, file, page_size, config, placement });
    }

    /// Has the shard forget its region.
    pub(super) fn drop_region(&self) {
        self.shard.send(Command::Drop { region: REGION });
    }

    /// How many frames were refused for this reason.
    pub(super) fn refused(&self, reason: &str) -> u64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.metrics.registry.gather()).unwrap();
        let name = format!(r#"pagemesh_frames_refused_total{{reason="{reason}"}} "#);
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
    }

    pub(super) fn event(&mut self) -> Event {
        self.events.blocking_recv().unwrap()
    }

    fn attach(&self, attachment: AttachmentId, known: Range) -> (Mapping, Arc<Uffd>) {
        let memory = Mapping::of(&self.file);
        let uffd = Arc::new(new_uffd());
        uffd.register(memory.base(), memory.len()).unwrap();
        let (bound, counts) = (uffd.clone(), Arc::default());
        let region = REGION;
        self.shard.send(Command::Bind { attachment, region, uffd: bound, read_only: false, counts });
        let (done, answer) = oneshot::channel();
        let range = Range { base: memory.base() + known.base, ..known };
        self.shard.send(Command::Map { attachment, range, done });
        answer.blocking_recv().unwrap();
        (memory, uffd)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.shard.send(Command::Stop);
        self.shard.join();
    }
}

/// What every connection begins with.
pub(super) fn resumed() -> Vec<u8> {
    let page = PageId { region: RegionId(0), index: 0 };
    Message { page, epoch: 0, body: Body::Resumed }.encode(0).to_vec()
}

pub(super) fn data(region: RegionId, index: u64, payload: u32) -> Vec<u8> {
    let body = Body::Data {
        txn: Txn(5),
        req: RequestId(5),
        access: pagemesh_protocol::Access::Read,
        acks: 0,
        version: Txn(5),
        push: false,
    };
    let mut bytes = Message { page: PageId { region, index }, epoch: 1, body }.encode(payload).to_vec();
    bytes.resize(bytes.len() + payload as usize, 0xEE);
    bytes
}

#[test]
fn a_peer_that_sends_nonsense_loses_its_connection() {
    let mut alone = Alone::start();
    for (bytes, reason) in
        [(vec![0xFF; 64], "malformed"), (data(RegionId(1), 0, (2 << 20) + 1), "more than the largest page")]
    {
        let fate = alone.fate_of(&[resumed(), bytes].concat());
        assert!(fate.contains(reason), "{fate}");
    }
}

#[test]
fn what_fits_no_page_is_passed_over() {
    let mut alone = Alone::start();
    let mut bytes = resumed();
    bytes.extend(data(RegionId(1), 0, 8192));
    bytes.extend(data(REGION, u64::MAX, PAGE as u32));
    bytes.extend(data(REGION, 0, 8192));
    bytes.extend(data(REGION, 0, 64));
    bytes.extend([0xFF; 64]);
    let fate = alone.fate_of(&bytes);
    assert!(fate.contains("malformed"), "only what came last was a reason: {fate}");
    assert_eq!(alone.refused("page_size"), 2);
}

#[test]
fn a_region_that_is_not_known_is_answered() {
    let mut alone = Alone::start();
    let mut mine = alone.connect(1, 1);
    mine.write_all(&[resumed(), data(RegionId(1), 0, 8192)].concat()).unwrap();
    loop {
        let mut frame = [0; 64];
        mine.read_exact(&mut frame).unwrap();
        let (message, _) = Message::decode(&frame).unwrap();
        if message.body == Body::Refused {
            assert_eq!(message.page.region, RegionId(1));
            break;
        }
    }
}

#[test]
fn a_page_whose_contents_a_program_removed_is_an_error_and_not_zeros() {
    let mesh = Mesh::start(1, Shape::default());
    let memory = mesh.agents[0].attach(AttachmentId(1));
    memory.word(0).store(5, SeqCst);
    mesh.agents[0].file.punch(0, PAGE).unwrap();
    assert_eq!(memory.read_by_kernel(0), Err(Errno::EFAULT));
    assert_eq!(mesh.agents[0].metric("pagemesh_pages_poisoned_total"), 1);
}

#[test]
fn a_fault_where_nothing_was_mapped_ends_the_attachment() {
    let mut alone = Alone::start();
    // The program says that it has mapped one page, and touches another.
    let (memory, _) = alone.attach(AttachmentId(4), Range { base: 0, len: PAGE, offset: 0 });
    memory.word(8).store(1, SeqCst);
    std::thread::scope(|scope| {
        let stray = scope.spawn(|| memory.word(PAGE).load(SeqCst));
        let Event::AttachmentEnded { attachment, reason } = alone.event() else { panic!("it goes on") };
        assert_eq!(attachment, AttachmentId(4));
        assert!(reason.contains("mapped nothing"), "{reason}");
        // It waits in its fault until the shard's descriptor, which is the last one, goes.
        assert!(!stray.is_finished());
        alone.shard.send(Command::Stop);
        alone.shard.join();
        assert_eq!(stray.join().unwrap(), 0);
    });
}

#[test]
fn a_fault_in_what_was_just_unmapped_is_left_to_the_program() {
    let alone = Alone::start();
    let attachment = AttachmentId(4);
    let (memory, _) = alone.attach(attachment, Range { base: 0, len: 4 * PAGE, offset: 0 });
    let (base, len) = (memory.base(), memory.len());
    let (done, answer) = oneshot::channel();
    alone.shard.send(Command::Unmap { attachment, base, len, done });
    answer.blocking_recv().unwrap();
    std::thread::scope(|scope| {
        let late = scope.spawn(|| memory.word(0).load(SeqCst));
        // It faults again and again until the memory is gone, or here: is not watched over any more.
        alone.shard.send(Command::Detach { attachment });
        assert_eq!(late.join().unwrap(), 0);
    });
}

#[test]
fn a_program_that_tampers_with_its_userfaultfd_ends_its_attachment() {
    let mut alone = Alone::start();
    let (memory, uffd) = alone.attach(AttachmentId(4), Range { base: 0, len: 4 * PAGE, offset: 0 });
    // To read from a blocking one could keep the shard from all others.
    make_blocking(&*uffd);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| memory.word(0).load(SeqCst));
        let Event::AttachmentEnded { reason, .. } = alone.event() else { panic!("it goes on") };
        assert!(reason.contains("userfaultfd"), "{reason}");
        drop(uffd);
        alone.shard.send(Command::Stop);
        alone.shard.join();
        assert_eq!(waiting.join().unwrap(), 0);
    });
}
