//! The attach socket's system calls: packets with descriptors, without ever leaking one.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::packet::PACKET_MAX;

/// Most descriptors that Linux lets one packet carry (`SCM_MAX_FD`), so that none is ever cut off unseen.
const DESCRIPTORS_MAX: usize = 253;

/// A packet as it arrived. Descriptors that nobody takes out of it are closed when it is dropped.
#[derive(Debug)]
pub(super) struct Received {
    /// Its bytes. One longer than any packet may be if the sender's was too long.
    pub(super) bytes: Vec<u8>,
    /// What came with it.
    pub(super) descriptors: Vec<OwnedFd>,
    /// The kernel could not hand over all the descriptors that the sender passed: this process has too many open.
    pub(super) descriptors_lost: bool,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerCredentials {
    /// Its number in our PID namespace; 0 if it is not in it.
    pub(super) pid: u32,
    /// Its user.
    pub(super) uid: u32,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: AsyncFd<OwnedFd>,
}

impl Connection {
    /// Takes over a connected, non-blocking socket.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Connection> {
        Ok(Connection { socket: watch(socket, Interest::READABLE | Interest::WRITABLE)? })
    }

    /// Awaits the next packet; `None` at the end of the connection.
    pub(super) async fn receive(&self) -> io::Result<Option<Received>> {
        self.socket.async_io(Interest::READABLE, receive).await
    }

    /// Sends a packet with descriptors, which stay open here.
    pub(super) async fn send(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket.async_io(Interest::WRITABLE, |socket| send(socket, packet, descriptors)).await
    }

    /// Sends the last packet of a connection, if the program takes it: it may be gone, and one that does not read what
    /// it is sent must not keep its place for that.
    pub(super) fn send_last(&self, packet: &[u8]) {
        let _ = send(self.socket.get_ref(), packet, &[]);
    }

    /// Who connected, as the kernel saw it then.
    pub(super) fn credentials(&self) -> io::Result<PeerCredentials> {
        let credentials: libc::ucred = option(self.socket.get_ref().as_fd(), libc::SO_PEERCRED)?;
        Ok(PeerCredentials { pid: u32::try_from(credentials.pid).unwrap_or(0), uid: credentials.uid })
    }

    /// See [`peer_process`].
    pub(super) fn process(&self) -> io::Result<AsyncFd<OwnedFd>> {
        watch(peer_process(self.socket.get_ref().as_fd())?, Interest::READABLE)
    }
}

/// Has the runtime watch a descriptor.
pub(super) fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one and the same open descriptor until it is dropped, and nobody can take it out of the
    // `AsyncFd` without ending the watch.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}

/// A descriptor that becomes readable when the process that connected ends, even if a child of it still holds the
/// socket. The kernel made the link when the process connected, so a process number that is in use again cannot
/// mislead us, as it could `pidfd_open`.
///
/// # Errors
///
/// `ESRCH` or `EINVAL` if the process is gone, `ENOPROTOOPT` if the kernel is older than 6.5.
pub(crate) fn peer_process(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let raw: libc::c_int = option(socket, libc::SO_PEERPIDFD)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Types that any bytes are a value of, so that the kernel may fill them in.
trait Plain: Copy {}
impl Plain for libc::c_int {}
impl Plain for libc::ucred {}

/// Reads a `SOL_SOCKET` option. `rustix` has no `SO_PEERPIDFD`, and its `SO_PEERCRED` cannot tell a peer of another
/// PID namespace, whose number is 0.
fn option<T: Plain>(socket: BorrowedFd<'_>, name: libc::c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` and `len` live through the call, and `len` tells how much room `value` has.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, value.as_mut_ptr().cast(), &raw mut len)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was zeroed and then filled in, and `Plain` types take any bytes.
    Ok(unsafe { value.assume_init() })
}

fn receive(socket: &OwnedFd) -> io::Result<Option<Received>> {
    let mut bytes = vec![0; PACKET_MAX + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    // Closes what is left in it when dropped, so that an early return leaks nothing.
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    )?;
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = part {
            descriptors.extend(passed);
        }
    }
    // An empty packet cannot be told from the end of the connection, and no packet of the protocol is empty.
    if message.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(message.bytes);
    Ok(Some(Received { bytes, descriptors, descriptors_lost: message.flags.contains(ReturnFlags::CTRUNC) }))
}

fn send(socket: &OwnedFd, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(
            control.push(SendAncillaryMessage::ScmRights(descriptors)),
            "there is room for two descriptors"
        );
    }
    // A packet goes whole or not at all.
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(packet)],
        &mut control,
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    )?;
    Ok(())
}
