//! Where to listen: addresses, and sockets that are files.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, socket};

/// What to try to listen on for an address, in this order: `[::]` takes IPv4 as well and is all IPv4 where the kernel has
/// no IPv6.
#[must_use]
pub fn candidates(address: SocketAddr) -> Vec<SocketAddr> {
    let mut all = vec![address];
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        all.push(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()));
    }
    all
}

/// Where [`at_path`] makes the socket of a path. Not longer than the path itself.
pub(crate) fn before_it_listens(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Makes a Unix socket at `path` with permissions `mode`, in place of one that is there: there is one or the other at any time. It does
/// not block.
pub(crate) fn at_path(path: &Path, mode: u32, kind: SockType, backlog: i32) -> io::Result<OwnedFd> {
    let new = before_it_listens(path);
    match fs::remove_file(&new) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, kind, flags, None)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(&new)?)?;
    // Nobody can connect before `listen`, so the permissions are in force in time.
    fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
    nix::sys::socket::listen(&socket, Backlog::new(backlog)?)?;
    fs::rename(&new, path)?;
    Ok(socket)
}
