//! The one error of this crate. It allocates nothing, so that it can be made and shown in a forked child. Written by hand:
//! what derives it elsewhere in this workspace is built with the standard library.

use core::fmt;

use crate::sys::Errno;
use crate::wire::{Refusal, WireError};

/// Why a region cannot be attached or mapped. Each is a sentence that says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No agent is named.
    NoSocket,
    /// The socket's path does not fit.
    SocketPath,
    /// Not the name of a region.
    Name,
    /// Nobody listens.
    Unreachable(Errno),
    /// The agent ended the connection, or is gone.
    Gone(Errno),
    /// The agent says no, in its own words.
    Refused(Refusal),
    /// The attachment is for reading only.
    ReadOnly,
    /// Not the answer that the protocol has here.
    Strange(WireError),
    /// The kernel does not give us a userfaultfd.
    Userfaultfd(Errno),
    /// The kernel does not map the region.
    Mapping(Errno),
    /// This library keeps a fixed table of regions.
    TooManyRegions,
    /// No descriptor is free.
    Descriptors(Errno),
}

impl Error {
    /// Whether nobody is there who could say yes or no. It may come back.
    #[must_use]
    pub fn agent_is_away(&self) -> bool {
        matches!(
            self,
            Error::Gone(_) | Error::Unreachable(Errno(libc::ENOENT | libc::ECONNREFUSED | libc::ECONNRESET))
        )
    }
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoSocket => f.write_str(
                "PAGEMESH_SOCKET is not set: start the program with `pagemesh run`, or set it to the path of the agent's \
                 socket",
            ),
            Error::SocketPath => f.write_str(
                "the path of the agent's socket must have 1 to 107 bytes and no NUL: give the agent a shorter directory",
            ),
            Error::Name => f.write_str(
                "a region is named NAME or NAMESPACE/NAME, each of at most 63 lower-case letters, digits and `-`, with no \
                 `-` at either end; or by a path that a MountTable binds, of names of letters, digits, `_`, `-` and `.`",
            ),
            Error::Unreachable(errno) => {
                write!(f, "no agent answers at the socket ({errno}): start the agent, or correct PAGEMESH_SOCKET")
            }
            Error::Gone(errno) => {
                write!(f, "the agent went away ({errno}): see its log, and start it again if it ended")
            }
            Error::Refused(refusal) => write!(f, "the agent refuses: {refusal}"),
            Error::ReadOnly => f.write_str(
                "this program may only read the region: open it for reading only, or have the Region's access and the \
                 pod's volume allow writing",
            ),
            Error::Strange(error) => {
                write!(f, "{error}: install the agent and this library from the same release")
            }
            Error::Userfaultfd(errno) => {
                write!(f, "cannot make a userfaultfd ({errno}): run `pagemesh check` on this machine")
            }
            Error::Mapping(errno) => write!(
                f,
                "cannot map the region ({errno}): check the limits of address space (ulimit -v) and of mappings \
                 (vm.max_map_count)"
            ),
            Error::TooManyRegions => {
                f.write_str("this process has too many regions open: close and unmap some")
            }
            Error::Descriptors(errno) => {
                write!(f, "cannot have another descriptor ({errno}): raise the limit of open files (ulimit -n)")
            }
        }
    }
}
