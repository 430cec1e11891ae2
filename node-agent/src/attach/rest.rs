//! What outlives a connection by a pod's volume whose process lives on with the region mapped.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::{info, warn};

use super::Shared;
use super::adopted::Adopted;
use super::keeper::HeldOn;
use super::socket::watch;

/// What is left.
pub(super) enum Rest {
    /// The program has closed its connection, as one does that closes all descriptors to go into the background. It is served as
    /// before, and may connect again.
    Served(Box<Adopted>),
    /// It is served no more. Whoever holds its userfaultfds goes on with that, so that it waits, and reads no zeros, when the
    /// agent dies, too.
    Held(HeldOn, OwnedFd),
}

impl Rest {
    /// Until the process ends or has nothing mapped any more.
    pub(super) async fn outlive(self, shared: &Shared) {
        let outlived = match self {
            Rest::Served(adopted) => {
                info!(
                    attachment = adopted.kept.id,
                    pid = adopted.kept.process.pid,
                    "served without a connection"
                );
                let claimed = shared.parked.place(&adopted);
                shared.parked.park(*adopted, claimed).await
            }
            Rest::Held(held, process) => match watch(process, Interest::READABLE) {
                Ok(process) => hold_on(Some(held), &process).await,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = outlived {
            warn!(%error, "cannot watch a process: its attachment has ended");
        }
    }
}

/// Has keepers go on with what they hold until the process ends.
pub(super) async fn hold_on(held: Option<HeldOn>, process: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let Some(held) = held else { return Ok(()) };
    drop(process.readable().await?);
    held.release();
    Ok(())
}
