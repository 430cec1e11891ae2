//! The agent's socket: connect, and send and receive packets with descriptors. Async-signal-safe; nothing allocates.

use core::mem::{offset_of, size_of, zeroed};

use crate::Error;
use crate::sys::{self, Descriptor, Errno};
use crate::wire::PACKET_MAX;

/// Most descriptors that one packet of ours carries.
pub const DESCRIPTORS_MAX: usize = 64;

/// Room for the control message of [`DESCRIPTORS_MAX`] descriptors.
// SAFETY: `CMSG_SPACE` only computes.
const CONTROL: usize = unsafe { libc::CMSG_SPACE((DESCRIPTORS_MAX * size_of::<i32>()) as u32) } as usize;

#[repr(C, align(16))]
struct Control([u8; CONTROL]);

/// Where an agent listens. Fixed size, so that it can be kept where a forked child finds it.
#[derive(Clone, Copy)]
pub struct SocketPath {
    address: libc::sockaddr_un,
    length: usize,
}

impl SocketPath {
    /// Takes a path.
    ///
    /// # Errors
    ///
    /// [`Error::SocketPath`]: it does not fit.
    pub fn new(path: &[u8]) -> Result<SocketPath, Error> {
        // SAFETY: all zeros is a `sockaddr_un`.
        let mut address: libc::sockaddr_un = unsafe { zeroed() };
        // One byte stays for the NUL that the kernel may add.
        if path.is_empty() || path.len() >= address.sun_path.len() || path.contains(&0) {
            return Err(Error::SocketPath);
        }
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in address.sun_path.iter_mut().zip(path) {
            *to = *from as libc::c_char;
        }
        Ok(SocketPath { address, length: offset_of!(libc::sockaddr_un, sun_path) + path.len() + 1 })
    }
}

impl core::fmt::Debug for SocketPath {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SocketPath").finish_non_exhaustive()
    }
}

/// A connection to the agent.
#[derive(Debug)]
pub struct Socket(Descriptor);

/// What arrived.
#[derive(Debug)]
pub struct Packet {
    bytes: [u8; PACKET_MAX + 1],
    length: usize,
    descriptors: [Option<Descriptor>; DESCRIPTORS_MAX],
}

impl Packet {
    /// Its bytes. One more than any packet may have if the agent's was too long.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The descriptors that came with it; what nobody takes is closed with the packet.
    pub fn descriptors(&mut self) -> &mut [Option<Descriptor>] {
        &mut self.descriptors
    }
}

impl Socket {
    /// Connects to an agent.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`], or [`Error::Descriptors`] when this process has no more.
    pub fn connect(path: &SocketPath) -> Result<Socket, Error> {
        let socket = Descriptor::adopt(sys::packet_socket().map_err(Error::Descriptors)?).moved_high();
        sys::connect(socket.raw(), &path.address, path.length).map_err(Error::Unreachable)?;
        Ok(Socket(socket))
    }

    /// The descriptor.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.0
    }

    /// The descriptor, to be replaced by a duplicate.
    pub fn descriptor_mut(&mut self) -> &mut Descriptor {
        &mut self.0
    }

    /// Sends one packet with descriptors, which stay open here.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`].
    pub fn send(&self, packet: &[u8], descriptors: &[i32]) -> Result<(), Error> {
        assert!(
            descriptors.len() <= DESCRIPTORS_MAX,
            "the control buffer holds {DESCRIPTORS_MAX} descriptors"
        );
        let mut control = Control([0; CONTROL]);
        let mut part = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
        // SAFETY: all zeros is an empty `msghdr`.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if !descriptors.is_empty() {
            let bytes = size_of_val(descriptors) as u32;
            message.msg_control = control.0.as_mut_ptr().cast();
            // SAFETY: these only compute; the buffer has room for `DESCRIPTORS_MAX` and is aligned for a header.
            unsafe {
                message.msg_controllen = libc::CMSG_SPACE(bytes) as _;
                let header = libc::CMSG_FIRSTHDR(&raw const message);
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = libc::CMSG_LEN(bytes) as _;
                let data = libc::CMSG_DATA(header).cast::<i32>();
                core::ptr::copy_nonoverlapping(descriptors.as_ptr(), data, descriptors.len());
            }
        }
        // SAFETY: the packet and the control buffer outlive the call, and the lengths are theirs.
        let sent = unsafe { sys::sendmsg(self.0.raw(), &message) }.map_err(Error::Gone)?;
        assert_eq!(sent, packet.len(), "a packet goes whole or not at all");
        Ok(())
    }

    /// Awaits the next packet.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`]; [`Error::Descriptors`] when it carried descriptors for which this process has no number.
    pub fn receive(&self) -> Result<Packet, Error> {
        let mut packet =
            Packet { bytes: [0; PACKET_MAX + 1], length: 0, descriptors: [const { None }; DESCRIPTORS_MAX] };
        let mut control = Control([0; CONTROL]);
        let mut part =
            libc::iovec { iov_base: packet.bytes.as_mut_ptr().cast(), iov_len: packet.bytes.len() };
        // SAFETY: all zeros is an empty `msghdr`.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL as _;
        // SAFETY: the packet's and the control buffer outlive the call, and the lengths are theirs.
        packet.length = unsafe { sys::recvmsg(self.0.raw(), &mut message) }.map_err(Error::Gone)?;
        // SAFETY: the kernel filled `message` in.
        unsafe { take_descriptors(&message, &mut packet.descriptors) };
        if message.msg_flags & libc::MSG_CTRUNC != 0 {
            return Err(Error::Descriptors(Errno(libc::EMFILE)));
        }
        if packet.length == 0 {
            return Err(Error::Gone(Errno(libc::ECONNRESET)));
        }
        Ok(packet)
    }
}

/// Takes the descriptors out of a received message, so that none can leak.
///
/// # Safety
///
/// `recvmsg` filled `message` in, and its control buffer lives.
unsafe fn take_descriptors(message: &libc::msghdr, into: &mut [Option<Descriptor>; DESCRIPTORS_MAX]) {
    let mut free = into.iter_mut();
    // SAFETY: the macros walk the control buffer within the length that the kernel set.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header).cast::<i32>();
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for i in 0..bytes / size_of::<i32>() {
                    let slot = free.next().expect("the control buffer holds no more than the array");
                    *slot = Some(Descriptor::adopt(data.add(i).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    fn pair() -> (Socket, Socket) {
        let mut fds = [0; 2];
        // SAFETY: `fds` has room for two.
        let result = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, fds.as_mut_ptr()) };
        assert_eq!(result, 0);
        (Socket(Descriptor::adopt(fds[0])), Socket(Descriptor::adopt(fds[1])))
    }

    #[test]
    fn packets_keep_their_bounds_and_descriptors() {
        let (ours, theirs) = pair();
        let file = std::fs::File::open("/dev/null").unwrap();
        theirs.send(b"one", &[file.as_raw_fd(), file.as_raw_fd()]).unwrap();
        theirs.send(b"three", &[]).unwrap();
        let mut first = ours.receive().unwrap();
        assert_eq!(first.bytes(), b"one");
        assert_eq!(first.descriptors().iter().flatten().count(), 2);
        assert_eq!(ours.receive().unwrap().bytes(), b"three");
    }

    #[test]
    fn a_packet_too_long_is_seen_as_too_long() {
        let (ours, theirs) = pair();
        theirs.send(&[1; PACKET_MAX + 200], &[]).unwrap();
        assert_eq!(ours.receive().unwrap().bytes().len(), PACKET_MAX + 1);
    }

    #[test]
    fn the_end_of_the_agent_is_an_error() {
        let (ours, theirs) = pair();
        drop(theirs);
        assert_eq!(ours.receive().unwrap_err(), Error::Gone(Errno(libc::ECONNRESET)));
        assert_eq!(ours.send(b"x", &[]).unwrap_err(), Error::Gone(Errno(libc::EPIPE)));
    }

    #[test]
    fn long_lived_descriptors_get_high_numbers() {
        let fd = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
        let high = Descriptor::adopt(fd).moved_high();
        assert!(high.raw() >= 512, "{}", high.raw());
        assert_eq!(sys::fcntl(high.raw(), libc::F_GETFD, 0), Ok(libc::FD_CLOEXEC as usize));
        assert_eq!(sys::fcntl(fd, libc::F_GETFD, 0), Err(Errno(libc::EBADF)));
    }

    #[test]
    fn paths_that_do_not_fit() {
        for bad in [&b""[..], b"a\0b", &[b'x'; 108]] {
            assert_eq!(SocketPath::new(bad).err(), Some(Error::SocketPath));
        }
        assert!(SocketPath::new(&[b'x'; 107]).is_ok());
    }
}
