//! Region files for those who may only read. What they get must not be of use for writing, whatever they do with it and
//! whoever they are: root may open `/proc/self/fd/N` anew in whatever way the file's mode does not forbid, and for root it
//! forbids nothing. A read-only mount does. So a file is opened through one, which is of the same tmpfs, has no name and goes when
//! the last such descriptor does.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// Opens a file of a directory through a read-only mount of that directory.
///
/// # Errors
/// The kernel's: most often that mounting is not this process's right.
pub(super) fn open(dir: &Path, file_name: &str) -> io::Result<File> {
    let dir = File::open(dir)?;
    let mount = clone_mount(&dir)?;
    make_read_only(&mount)?;
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(openat(&mount, file_name, flags, Mode::empty())?.into())
}

const HERE: &CStr = c"";

/// A mount of a directory that is nowhere in the tree; nix lacks the call.
fn clone_mount(dir: &File) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as libc::c_uint;
    // SAFETY: the path is a string that lives through the call; the rest are numbers.
    let raw =
        Errno::result(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), HERE.as_ptr(), flags) })?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as RawFd) })
}

/// Before anything is opened through it.
fn make_read_only(mount: &OwnedFd) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY
            | libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOEXEC,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: path and attributes live through the call, and the length is that of the attributes.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            HERE.as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}
