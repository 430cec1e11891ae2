//! The receiving half of a connection: one buffer, allocated once, from which frames are taken in place.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use pagemesh_protocol::{MESSAGE_LEN, Message};

use super::frame::{FRAME_LEN_MAX, FrameError, header};

/// Bytes asked for at once, unless a longer frame is under way. Small enough to stay in the processor's cache.
const RECEIVE_LEN: usize = 256 << 10;

/// One frame, its payload still in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the peer says.
    pub message: Message,
    /// The page's contents, if the message has them.
    pub payload: &'a [u8],
}

/// How a call to [`Inbox::receive`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// There are new bytes.
    Bytes,
    /// There is nothing now.
    Nothing,
    /// The peer has closed the connection.
    Closed,
}

/// Bytes that have arrived and are not taken yet.
#[derive(Debug)]
pub struct Inbox {
    /// Longer than the longest frame, so that one always fits behind another's rest. Pages of it that are never
    /// used cost no memory.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox { buffer: vec![0; FRAME_LEN_MAX + RECEIVE_LEN].into_boxed_slice(), start: 0, end: 0 }
    }
}

impl Inbox {
    /// Receives once, without waiting. All frames should have been taken before.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn receive(&mut self, stream: impl AsFd) -> Result<Received, Errno> {
        let want = self.missing().max(RECEIVE_LEN);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < want {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let until = self.buffer.len().min(self.end + want);
        assert!(self.end < until, "whole frames are taken before more is received");
        let room = &mut self.buffer[self.end..until];
        match recv(stream.as_fd().as_raw_fd(), room, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Ok(Received::Closed),
            Ok(len) => {
                self.end += len;
                Ok(Received::Bytes)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Received::Nothing),
            Err(errno) => Err(errno),
        }
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// What is there is no frame.
    pub fn take(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let bytes = &self.buffer[self.start..self.end];
        let Some((head, rest)) = bytes.split_first_chunk::<MESSAGE_LEN>() else { return Ok(None) };
        let (message, len) = header(head)?;
        let Some(payload) = rest.get(..len) else { return Ok(None) };
        self.start += MESSAGE_LEN + len;
        Ok(Some(Frame { message, payload }))
    }

    /// Bytes that have arrived and are not taken yet.
    #[cfg(test)]
    pub(super) fn pending(&self) -> usize {
        self.end - self.start
    }

    /// Bytes that the frame under way still lacks, as far as is known.
    fn missing(&self) -> usize {
        let bytes = &self.buffer[self.start..self.end];
        let payload = bytes
            .split_first_chunk::<MESSAGE_LEN>()
            .and_then(|(head, _)| header(head).ok())
            .map_or(0, |(_, payload)| payload);
        (MESSAGE_LEN + payload).saturating_sub(bytes.len())
    }
}
