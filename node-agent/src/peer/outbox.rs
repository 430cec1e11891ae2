//! The sending half of a connection: a queue of frames, and one vectored write for as many as the kernel takes.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, sendmsg};
use pagemesh_protocol::{MESSAGE_LEN, Message};

use crate::memory::{PageBuffer, PagePool};

/// Frames that go into one system call.
const FRAMES_PER_WRITE: usize = 32;

/// Bytes that may wait for a peer. One that lets more pile up does not take its messages: the connection is broken
/// then, and the protocol sends again what matters.
pub const QUEUED_BYTES_MAX: usize = 256 << 20;

/// Whether everything went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// The queue is empty.
    All,
    /// The kernel takes no more now.
    Blocked,
}

#[derive(Debug)]
struct Outgoing {
    header: [u8; MESSAGE_LEN],
    payload: Option<PageBuffer>,
}

impl Outgoing {
    fn len(&self) -> usize {
        MESSAGE_LEN + self.payload.as_ref().map_or(0, |page| page.len())
    }
}

/// Frames that have not been sent yet.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<Outgoing>,
    /// Bytes of the first frame that have been sent.
    sent: usize,
    queued_bytes: usize,
}

impl Outbox {
    /// Puts a frame behind all others.
    pub fn push(&mut self, message: &Message, payload: Option<PageBuffer>) {
        let len = payload.as_ref().map_or(0, |page| page.len());
        let frame = Outgoing { header: message.encode(len as u32), payload };
        self.queued_bytes += frame.len();
        self.queue.push_back(frame);
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether more waits than may.
    #[must_use]
    pub fn is_overfull(&self) -> bool {
        self.queued_bytes > QUEUED_BYTES_MAX
    }

    /// Sends as much as the kernel takes; buffers that are done with go to `pool`.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn flush(&mut self, stream: impl AsFd, pool: &mut PagePool) -> Result<Flushed, Errno> {
        while !self.queue.is_empty() {
            match self.write(&stream) {
                Ok(sent) => self.advance(sent, pool),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(Flushed::Blocked),
                Err(errno) => return Err(errno),
            }
        }
        Ok(Flushed::All)
    }

    /// Gives the buffers of all frames to `pool`.
    pub fn discard(mut self, pool: &mut PagePool) {
        self.queue.drain(..).filter_map(|frame| frame.payload).for_each(|page| pool.give(page));
    }

    fn write(&self, stream: impl AsFd) -> Result<usize, Errno> {
        let mut slices = [IoSlice::new(&[]); 2 * FRAMES_PER_WRITE];
        let mut count = 0;
        let mut skip = self.sent;
        for frame in self.queue.iter().take(FRAMES_PER_WRITE) {
            for part in [&frame.header[..], frame.payload.as_deref().unwrap_or(&[])] {
                let rest = &part[skip.min(part.len())..];
                skip -= part.len() - rest.len();
                if !rest.is_empty() {
                    slices[count] = IoSlice::new(rest);
                    count += 1;
                }
            }
        }
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(stream.as_fd().as_raw_fd(), &slices[..count], &[], flags, None)
    }

    fn advance(&mut self, sent: usize, pool: &mut PagePool) {
        self.queued_bytes -= sent;
        self.sent += sent;
        while let Some(len) = self.queue.front().map(Outgoing::len).filter(|len| *len <= self.sent) {
            self.sent -= len;
            if let Some(page) = self.queue.pop_front().and_then(|frame| frame.payload) {
                pool.give(page);
            }
        }
    }
}
