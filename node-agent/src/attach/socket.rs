//! The attach socket's system calls: packets with descriptors, without ever leaking one.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, accept4, getsockopt, sendmsg,
    sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::packet::PACKET_MAX;

/// Most descriptors that Linux lets one packet carry (`SCM_MAX_FD`), so that none is ever cut off unseen.
const DESCRIPTORS_MAX: usize = 253;

/// Bytes of the control message that carries as many.
// SAFETY: only computes.
const CONTROL_LEN: usize =
    unsafe { libc::CMSG_SPACE((DESCRIPTORS_MAX * size_of::<RawFd>()) as libc::c_uint) } as usize;

/// A packet as it arrived. Descriptors that nobody takes out of it are closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Received {
    /// Its bytes. One longer than any packet may be if the sender's was too long.
    pub(crate) bytes: Vec<u8>,
    /// What came with it.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The kernel could not hand over all the descriptors that the sender passed: this process has too many open.
    pub(crate) descriptors_lost: bool,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerCredentials {
    /// Its number in our PID namespace; 0 if it is not in it.
    pub(crate) pid: u32,
    /// Its user.
    pub(crate) uid: u32,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: AsyncFd<OwnedFd>,
}

impl Connection {
    /// Takes over a connected, non-blocking socket.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Connection> {
        Ok(Connection { socket: watch(socket, Interest::READABLE | Interest::WRITABLE)? })
    }

    /// Awaits the next packet; `None` at the end of the connection.
    pub(crate) async fn receive(&self) -> io::Result<Option<Received>> {
        self.socket.async_io(Interest::READABLE, receive).await
    }

    /// Sends a packet with descriptors, which stay open here.
    pub(crate) async fn send(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket.async_io(Interest::WRITABLE, |socket| send(socket, packet, descriptors)).await
    }

    /// Whether the other end has not closed it.
    pub(crate) fn is_open(&self) -> bool {
        let mut ends = [PollFd::new(self.socket.get_ref().as_fd(), PollFlags::empty())];
        poll(&mut ends, PollTimeout::ZERO) == Ok(0)
    }

    /// Sends the last packet of a connection, if the program takes it: it may be gone, and one that does not read what
    /// it is sent must not keep its place for that.
    pub(crate) fn send_last(&self, packet: &[u8]) {
        let _ = send(self.socket.get_ref(), packet, &[]);
    }

    /// Who connected, as the kernel saw it then.
    pub(crate) fn credentials(&self) -> io::Result<PeerCredentials> {
        let credentials = getsockopt(self.socket.get_ref(), sockopt::PeerCredentials)?;
        Ok(PeerCredentials { pid: u32::try_from(credentials.pid()).unwrap_or(0), uid: credentials.uid() })
    }

    /// See [`peer_process`].
    pub(crate) fn process(&self) -> io::Result<AsyncFd<OwnedFd>> {
        watch(peer_process(self.socket.get_ref())?, Interest::READABLE)
    }
}

/// Connects to a socket.
pub(crate) fn connect(path: &Path) -> io::Result<Connection> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Connection::new(socket)
}

/// Has the runtime watch a descriptor.
pub(crate) fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one and the same open descriptor until it is dropped, and nobody can take it out of the
    // `AsyncFd` without ending the watch.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}

/// Takes the next connection.
pub(crate) fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    loop {
        match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK) {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
            Ok(raw) => return Ok(unsafe { OwnedFd::from_raw_fd(raw) }),
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A descriptor that becomes readable when the process that connected ends, even if a child of it still holds the
/// socket.
fn peer_process(socket: &OwnedFd) -> Result<OwnedFd, Errno> {
    match peer_pidfd(socket) {
        // Should the process have ended by now and its number be in use again, the attachment ends with its socket
        // only, which a child of it may hold.
        Err(Errno::ENOPROTOOPT) => pidfd_open(getsockopt(socket, sockopt::PeerCredentials)?.pid()),
        other => other,
    }
}

/// The process that connected, as a descriptor. The kernel made the link when it connected, so a process number that is
/// in use again cannot mislead us, as it can [`pidfd_open`].
///
/// # Errors
///
/// `ESRCH` or `EINVAL` if the process is gone, `ENOPROTOOPT` if the kernel is older than 6.5.
pub(crate) fn peer_pidfd(socket: &impl AsFd) -> Result<OwnedFd, Errno> {
    getsockopt(socket, sockopt::PeerPidfd)
}

/// A process by its number, as a descriptor; `nix` lacks the call.
pub(crate) fn pidfd_open(pid: libc::pid_t) -> Result<OwnedFd, Errno> {
    // SAFETY: two numbers go in, and no memory is touched.
    let raw = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as RawFd) })
}

fn receive(socket: &OwnedFd) -> io::Result<Option<Received>> {
    let mut bytes = vec![0; PACKET_MAX + 1];
    let (len, descriptors, descriptors_lost) = receive_into(socket, &mut bytes)?;
    // An empty packet cannot be told from the end of the connection, and no packet of the protocol is empty.
    if len == 0 {
        return Ok(None);
    }
    bytes.truncate(len);
    Ok(Some(Received { bytes, descriptors, descriptors_lost }))
}

/// Receives a packet: its length, its descriptors, and whether some of these were lost. Not by `nix`, whose `recvmsg`
/// shows none when some are lost, so that those that did arrive would stay open for ever.
fn receive_into(socket: &OwnedFd, bytes: &mut [u8]) -> Result<(usize, Vec<OwnedFd>, bool), Errno> {
    // Of words, since control messages are aligned to them.
    let mut control = [0_usize; CONTROL_LEN.div_ceil(size_of::<usize>())];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: it is made of numbers and of pointers that may be null.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_LEN;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: the message tells where `bytes` and `control` are and how long, and both live through the call.
    let len = Errno::result(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) })?;
    // SAFETY: the kernel has just filled the message in.
    let descriptors = unsafe { take_descriptors(&message) };
    Ok((len.cast_unsigned(), descriptors, message.msg_flags & libc::MSG_CTRUNC != 0))
}

/// Takes the descriptors out of a message.
///
/// # Safety
///
/// The kernel has filled the message in, its control buffer lives, and this is done once.
unsafe fn take_descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: the kernel has made the headers, and tells by `msg_controllen` where they end.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() };
    while let Some(header) = next {
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: only computes; the data of a header lie behind it.
            let (data, head) = unsafe { (libc::CMSG_DATA(header), libc::CMSG_LEN(0)) };
            let count = (header.cmsg_len - head as usize) / size_of::<RawFd>();
            for at in 0..count {
                // SAFETY: the kernel has put `count` descriptors there, which it has just made for us.
                let descriptor =
                    unsafe { OwnedFd::from_raw_fd(data.cast::<RawFd>().add(at).read_unaligned()) };
                descriptors.push(descriptor);
            }
        }
        // SAFETY: as for the first.
        next = unsafe { libc::CMSG_NXTHDR(message, header).as_ref() };
    }
    descriptors
}

fn send(socket: &OwnedFd, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    // A packet goes whole or not at all.
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(packet)], control, flags, None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn ended(process: &OwnedFd, timeout: PollTimeout) -> bool {
        poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout).unwrap() == 1
    }

    #[test]
    fn older_kernels_tell_the_end_of_a_process_as_well() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = pidfd_open(child.id() as libc::pid_t).unwrap();
        assert!(!ended(&process, PollTimeout::ZERO));
        drop(child.stdin.take());
        assert!(ended(&process, PollTimeout::NONE));
        child.wait().unwrap();
        // A process of another PID namespace is 0 here, and so cannot be found.
        assert_eq!(pidfd_open(0).unwrap_err(), Errno::EINVAL);
    }
}
