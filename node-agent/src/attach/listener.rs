//! The listening socket: a file in the runtime directory.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::sys::socket::{SockType, UnixAddr};

use crate::listen;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Why the agent cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A socket's name has room for 107 bytes.
    #[error("the socket's path {0} is too long for a Unix socket (107 bytes): choose a shorter --dir")]
    TooLong(PathBuf),
    /// Anything else.
    #[error("cannot listen at {path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes the socket at `path` with permissions `mode`, in place of one that an agent before us may have left: the
/// caller holds the lock of the directory, so none that lives is listening there. There is one or the other at any time, so
/// that programs that look for us find us.
///
/// # Errors
///
/// When the path is too long or the socket cannot be made.
pub fn listen(path: &Path, mode: u32) -> Result<OwnedFd, ListenError> {
    UnixAddr::new(path).map_err(|_| ListenError::TooLong(path.into()))?;
    UnixAddr::new(&listen::before_it_listens(path)).map_err(|_| ListenError::TooLong(path.into()))?;
    let listening = listen::at_path(path, mode, SockType::SeqPacket, BACKLOG);
    listening.map_err(|source| ListenError::Io { path: path.into(), source })
}
