//! The one place where a shard waits: epoll, with time-outs in nanoseconds.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use pagemesh_protocol::AgentId;

use super::AttachmentId;

/// Descriptors that one wait reports at most. What is not reported is reported next time.
const READY_MAX: usize = 64;

/// What a descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Commands,
    Attachment(AttachmentId),
    Peer(AgentId),
}

const KIND_SHIFT: u32 = 62;
const COMMANDS: u64 = 0;
const ATTACHMENT: u64 = 1;
const PEER: u64 = 2;

impl Token {
    fn to_bits(self) -> u64 {
        match self {
            Token::Commands => COMMANDS << KIND_SHIFT,
            Token::Attachment(id) => ATTACHMENT << KIND_SHIFT | id.0,
            Token::Peer(id) => PEER << KIND_SHIFT | u64::from(id.0),
        }
    }

    fn from_bits(bits: u64) -> Token {
        let id = bits & ((1 << KIND_SHIFT) - 1);
        match bits >> KIND_SHIFT {
            ATTACHMENT => Token::Attachment(AttachmentId(id)),
            PEER => Token::Peer(AgentId(id as u16)),
            _ => Token::Commands,
        }
    }
}

/// What can be done with a descriptor now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) token: Token,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The descriptor is not what it should be.
    pub(super) failed: bool,
}

pub(super) struct Poller {
    epoll: Epoll,
    events: [EpollEvent; READY_MAX],
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Poller { epoll, events: [EpollEvent::empty(); READY_MAX] })
    }

    /// Reports when there is something to read.
    pub(super) fn add(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token.to_bits()))?)
    }

    /// Also reports, or no more, when there is room to write.
    pub(super) fn watch_writable(&self, fd: impl AsFd, token: Token, on: bool) -> io::Result<()> {
        let out = if on { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
        Ok(self.epoll.modify(fd, &mut EpollEvent::new(EpollFlags::EPOLLIN | out, token.to_bits()))?)
    }

    /// Reports nothing more. Closing is not enough: a program holds the same userfaultfd.
    pub(super) fn remove(&self, fd: impl AsFd) {
        // It is not there any more when the kernel was quicker.
        let _ = self.epoll.delete(fd);
    }

    /// Waits until something is ready or the time is over, and returns how much is ready.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        match epoll_pwait2(&self.epoll, &mut self.events, timeout) {
            Ok(count) => Ok(count),
            Err(Errno::EINTR) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The `at`th descriptor of those that the last wait found ready.
    pub(super) fn ready(&self, at: usize) -> Ready {
        let flags = self.events[at].events();
        Ready {
            token: Token::from_bits(self.events[at].data()),
            readable: flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
            writable: flags.contains(EpollFlags::EPOLLOUT),
            failed: flags.contains(EpollFlags::EPOLLERR),
        }
    }
}

/// `nix` only waits in milliseconds, and a turn is far shorter. By number, since older C libraries lack the name.
fn epoll_pwait2(epoll: &Epoll, events: &mut [EpollEvent], timeout: Option<Duration>) -> Result<usize, Errno> {
    let timeout = timeout
        .map(|t| libc::timespec { tv_sec: t.as_secs().cast_signed(), tv_nsec: t.subsec_nanos().into() });
    // SAFETY: an `EpollEvent` is a `struct epoll_event`, and the kernel is told for how many there is room. The time-out
    // is absent or lives through the call. There is no signal mask.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.0.as_raw_fd(),
            events.as_mut_ptr(),
            events.len(),
            timeout.as_ref().map_or(ptr::null(), ptr::from_ref),
            ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    Errno::result(count).map(|count| count as usize)
}
