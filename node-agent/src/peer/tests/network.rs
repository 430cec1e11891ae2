//! Two networks find each other, and strangers are told why not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use pagemesh_protocol::{
    Access, AgentId, Body, Coherence, Incarnation, MESSAGE_LEN, Message, PageId, Placement, RegionConfig,
    RegionId, RequestId, Tuning, Txn,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::memory::RegionFile;
use crate::metrics::Metrics;
use crate::peer::handshake::{HANDSHAKE_LEN, Hello, Packet};
use crate::peer::{Identity, Network};
use crate::shard::{Command, Event, Setup, Shard, ShardHandle};
use crate::uffd::testing::Directory;

struct Agent {
    me: AgentId,
    network: Network,
    shards: Vec<ShardHandle>,
    events: UnboundedReceiver<Event>,
}

fn identity(id: u16, incarnation: u64, shards: u16) -> Identity {
    Identity { me: AgentId(id), incarnation: Incarnation(incarnation), shards }
}

impl Agent {
    fn start(identity: Identity) -> Agent {
        let (sender, events) = unbounded_channel();
        let Identity { me, incarnation, shards } = identity;
        let metrics = Arc::new(Metrics::new());
        let setup = Setup {
            me,
            incarnation,
            shards,
            tuning: Tuning::default(),
            ahead_bytes: 0,
            metrics,
            state_dir: None,
        };
        let shards: Vec<_> = (0..shards)
            .map(|shard| Shard::spawn(shard, setup.clone(), None, sender.clone()).unwrap())
            .collect();
        let network = Network::start("127.0.0.1:0".parse().unwrap(), identity, shards.clone()).unwrap();
        Agent { me, network, shards, events }
    }

    fn know(&self, id: u16, address: SocketAddr) {
        self.network.set_peers(BTreeMap::from([(AgentId(id), address)]));
    }

    /// Returns when every shard is connected to so many peers.
    async fn connected_to(&self, peers: usize) {
        for shard in &self.shards {
            loop {
                let (reply, report) = oneshot::channel();
                shard.send(Command::Report { reply });
                if report.await.unwrap().peers.len() == peers {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// Has the first shard home a page, of which the peer at the other end of `stream` then gets a copy.
    async fn refer_to(&self, stream: &mut TcpStream) {
        let directory = Directory::new();
        let file = Arc::new(RegionFile::create(&directory.0, "region", 4096).unwrap());
        let region = RegionId(77);
        let config = RegionConfig { pages: 1, coherence: Coherence::WriteInvalidate };
        let placement = Placement { epoch: 1, homes: vec![self.me], previous: Vec::new() };
        self.shards[0].send(Command::Region { region, file, page_size: 4096, config, placement });
        let body = Body::Get { req: RequestId(1), access: Access::Read, have: Txn::NONE };
        let get = Message { epoch: 1, ..message(77, body) };
        let frames = [message(0, Body::Resumed).encode(0), get.encode(0)].concat();
        stream.write_all(&frames).await.unwrap();
        assert!(matches!(receive(stream).await, Body::Grant { .. }));
    }

    /// Awaits the loss of a connection, and passes it on as the control path does.
    async fn lose(&mut self) -> (AgentId, bool) {
        match self.events.recv().await.unwrap() {
            Event::PeerLost { shard, peer, refused, .. } => {
                self.network.lost(shard, peer, refused);
                (peer, refused)
            }
            Event::Left { region, .. } => panic!("nobody leaves region {}", region.0),
            Event::AttachmentEnded { reason, .. } => panic!("nothing is attached: {reason}"),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shards.iter().for_each(|shard| shard.send(Command::Stop));
        self.shards.iter().for_each(ShardHandle::join);
    }
}

/// Says hello as somebody, and returns the connection, or the reason if the answer is a refusal.
async fn greet(to: SocketAddr, packet: [u8; HANDSHAKE_LEN]) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(&packet).await.unwrap();
    let mut reply = [0; HANDSHAKE_LEN];
    stream.read_exact(&mut reply).await.unwrap();
    match Packet::decode(&reply).unwrap() {
        Packet::Hello(hello) => {
            let Packet::Hello(mine) = Packet::decode(&packet).unwrap() else {
                panic!("a refusal is answered")
            };
            let Hello { version, from, to, shard, shards, number, .. } = mine;
            let incarnation = hello.incarnation;
            assert_eq!(hello, Hello { version, from: to, to: from, shard, shards, incarnation, number });
            Ok(stream)
        }
        Packet::Refusal(len) => {
            let mut reason = vec![0; len];
            stream.read_exact(&mut reason).await.unwrap();
            Err(String::from_utf8(reason).unwrap())
        }
    }
}

/// Greets agent 3 as agent 8 in one of its lives.
async fn greet_low(low: &Agent, incarnation: u64, number: u64) -> Result<TcpStream, String> {
    let me = identity(8, incarnation, 1);
    let hello = Packet::Hello(me.hello(AgentId(3), 0, number)).encode(me.me);
    greet(low.network.local_addr(), hello).await
}

/// Answers, as agent 3 in one of its lives, to agent 8. Returns the number of the connection.
async fn answer(listener: &TcpListener, incarnation: u64) -> (TcpStream, u64) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut hello = [0; HANDSHAKE_LEN];
    stream.read_exact(&mut hello).await.unwrap();
    let Packet::Hello(hello) = Packet::decode(&hello).unwrap() else { panic!("a refusal comes first") };
    let me = identity(3, incarnation, 1);
    let reply = Packet::Hello(me.hello(hello.from, hello.shard, hello.number));
    stream.write_all(&reply.encode(me.me)).await.unwrap();
    (stream, hello.number)
}

/// A message about no page in particular.
fn message(region: u64, body: Body) -> Message {
    Message { page: PageId { region: RegionId(region), index: 0 }, epoch: 0, body }
}

async fn receive(stream: &mut TcpStream) -> Body {
    let mut frame = [0; MESSAGE_LEN];
    stream.read_exact(&mut frame).await.unwrap();
    Message::decode(&frame).unwrap().0.body
}

/// The other side has closed this connection and has said nothing over it.
async fn is_closed(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; MESSAGE_LEN]).await.unwrap() == 0
}

#[tokio::test]
async fn two_agents_connect_every_shard_and_connect_again() {
    let mut high = Agent::start(identity(8, 1, 2));
    let mut low = Agent::start(identity(3, 1, 2));
    low.know(8, high.network.local_addr());
    high.know(3, low.network.local_addr());
    high.connected_to(1).await;
    low.connected_to(1).await;

    // The low agent ends and comes back with the same memory, elsewhere.
    low.shards.iter().for_each(|shard| shard.send(Command::Stop));
    low.shards.iter().for_each(ShardHandle::join);
    for _ in 0..2 {
        assert_eq!(high.lose().await, (AgentId(3), false));
    }
    low = Agent::start(identity(3, 1, 2));
    low.know(8, high.network.local_addr());
    high.know(3, low.network.local_addr());
    high.connected_to(1).await;
    low.connected_to(1).await;
}

#[tokio::test]
async fn whether_another_life_is_let_in_is_for_its_shard_to_say() {
    let mut low = Agent::start(identity(3, 1, 1));
    low.know(8, "127.0.0.1:1".parse().unwrap());
    let mut first = greet_low(&low, 1, 5).await.unwrap();
    assert_eq!(receive(&mut first).await, Body::Resumed);
    low.refer_to(&mut first).await;
    let mut second = greet_low(&low, 2, 1).await.unwrap();
    assert!(is_closed(&mut second).await, "the shard refuses it");
    assert_eq!(low.lose().await, (AgentId(8), true));
    // For a while it is not even asked.
    let reason = greet_low(&low, 2, 2).await.unwrap_err();
    assert!(reason.contains("lost its memory"), "{reason}");

    // The one that has its memory may come again.
    let mut again = greet_low(&low, 1, 6).await.unwrap();
    assert_eq!(receive(&mut again).await, Body::Resumed);
}

#[tokio::test]
async fn a_dialled_agent_in_another_life_is_dialled_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut high = Agent::start(identity(8, 1, 1));
    high.know(3, listener.local_addr().unwrap());
    let (mut first, number) = answer(&listener, 1).await;
    assert_eq!(receive(&mut first).await, Body::Resumed);
    let mut last = number;
    let mut follows = move |number| std::mem::replace(&mut last, number) < number;
    high.refer_to(&mut first).await;
    drop(first);
    assert_eq!(high.lose().await, (AgentId(3), false));

    let (mut other, number) = answer(&listener, 2).await;
    assert_eq!((is_closed(&mut other).await, follows(number)), (true, true));
    assert_eq!(high.lose().await, (AgentId(3), true));
    let (mut first, number) = answer(&listener, 1).await;
    assert_eq!((receive(&mut first).await, follows(number)), (Body::Resumed, true));

    // Numbers go on when the peer is forgotten and declared again.
    high.network.set_peers(BTreeMap::new());
    high.know(3, listener.local_addr().unwrap());
    let (mut later, number) = answer(&listener, 1).await;
    assert_eq!((receive(&mut later).await, follows(number)), (Body::Resumed, true));
}

#[tokio::test]
async fn a_connection_whose_handshake_ends_too_late_is_dropped() {
    let low = Agent::start(identity(3, 1, 1));
    low.know(8, "127.0.0.1:1".parse().unwrap());
    let mut second = greet_low(&low, 1, 2).await.unwrap();
    assert_eq!(receive(&mut second).await, Body::Resumed);
    let mut first = greet_low(&low, 1, 1).await.unwrap();
    assert!(is_closed(&mut first).await);
}

#[tokio::test]
async fn strangers_are_told_why() {
    let agent = Agent::start(identity(3, 1, 1));
    agent.know(8, "127.0.0.1:1".parse().unwrap());
    let to = AgentId(3);
    for (me, to, reason) in [
        (identity(9, 1, 1), to, "agent 9 is not known here"),
        (identity(3, 1, 1), to, "cannot connect to itself"),
        (identity(8, 1, 4), to, "it has 4 shards, this agent 1"),
        (identity(8, 1, 1), AgentId(4), "it looks for agent 4, this is agent 3"),
    ] {
        let hello = Packet::Hello(me.hello(to, 0, 1)).encode(me.me);
        let refusal = greet(agent.network.local_addr(), hello).await.unwrap_err();
        assert!(refusal.contains(reason), "{refusal}");
    }
    let me = identity(8, 1, 1);
    let mut hello = Packet::Hello(me.hello(to, 0, 1)).encode(me.me);
    hello[8] = 99;
    let refusal = greet(agent.network.local_addr(), hello).await.unwrap_err();
    assert!(refusal.contains("protocol version 99"), "{refusal}");
    let refusal = greet(agent.network.local_addr(), [b'G'; HANDSHAKE_LEN]).await.unwrap_err();
    assert!(refusal.contains("not a pagemesh agent"), "{refusal}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let agent = Agent::start(identity(3, 1, 1));
    let taken = agent.network.local_addr();
    let error = Network::start(taken, identity(4, 1, 0), vec![]).unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()) && error.contains("--listen"), "{error}");
}
