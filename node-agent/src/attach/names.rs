//! A connection that asks for names: it gets one of another kind, on which the name server answers for as long as this one
//! lives. A packet has no room for gRPC, and who comes by a volume's socket is known to be that pod.

use std::convert::Infallible;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::Shared;
use super::end::{End, bad};
use super::packet::{Reason, Reply};
use super::socket::Connection;
use crate::control::VOLUME_GONE;
use crate::volume::Volume;

/// Serves it until it ends.
pub(super) async fn serve(
    connection: &Connection,
    shared: &Shared,
    volume: Option<&Volume>,
) -> Result<Infallible, End> {
    let Some(_place) = shared.names.place(volume) else {
        let text = "too many of this pod's, or of this node's, connections ask for names already: close some";
        return Err(End::Refused(Reason::TooMany, text.into()));
    };
    let (ours, theirs) = UnixStream::pair()?;
    let _cut = Cut(ours.try_clone()?);
    ours.set_nonblocking(true)?;
    let ours = tokio::net::UnixStream::from_std(ours)?;
    connection.send(&Reply::Ok.encode(), &[theirs.as_fd()]).await?;
    drop(theirs);
    tokio::select! {
        received = connection.receive() => match received? {
            None => Err(End::Closed("it asked for names, and has ended")),
            Some(_) => bad("after Names, nothing is said but on the connection that it gave"),
        },
        () = gone(shared, volume) => Err(End::Closed(VOLUME_GONE)),
        () = shared.names.serve(ours, volume) => Err(End::Closed("the name server has ended")),
    }
}

/// Returns when the volume is gone by which a connection came.
async fn gone(shared: &Shared, volume: Option<&Volume>) {
    let Some(volume) = volume else { return std::future::pending().await };
    let mut changes = shared.control.changes();
    // Its sender lives as long as whoever asks.
    while shared.control.serves_volume(&volume.id) && changes.changed().await.is_ok() {}
}

/// Ends what is served when it is dropped: whoever serves it is a task of its own.
struct Cut(UnixStream);

impl Drop for Cut {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
