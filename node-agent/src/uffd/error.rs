//! What can go wrong with a userfaultfd, as two closed enums: one for the door, one for each operation.

use nix::errno::Errno;
use thiserror::Error;

/// Why a descriptor was not taken for a userfaultfd.
#[derive(Debug, Error)]
pub enum UffdError {
    /// The descriptor is something else.
    #[error(
        "the descriptor is {0}, not a userfaultfd: make one from the /dev/userfaultfd that the agent passed"
    )]
    NotUserfaultfd(String),
    /// Somebody has done `UFFDIO_API` already, and so fixed features that the agent did not choose.
    #[error("the userfaultfd is in use already: pass a new one and leave UFFDIO_API to the agent")]
    AlreadyOpened,
    /// The kernel lacks a feature.
    #[error("this kernel's userfaultfd lacks what pagemesh needs: run Linux 6.6 or later")]
    Unsupported,
    /// The descriptor could not be examined or set up.
    #[error("the userfaultfd cannot be set up: {0}")]
    System(#[from] Errno),
}

/// Why an operation on a span of a program's memory failed. What to do about it is the caller's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpError {
    /// The process is gone.
    #[error("the process is gone")]
    Gone,
    /// The span is not mapped, or not registered.
    #[error("the memory is not mapped there")]
    Unmapped,
    /// The process is changing its memory map: try again later.
    #[error("the memory map is changing")]
    Busy,
    /// Some page of the span is mapped already.
    #[error("the page is mapped already")]
    Exists,
    /// The region file has a hole where a page should be.
    #[error("the region file has a hole there")]
    NoPage,
    /// Anything else; it would be a mistake of ours.
    #[error("{0}")]
    Other(Errno),
}

impl OpError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is the kernel's, not ours")]
    pub(super) fn from_errno(errno: Errno) -> OpError {
        match errno {
            Errno::ESRCH => OpError::Gone,
            Errno::ENOENT => OpError::Unmapped,
            Errno::EAGAIN => OpError::Busy,
            Errno::EEXIST => OpError::Exists,
            Errno::EFAULT => OpError::NoPage,
            other => OpError::Other(other),
        }
    }

    /// Short name for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            OpError::Gone => "gone",
            OpError::Unmapped => "unmapped",
            OpError::Busy => "busy",
            OpError::Exists => "exists",
            OpError::NoPage => "no_page",
            OpError::Other(_) => "other",
        }
    }
}
