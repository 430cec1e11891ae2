//! Where the name server answers: a TCP address, and a Unix socket in the agent's directory for those of the node.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use nix::sys::socket::SockType;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tracing::warn;

use super::asker::Asker;
use super::shares::Share;
use super::{Names, serve};
use crate::grpc::Served;
use crate::listen;
use crate::volume::Volume;

/// Name of the Unix socket in the agent's directory.
pub const SOCKET: &str = "names.sock";

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// How long to leave new connections alone when this process has no descriptors left for them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections at a time, on each of the two.
const CONNECTIONS_MAX: usize = 256;

/// Why the agent cannot listen for those who ask for names.
#[derive(Debug, thiserror::Error)]
pub enum CannotListen {
    /// At the address.
    #[error("cannot answer for names at {address}: {source}; choose another --names")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// In the directory.
    #[error("cannot answer for names at {path}: {source}; choose another --dir")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The two sockets, listening.
#[derive(Debug)]
pub struct Listeners {
    tcp: TcpListener,
    address: SocketAddr,
    unix: UnixListener,
}

impl Listeners {
    /// Listens at `address`, and in `dir` with permissions `mode`. The caller has the directory for itself: a socket that an agent
    /// before has left there is replaced. Must be called within a runtime.
    ///
    /// # Errors
    /// One of them cannot be had.
    pub async fn open(address: SocketAddr, dir: &Path, mode: u32) -> Result<Listeners, CannotListen> {
        let at_address = |source| CannotListen::Address { address, source };
        let tcp = TcpListener::bind(&*listen::candidates(address)).await.map_err(at_address)?;
        let address = tcp.local_addr().map_err(at_address)?;
        let path = dir.join(SOCKET);
        let unix = listen::at_path(&path, mode, SockType::Stream, BACKLOG)
            .and_then(|socket| UnixListener::from_std(socket.into()))
            .map_err(|source| CannotListen::Socket { path, source })?;
        Ok(Listeners { tcp, address, unix })
    }

    /// Where it answers over the network.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers, for as long as this is polled.
    pub async fn serve(self, names: Arc<Names>) {
        let Listeners { tcp, unix, .. } = self;
        let tcp =
            incoming(tcp, |tcp: Arc<TcpListener>| async move { Ok(Served::new(tcp.accept().await?.0)) });
        let unix =
            incoming(unix, |unix: Arc<UnixListener>| async move { Ok(Served::new(unix.accept().await?.0)) });
        let own = || serve::server().max_connection_age(serve::AGE_MAX);
        let (tcp, unix) = tokio::join!(
            own().add_service(serve::service(&names, Asker::Anybody)).serve_with_incoming(tcp),
            own().add_service(serve::service(&names, Asker::Anybody)).serve_with_incoming(unix),
        );
        for error in [tcp, unix].into_iter().filter_map(Result::err) {
            warn!(%error, "the name server has ended");
        }
    }
}

impl Names {
    /// A place for a connection that came by the attach socket; none if there are too many.
    pub(crate) fn place(&self, volume: Option<&Volume>) -> Option<Share> {
        self.connections.take(volume.map(|volume| volume.pod.uid.as_str()))
    }

    /// Answers one connection, as the pod of `volume` asks, or whoever may reach the agent's own sockets.
    pub(crate) async fn serve(self: &Arc<Names>, connection: UnixStream, volume: Option<&Volume>) {
        let asker = volume.map_or(Asker::Anybody, |volume| Asker::Pod(Arc::new(volume.clone())));
        let (connection, ended) = Served::patient(connection);
        // No other follows; the server must not take that for its end.
        let one = stream::once(async { io::Result::Ok(connection) }).chain(stream::pending());
        let server = serve::server().add_service(serve::service(self, asker));
        tokio::select! {
            served = server.serve_with_incoming(one) => {
                if let Err(error) = served {
                    warn!(%error, "a connection that asks for names has ended");
                }
            }
            // Nothing is ever sent.
            _ = ended => {}
        }
    }
}

/// Connections as they come, and no more than there may be: those who come later wait.
fn incoming<L, F>(listener: L, accept: impl Fn(Arc<L>) -> F) -> impl Stream<Item = io::Result<Served>>
where
    F: Future<Output = io::Result<Served>>,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    stream::unfold((Arc::new(listener), places, accept), |(listener, places, accept)| async move {
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        let connection = loop {
            match accept(Arc::clone(&listener)).await {
                Ok(connection) => break connection,
                // Without descriptors left, to try again at once would only burn the processor.
                Err(error) => {
                    warn!(%error, "cannot accept who asks for names; see RLIMIT_NOFILE in `pagemesh check`");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        Some((Ok(connection.at(place)), (listener, places, accept)))
    })
}
