//! The one error of this crate. It allocates nothing, so that it can be made and shown in a forked child.

use crate::sys::Errno;
use crate::wire::{Refusal, WireError};

/// Why a region cannot be attached or mapped. Each is a sentence that says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No agent is named.
    #[error(
        "PAGEMESH_SOCKET is not set: start the program with `pagemesh run`, or set it to the path of the agent's socket"
    )]
    NoSocket,
    /// The socket's path does not fit.
    #[error(
        "the path of the agent's socket must have 1 to 107 bytes and no NUL: give the agent a shorter directory"
    )]
    SocketPath,
    /// Not the name of a region.
    #[error(
        "a region is named NAME or NAMESPACE/NAME, each of at most 63 lower-case letters, digits and `-`, with no `-` at either end"
    )]
    Name,
    /// Nobody listens.
    #[error("no agent answers at the socket ({0}): start the agent, or correct PAGEMESH_SOCKET")]
    Unreachable(Errno),
    /// The agent ended the connection, or is gone.
    #[error("the agent went away ({0}): see its log, and start it again if it ended")]
    Gone(Errno),
    /// The agent says no, in its own words.
    #[error("the agent refuses: {0}")]
    Refused(Refusal),
    /// Not the answer that the protocol has here.
    #[error("{0}: install the agent and this library from the same release")]
    Strange(WireError),
    /// The kernel does not give us a userfaultfd.
    #[error("cannot make a userfaultfd ({0}): run `pagemesh check` on this machine")]
    Userfaultfd(Errno),
    /// The kernel does not map the region.
    #[error(
        "cannot map the region ({0}): check the limits of address space (ulimit -v) and of mappings (vm.max_map_count)"
    )]
    Mapping(Errno),
    /// This library keeps a fixed table of regions.
    #[error("this process has too many regions open: close and unmap some")]
    TooManyRegions,
    /// No descriptor is free.
    #[error("cannot have another descriptor ({0}): raise the limit of open files (ulimit -n)")]
    Descriptors(Errno),
}
