//! `linux/userfaultfd.h` as of Linux 6.18, written down by hand: older headers lack half of it.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::{request_code_none, request_code_read, request_code_readwrite};

const UFFDIO: u8 = 0xAA;

/// The one version of the interface.
pub(super) const API_VERSION: u64 = 0xAA;

pub(super) const FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
pub(super) const FEATURE_MISSING_SHMEM: u64 = 1 << 5;
pub(super) const FEATURE_MINOR_SHMEM: u64 = 1 << 10;
pub(super) const FEATURE_EXACT_ADDRESS: u64 = 1 << 11;
pub(super) const FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
pub(super) const FEATURE_POISON: u64 = 1 << 14;

pub(super) const REGISTER_MISSING: u64 = 1 << 0;
pub(super) const REGISTER_WP: u64 = 1 << 1;
pub(super) const REGISTER_MINOR: u64 = 1 << 2;

pub(super) const CONTINUE_WP: u64 = 1 << 1;
pub(super) const WRITEPROTECT_WP: u64 = 1 << 0;

/// Bytes of a `struct uffd_msg`.
pub(super) const MESSAGE_LEN: usize = 32;
pub(super) const EVENT_PAGEFAULT: u8 = 0x12;
pub(super) const PAGEFAULT_WRITE: u64 = 1 << 0;
pub(super) const PAGEFAULT_WP: u64 = 1 << 1;

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Api {
    pub(super) api: u64,
    pub(super) features: u64,
    pub(super) ioctls: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) len: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Register {
    pub(super) span: Span,
    pub(super) mode: u64,
    pub(super) ioctls: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct WriteProtect {
    pub(super) span: Span,
    pub(super) mode: u64,
}

/// Argument of both `UFFDIO_CONTINUE` and `UFFDIO_POISON`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Install {
    pub(super) span: Span,
    pub(super) mode: u64,
    /// Bytes that were done, or a negative errno if none was.
    pub(super) done: i64,
}

macro_rules! call {
    ($name:ident, $code:expr, $argument:ty) => {
        pub(super) fn $name(fd: impl AsFd, argument: &mut $argument) -> Result<(), Errno> {
            let (fd, code) = (fd.as_fd().as_raw_fd(), $code);
            // SAFETY: the code encodes the size of this very type, whose layout is the kernel's. The addresses in
            // it are of the program that made the userfaultfd, not of this process, so no memory of ours is touched.
            let result = unsafe { libc::ioctl(fd, code, std::ptr::from_mut(argument)) };
            Errno::result(result).map(drop)
        }
    };
}

call!(api, request_code_readwrite!(UFFDIO, 0x3F, size_of::<Api>()), Api);
call!(register, request_code_readwrite!(UFFDIO, 0x00, size_of::<Register>()), Register);
// The header declares these two as reads although the kernel writes nothing.
call!(unregister, request_code_read!(UFFDIO, 0x01, size_of::<Span>()), Span);
call!(wake, request_code_read!(UFFDIO, 0x02, size_of::<Span>()), Span);
call!(write_protect, request_code_readwrite!(UFFDIO, 0x06, size_of::<WriteProtect>()), WriteProtect);
call!(continue_, request_code_readwrite!(UFFDIO, 0x07, size_of::<Install>()), Install);
call!(poison, request_code_readwrite!(UFFDIO, 0x08, size_of::<Install>()), Install);

/// A new userfaultfd of this process from an open `/dev/userfaultfd`, by `USERFAULTFD_IOC_NEW`.
pub(super) fn new(device: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: flags go in by value, so that no memory is touched.
    let result = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), request_code_none!(UFFDIO, 0x00), flags) };
    let fd = Errno::result(result)?;
    // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Reads messages and never waits, whatever flags the descriptor has. Linux before 6.10 cannot do that and says
/// `EOPNOTSUPP`.
pub(super) fn read_nowait(fd: impl AsFd, bytes: &mut [u8]) -> Result<usize, Errno> {
    let part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // The descriptor has no position, which -1 says.
    // SAFETY: the one part is `bytes`, which is ours alone to write to.
    let len = unsafe { libc::preadv2(fd.as_fd().as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
    Errno::result(len).map(isize::cast_unsigned)
}
