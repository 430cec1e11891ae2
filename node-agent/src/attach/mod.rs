//! The door for programs: docs/src/attach-protocol.md.
//!
//! `packet` is the protocol in bytes, `socket` moves packets and descriptors, `session` is the life of one
//! connection, `ranges` what it has mapped, `volumes` accepts pods by theirs; here is who is served. A program is never trusted: what it sends is
//! checked once, in one of these files.

mod adopted;
mod attached;
mod end;
mod keeper;
mod listener;
mod names;
pub mod packet;
mod pod;
mod ranges;
mod rest;
mod session;
mod socket;
mod volumes;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::control::Control;
use crate::names::Names;
use crate::volume::Volumes;

use adopted::Parked;
use volumes::Doors;

pub use adopted::{Adopted, adopt};
pub use keeper::{Holdings, Told};
pub use listener::{ListenError, listen};
pub use ranges::RANGES_MAX;
pub(crate) use socket::{Connection, accept, connect, peer_pidfd, pidfd_open, watch};

/// Attachments that a node has at most, unless told otherwise.
pub const ATTACHMENTS_MAX: usize = 1024;

/// How long to leave new connections alone when this process has no descriptors left for them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What programs are served from.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The regions, and who is attached.
    pub control: Arc<Control>,
    /// What programs mean by paths.
    pub names: Arc<Names>,
    /// What keepers hold.
    pub holdings: Arc<Holdings>,
}

/// What every connection needs.
#[derive(Debug)]
pub(crate) struct Shared {
    control: Arc<Control>,
    names: Arc<Names>,
    /// `/dev/userfaultfd`: programs make theirs from it, though they could not open it themselves.
    device: OwnedFd,
    attachments_max: usize,
    parked: Parked,
    holdings: Arc<Holdings>,
}

/// Listens for programs.
#[derive(Debug)]
pub struct Server {
    listener: AsyncFd<OwnedFd>,
    shared: Arc<Shared>,
    adopted: Vec<Adopted>,
    volumes: Volumes,
}

impl Server {
    /// Serves a socket that [`listen`] made, those of pods' volumes as these come and go, and those who were attached to an
    /// earlier process.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch the socket.
    pub fn new(
        listener: OwnedFd,
        device: OwnedFd,
        serving: Serving,
        attachments_max: usize,
        adopted: Vec<Adopted>,
        volumes: Volumes,
    ) -> io::Result<Server> {
        let listener = socket::watch(listener, Interest::READABLE)?;
        let parked = Parked::default();
        let Serving { control, names, holdings } = serving;
        let shared = Arc::new(Shared { control, names, device, attachments_max, parked, holdings });
        Ok(Server { listener, shared, adopted, volumes })
    }

    /// Accepts connections and serves each in a task of its own. Does not end; dropping the future ends every
    /// attachment.
    pub async fn run(self) {
        // Connections count from the start, so that those who never say what they want are bounded as well.
        let places = Arc::new(Semaphore::new(self.shared.attachments_max));
        let mut sessions = JoinSet::new();
        for adopted in self.adopted {
            let shared = Arc::clone(&self.shared);
            // Before the first connection is accepted.
            let claimed = shared.parked.place(&adopted);
            sessions.spawn(async move {
                if let Err(error) = shared.parked.park(adopted, claimed).await {
                    warn!(%error, "cannot watch a process: its attachment has ended");
                }
            });
        }
        let mut doors =
            Doors::new(self.volumes, Arc::clone(&self.shared.control), self.shared.attachments_max);
        loop {
            let (accepted, door) = tokio::select! {
                accepted = self.listener.async_io(Interest::READABLE, socket::accept) => (accepted, None),
                (accepted, door) = doors.next() => (accepted, Some(door)),
                Some(ended) = sessions.join_next() => {
                    if let Err(error) = ended {
                        warn!(%error, "the task of an attachment failed");
                    }
                    continue;
                }
            };
            let connection = match accepted.and_then(socket::Connection::new) {
                Ok(connection) => connection,
                Err(error) => {
                    // A program that went away before it was accepted is its own business; to be out of descriptors
                    // is ours, and trying again at once would only burn the processor.
                    warn!(%error, "cannot accept a program; see RLIMIT_NOFILE in `pagemesh check`");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let shared = Arc::clone(&self.shared);
            // A pod must not take the places of all others.
            let own = door.as_ref().map(|door| Arc::clone(&door.places).try_acquire_owned());
            let place = Arc::clone(&places).try_acquire_owned();
            match (own.transpose(), place) {
                (Ok(own), Ok(place)) => {
                    sessions.spawn(async move {
                        let volume = door.as_ref().map(|door| &*door.volume);
                        if let Some(rest) = session::serve(&connection, volume, &shared).await {
                            drop(connection);
                            rest.outlive(&shared).await;
                        }
                        drop((own, place));
                    });
                }
                (Err(_), _) => {
                    let max = volumes::of_one_pod(shared.attachments_max);
                    session::turn_away(
                        &connection,
                        format!("this pod has {max} attachments already: end some programs"),
                    );
                }
                (Ok(_), Err(_)) => {
                    let max = shared.attachments_max;
                    debug!("turned a program away: too many attachments");
                    session::turn_away(
                        &connection,
                        format!(
                            "this node has {max} attachments already: raise --attachments, or end some programs"
                        ),
                    );
                }
            }
        }
    }
}
