//! What travels over a connection: 64 bytes of message, and for some kinds a page behind it.

use pagemesh_protocol::{DecodeError, MESSAGE_LEN, Message};
use thiserror::Error;

use crate::memory::PAGE_SIZE_MAX;

/// Bytes of the longest frame.
pub const FRAME_LEN_MAX: usize = MESSAGE_LEN + PAGE_SIZE_MAX as usize;

/// Why a connection cannot go on: where its next frame begins is not known, or the peer does not keep to what a
/// connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The first 64 bytes are no message.
    #[error("a frame is malformed: {0}")]
    Malformed(DecodeError),
    /// More than the largest page.
    #[error("a frame carries {0} bytes, more than the largest page has")]
    TooLong(u32),
    /// The first frame does not say that the peer has come over to this connection.
    #[error("the first frame is not `resumed`: run the same release on both agents")]
    NotResumed,
    /// A later frame says so again, and each time all that is under way would have to be repeated.
    #[error("`resumed` came again on the same connection: run the same release on both agents")]
    ResumedAgain,
}

impl FrameError {
    /// Short name for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FrameError::Malformed(DecodeError::UnknownKind(_)) => "unknown_kind",
            FrameError::Malformed(DecodeError::NotCanonical) => "not_canonical",
            FrameError::Malformed(DecodeError::Payload) => "payload_misplaced",
            FrameError::TooLong(_) => "too_long",
            FrameError::NotResumed => "not_resumed",
            FrameError::ResumedAgain => "resumed_again",
        }
    }
}

/// The header of a frame: the message, and how many bytes follow.
pub(super) fn header(bytes: &[u8; MESSAGE_LEN]) -> Result<(Message, usize), FrameError> {
    let (message, payload) = Message::decode(bytes).map_err(FrameError::Malformed)?;
    if payload > PAGE_SIZE_MAX {
        return Err(FrameError::TooLong(payload));
    }
    Ok((message, payload as usize))
}
