//! Sockets in directories that agents share: while one hands over to the next, two run on a node. Each has a name that no
//! other process has; a process removes its own, and those to which nobody listens.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::stream::{self, Stream};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::hash;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 16;
/// How names of agents' sockets begin and end.
const PREFIX: &str = "pagemesh-";
const SUFFIX: &str = ".sock";

/// A socket's file, removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes a socket for root alone, under a new name in `dir`. Must be called within a runtime.
pub(super) fn listen(dir: &Path) -> io::Result<(UnixListener, SocketFile)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Numbers of processes come again, times do not. Short, since there is room for 107 bytes of a socket's path, and some
    // kubelets have long ones.
    let unique = hash(format!("{} {time} {number}", std::process::id()).as_bytes());
    let name = format!("{PREFIX}{}{SUFFIX}", &unique[..12]);
    // The kubelet overlooks hidden files. The socket gets its name when it listens: before, it would look like one that nobody
    // listens to.
    let hidden = SocketFile(dir.join(format!(".{name}")));
    let socket = UnixSocket::new_stream()?;
    socket.bind(hidden.path())?;
    fs::set_permissions(hidden.path(), fs::Permissions::from_mode(0o600))?;
    let listener = socket.listen(BACKLOG)?;
    let file = SocketFile(dir.join(name));
    fs::rename(hidden.path(), file.path())?;
    Ok((listener, file))
}

/// Removes the sockets of agents in `dir` to which nobody listens, and returns how many are left.
pub(super) fn remove_stale(dir: &Path) -> io::Result<usize> {
    let mut living = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if !is_ours {
            continue;
        }
        match knock(&entry.path()) {
            Err(Errno::ECONNREFUSED) => match fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            },
            Err(Errno::ENOENT) => {}
            // One that is too busy to answer lives as well.
            Ok(()) | Err(_) => living += 1,
        }
    }
    Ok(living)
}

/// Connects, without waiting for one that does not accept.
fn knock(path: &Path) -> Result<(), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)
}

/// Connections as they come.
pub(super) fn incoming(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    stream::unfold(listener, |listener| async move {
        let connection = listener.accept().await.map(|(connection, _)| connection);
        Some((connection, listener))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uffd::testing::Directory;

    #[tokio::test]
    async fn the_dead_are_removed_and_the_living_stay() {
        let directory = Directory::new();
        let dir = &directory.0;
        let (first, first_file) = listen(dir).unwrap();
        let (_second, second_file) = listen(dir).unwrap();
        fs::write(dir.join("other.sock"), "").unwrap();
        assert_eq!(fs::metadata(first_file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(remove_stale(dir).unwrap(), 2);
        // As when its process dies: the file stays.
        drop(first);
        assert_eq!(remove_stale(dir).unwrap(), 1);
        assert!(
            !first_file.path().exists() && second_file.path().exists() && dir.join("other.sock").exists()
        );
        drop(second_file);
        assert_eq!(remove_stale(dir).unwrap(), 0);
        assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
    }
}
