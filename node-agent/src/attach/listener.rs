//! The listening socket: a file in the runtime directory.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr};

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
    // Not longer than the path itself.
    let new = path.with_extension("new");
    let address = UnixAddr::new(&new).map_err(|_| ListenError::TooLong(path.into()))?;
    let bound = bind(&new, &address, mode).and_then(|socket| fs::rename(&new, path).map(|()| socket));
    bound.map_err(|source| ListenError::Io { path: path.into(), source })
}

fn bind(path: &Path, address: &UnixAddr, mode: u32) -> io::Result<OwnedFd> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    nix::sys::socket::bind(socket.as_raw_fd(), address)?;
    // Nobody can connect before `listen`, so the permissions are in force in time.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    nix::sys::socket::listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket)
}
