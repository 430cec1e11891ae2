//! The side that dials.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pagemesh_protocol::AgentId;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{error::Elapsed, timeout};

use super::{HANDSHAKE_TIMEOUT, Shared};
use crate::pause::jittered;
use crate::peer::handshake::{HANDSHAKE_LEN, HandshakeError, Hello, Packet};

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Keeps a connection to one peer for each shard. Ends when dropped.
#[derive(Debug)]
pub(super) struct Dialer {
    address: watch::Sender<SocketAddr>,
    lost: Vec<Arc<Notify>>,
    _tasks: JoinSet<()>,
}

impl Dialer {
    pub(super) fn start(shared: &Arc<Shared>, peer: AgentId, address: SocketAddr) -> Dialer {
        let (address, changes) = watch::channel(address);
        let mut tasks = JoinSet::new();
        let mut lost = Vec::new();
        for shard in 0..shared.identity.shards {
            let broken = Arc::new(Notify::new());
            lost.push(broken.clone());
            let line = Line { shared: shared.clone(), peer, shard, address: changes.clone() };
            tasks.spawn(line.keep(broken));
        }
        Dialer { address, lost, _tasks: tasks }
    }

    pub(super) fn set_address(&self, address: SocketAddr) {
        self.address.send_if_modified(|known| std::mem::replace(known, address) != address);
    }

    pub(super) fn lost(&self, shard: u16) {
        if let Some(broken) = self.lost.get(usize::from(shard)) {
            broken.notify_one();
        }
    }
}

/// Why there is no connection yet.
#[derive(Debug, Error)]
enum DialError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it does not answer")]
    Timeout(#[from] Elapsed),
    #[error("it refuses: {0}")]
    Refused(String),
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
}

/// The connection of one shard to one peer.
struct Line {
    shared: Arc<Shared>,
    peer: AgentId,
    shard: u16,
    address: watch::Receiver<SocketAddr>,
}

impl Line {
    async fn keep(mut self, broken: Arc<Notify>) {
        let mut pause = PAUSE_MIN;
        let mut last_error = String::new();
        loop {
            let address = *self.address.borrow_and_update();
            match self.connect(address).await {
                Ok(()) => {
                    let made = Instant::now();
                    broken.notified().await;
                    // A shard that does not believe the peer gives it up at once, again and again.
                    if made.elapsed() > PAUSE_MAX {
                        last_error.clear();
                    }
                    // Programs wait while there is none, so however short it lived, the next one is made soon.
                    pause = PAUSE_MIN;
                }
                Err(error) => {
                    // The same again and again is news only once.
                    let error = error.to_string();
                    if error != last_error {
                        let (peer, shard) = (self.peer.0, self.shard);
                        tracing::warn!(peer, shard, %address, "cannot connect: {error}");
                    }
                    last_error = error;
                }
            }
            // A new address is worth a try at once.
            if let Ok(Err(_dialer_dropped)) = timeout(jittered(pause), self.address.changed()).await {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn connect(&self, address: SocketAddr) -> Result<(), DialError> {
        let (stream, hello) = timeout(HANDSHAKE_TIMEOUT, self.shake_hands(address)).await??;
        self.shared.hand_over(stream, &hello)?;
        Ok(())
    }

    async fn shake_hands(&self, address: SocketAddr) -> Result<(TcpStream, Hello), DialError> {
        let identity = self.shared.identity;
        let mut stream = TcpStream::connect(address).await?;
        let mine = identity.hello(self.peer, self.shard, self.shared.next_number(self.peer, self.shard));
        stream.write_all(&Packet::Hello(mine).encode(identity.me)).await?;
        let mut bytes = [0; HANDSHAKE_LEN];
        stream.read_exact(&mut bytes).await?;
        match Packet::decode(&bytes)? {
            Packet::Refusal(len) => {
                let mut reason = vec![0; len];
                stream.read_exact(&mut reason).await?;
                Err(DialError::Refused(String::from_utf8_lossy(&reason).into_owned()))
            }
            Packet::Hello(hello) => {
                identity.fits(&hello)?;
                if (hello.from, hello.shard, hello.number) != (mine.to, mine.shard, mine.number) {
                    return Err(HandshakeError::Malformed.into());
                }
                self.shared.members().may_come(&hello)?;
                Ok((stream, hello))
            }
        }
    }
}
