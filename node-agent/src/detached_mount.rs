//! A mount of a directory that is not in the tree of mounts: it gets its flags there, and with them, all at once, its place.
//!
//! A bind mount by mount(2) takes its flags in a second step, and that step is not propagated: in other mount namespaces,
//! as in that of the node when an agent in a container mounts, the mount would stay as it was made.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

const HERE: &CStr = c"";

/// Gone when it is dropped, unless it was given a place.
#[derive(Debug)]
pub(crate) struct DetachedMount(OwnedFd);

impl DetachedMount {
    /// Of a directory alone, without what is mounted in it.
    pub(crate) fn of(dir: &Path) -> io::Result<DetachedMount> {
        let dir = File::open(dir)?;
        let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as libc::c_uint;
        // SAFETY: the path is a string that lives through the call; the rest are numbers.
        let raw = Errno::result(unsafe {
            libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), HERE.as_ptr(), flags)
        })?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
        Ok(DetachedMount(unsafe { OwnedFd::from_raw_fd(raw as RawFd) }))
    }

    /// Sets and clears flags (`MOUNT_ATTR_...`). What is mounted in the directory is mounted nowhere else.
    pub(crate) fn change(&self, set: u64, clear: u64) -> io::Result<()> {
        let attributes =
            libc::mount_attr { attr_set: set, attr_clr: clear, propagation: libc::MS_PRIVATE, userns_fd: 0 };
        // SAFETY: path and attributes live through the call, and the length is that of the attributes.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                self.0.as_raw_fd(),
                HERE.as_ptr(),
                libc::AT_EMPTY_PATH,
                &raw const attributes,
                size_of::<libc::mount_attr>(),
            )
        })?;
        Ok(())
    }

    /// Puts it on a directory, where every namespace that shares the mounts of that place sees it. Symbolic links at the end of
    /// the path are not followed.
    pub(crate) fn put_on(self, target: &Path) -> io::Result<()> {
        let target = std::ffi::CString::new(target.as_os_str().as_bytes())?;
        // SAFETY: both paths are strings that live through the call; the rest are numbers.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                self.0.as_raw_fd(),
                HERE.as_ptr(),
                libc::AT_FDCWD,
                target.as_ptr(),
                libc::MOVE_MOUNT_F_EMPTY_PATH,
            )
        })?;
        Ok(())
    }
}

impl AsFd for DetachedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
