//! The one place where a shard waits: epoll, with time-outs in nanoseconds.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use pagemesh_protocol::AgentId;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

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
    epoll: OwnedFd,
    events: [epoll::Event; READY_MAX],
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        let none = epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        Ok(Poller { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: [none; READY_MAX] })
    }

    /// Reports when there is something to read.
    pub(super) fn add(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token.to_bits()), EventFlags::IN)?)
    }

    /// Also reports, or no more, when there is room to write.
    pub(super) fn watch_writable(&self, fd: impl AsFd, token: Token, on: bool) -> io::Result<()> {
        let flags = if on { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token.to_bits()), flags)?)
    }

    /// Reports nothing more. Closing is not enough: a program holds the same userfaultfd.
    pub(super) fn remove(&self, fd: impl AsFd) {
        // It is not there any more when the kernel was quicker.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits until something is ready or the time is over, and returns how much is ready.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout =
            timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
        match epoll::wait(&self.epoll, &mut self.events[..], timeout.as_ref()) {
            Ok(count) => Ok(count),
            Err(Errno::INTR) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The `at`th descriptor of those that the last wait found ready.
    pub(super) fn ready(&self, at: usize) -> Ready {
        let (flags, data) = (self.events[at].flags, self.events[at].data);
        Ready {
            token: Token::from_bits(data.u64()),
            readable: flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR),
            writable: flags.contains(EventFlags::OUT),
            failed: flags.contains(EventFlags::ERR),
        }
    }
}
