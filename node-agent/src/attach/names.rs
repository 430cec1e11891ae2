//! A connection that asks for names: it gets one of another kind, on which the name server answers for as long as this one
//! lives. A packet has no room for gRPC, and who comes by a volume's socket is known to be that pod.

use std::convert::Infallible;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::Shared;
use super::end::{End, bad};
use super::packet::Reply;
use super::socket::Connection;
use crate::volume::Volume;

/// Serves it until it ends.
pub(super) async fn serve(
    connection: &Connection,
    shared: &Shared,
    volume: Option<&Volume>,
) -> Result<Infallible, End> {
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
        () = shared.names.serve(ours, volume) => Err(End::Closed("the name server has ended")),
    }
}

/// Ends what is served when it is dropped: whoever serves it is a task of its own.
struct Cut(UnixStream);

impl Drop for Cut {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
