//! Region files for those who may only read. What they get must not be of use for writing, whatever they do with it and
//! whoever they are: root may open `/proc/self/fd/N` anew in whatever way the file's mode does not forbid, and for root it
//! forbids nothing. A read-only mount does. So a file is opened through one, which is of the same tmpfs, has no name and goes when
//! the last such descriptor does.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::detached_mount::DetachedMount;

/// Opens a file of a directory through a read-only mount of that directory.
///
/// # Errors
/// The kernel's: most often that mounting is not this process's right.
pub(super) fn open(dir: &Path, file_name: &str) -> io::Result<File> {
    let mount = DetachedMount::of(dir)?;
    let set =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    // Before anything is opened through it.
    mount.change(set, 0)?;
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(openat(&mount, file_name, flags, Mode::empty())?.into())
}
