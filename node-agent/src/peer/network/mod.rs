//! Makes connections: listens, dials, shakes hands, and hands the connection to its shard.
//!
//! Of two agents the one with the higher id dials, so that there is one connection for each pair of shards. It dials
//! until it succeeds and again when the connection breaks; the other side only answers.

mod answer;
mod dial;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use dial::Dialer;
use nix::sys::socket::{setsockopt, sockopt};
use pagemesh_protocol::{AgentId, Incarnation};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::handshake::{HandshakeError, Hello, Identity};
use crate::listen::candidates;
use crate::shard::{Command, ShardHandle, monotonic_nanos};

/// For how long either side waits for a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long a peer is turned away that a shard has just refused to believe.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// After what silence a connection is probed, how often, and how many probes may stay without an answer.
const KEEPALIVE_IDLE_SECONDS: u32 = 2;
const KEEPALIVE_INTERVAL_SECONDS: u32 = 1;
const KEEPALIVE_PROBES: u32 = 3;

/// For how long sent bytes may stay without an acknowledgement before the connection counts as broken.
const UNACKNOWLEDGED_MILLIS_MAX: u32 = 5_000;

/// Why the network could not be started.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; name another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
}

/// The connections of this agent to all its peers.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
    listener: AbortHandle,
}

/// What the tasks have in common.
#[derive(Debug)]
struct Shared {
    identity: Identity,
    shards: Vec<ShardHandle>,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    /// Everyone but this agent. Those with a lower id are dialled.
    peers: BTreeMap<AgentId, Option<Dialer>>,
    /// The life of each peer that was handed to each shard last.
    lives: BTreeMap<(AgentId, u16), Incarnation>,
    /// Lives that shards have refused, and when. They are let in again a while later: what the shard had of an earlier
    /// life may be gone by then.
    refused: BTreeMap<(AgentId, u16), (Incarnation, Instant)>,
    /// Numbers of the last connections that were dialled. They outlive the dialer, and so do the peers' memories of them.
    numbers: BTreeMap<(AgentId, u16), u64>,
}

impl Members {
    /// Turns away a peer that a shard has just refused. Whether to believe it is the shard's to say.
    fn may_come(&self, hello: &Hello) -> Result<(), HandshakeError> {
        match self.refused.get(&(hello.from, hello.shard)) {
            Some((life, when)) if *life == hello.incarnation && when.elapsed() < REFUSED_PAUSE => {
                Err(HandshakeError::OtherIncarnation(hello.from))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Network {
    /// Starts to listen. Nobody is let in before [`Network::set_peers`] says who is known. To be called in a tokio
    /// runtime.
    ///
    /// # Errors
    /// The address cannot be listened on.
    ///
    /// # Panics
    /// If there are not as many shards as `identity` says.
    pub fn start(
        listen: SocketAddr,
        identity: Identity,
        shards: Vec<ShardHandle>,
    ) -> Result<Network, NetworkError> {
        assert_eq!(shards.len(), usize::from(identity.shards), "one handle for each shard");
        let bind = || {
            let listener = TcpListener::bind(&*candidates(listen))?;
            listener.set_nonblocking(true)?;
            let local_addr = listener.local_addr()?;
            Ok((tokio::net::TcpListener::from_std(listener)?, local_addr))
        };
        let (listener, local_addr) =
            bind().map_err(|source| NetworkError::Listen { address: listen, source })?;
        let shared = Arc::new(Shared { identity, shards, members: Mutex::default() });
        let listener = tokio::spawn(answer::run(listener, shared.clone())).abort_handle();
        Ok(Network { shared, local_addr, listener })
    }

    /// Where peers reach this agent.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Says who the peers are and where. This agent itself may be among them and is passed over. A connection to one
    /// that is gone from the list stays until it breaks.
    pub fn set_peers(&self, mut addresses: BTreeMap<AgentId, SocketAddr>) {
        let me = self.shared.identity.me;
        addresses.retain(|id, _| *id != me && id.0 < AgentId::LIMIT);
        let mut members = self.shared.members();
        members.peers.retain(|id, _| addresses.contains_key(id));
        for (id, address) in addresses {
            match members.peers.get(&id) {
                Some(Some(dialer)) => dialer.set_address(address),
                Some(None) => {}
                None => {
                    let dialer = (id < me).then(|| Dialer::start(&self.shared, id, address));
                    members.peers.insert(id, dialer);
                }
            }
        }
    }

    /// A shard has lost its connection to a peer, or refused it: if it was dialled, it is dialled again. Whether that is
    /// news: a peer that is refused comes again and again.
    pub fn lost(&self, shard: u16, peer: AgentId, refused: bool) -> bool {
        let mut members = self.shared.members();
        let mut news = true;
        if refused && let Some(life) = members.lives.get(&(peer, shard)).copied() {
            let before = members.refused.insert((peer, shard), (life, Instant::now()));
            news = before.is_none_or(|(before, _)| before != life);
        }
        if let Some(Some(dialer)) = members.peers.get(&peer) {
            dialer.lost(shard);
        }
        news
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.listener.abort();
        self.shared.members().peers.clear();
    }
}

impl Shared {
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().expect("nobody panics while holding the members")
    }

    /// Whether an agent that dials may come in.
    fn admits(&self, hello: &Hello) -> Result<(), HandshakeError> {
        self.identity.fits(hello)?;
        let members = self.members();
        if !members.peers.contains_key(&hello.from) {
            Err(HandshakeError::Unknown(hello.from))
        } else if hello.from < self.identity.me {
            Err(HandshakeError::WrongWay(hello.from))
        } else {
            members.may_come(hello)
        }
    }

    /// The number of the next connection that is dialled for a shard of a peer.
    fn next_number(&self, peer: AgentId, shard: u16) -> u64 {
        let mut members = self.members();
        let number = members.numbers.entry((peer, shard)).or_default();
        // Greater than those of an earlier process in this life, too.
        *number = monotonic_nanos().max(*number + 1);
        *number
    }

    /// Gives a connection, after its handshake, to its shard. `hello` is what the peer said.
    fn hand_over(&self, stream: TcpStream, hello: &Hello) -> io::Result<()> {
        let Hello { from: peer, shard, incarnation, number, .. } = *hello;
        let stream = stream.into_std()?;
        stream.set_nodelay(true)?;
        setsockopt(&stream, sockopt::KeepAlive, &true)?;
        setsockopt(&stream, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_SECONDS)?;
        setsockopt(&stream, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL_SECONDS)?;
        setsockopt(&stream, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
        setsockopt(&stream, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MILLIS_MAX)?;
        self.members().lives.insert((peer, shard), incarnation);
        self.shards[usize::from(shard)].send(Command::Peer { peer, incarnation, number, stream });
        Ok(())
    }
}
