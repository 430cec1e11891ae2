//! A volume's directory where the kubelet wants it: a bind mount that can only be read.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::detached_mount::DetachedMount;

/// Mounts one on the other that are taken away before something is wrong.
const STACKED_MAX: usize = 64;

/// Mounts `dir` on the directory `target`. What else is mounted there goes.
pub(super) fn bind(dir: &Path, target: &Path) -> io::Result<()> {
    unmount(target)?;
    let mount = DetachedMount::of(dir)?;
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    // Many distributions forbid programs in /run, and the library is one.
    mount.change(set, libc::MOUNT_ATTR_NOEXEC)?;
    mount.put_on(target)
}

/// Whether `dir` is mounted on `target` as [`bind`] does it.
pub(super) fn is_bound(dir: &Path, target: &Path) -> bool {
    let (Ok(dir), Ok(here)) = (dir.metadata(), target.symlink_metadata()) else { return false };
    let flags = FsFlags::ST_RDONLY | FsFlags::ST_NOSUID | FsFlags::ST_NODEV;
    let flagged = || statvfs(target).is_ok_and(|filesystem| filesystem.flags().contains(flags));
    (dir.dev(), dir.ino()) == (here.dev(), here.ino()) && flagged()
}

/// Takes away all that is mounted on `target`, also where it is in use. It is no error if nothing is, or if it is not there.
pub(super) fn unmount(target: &Path) -> io::Result<()> {
    for _ in 0..STACKED_MAX {
        match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::Error::other("mounts come as fast as they go"))
}
