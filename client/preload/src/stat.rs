//! `fstat` and its kin: a region's size is what a program gave it by `ftruncate`, else all of it. Its file is larger, by
//! the header page. Async-signal-safe, but on a region it may wait for another node.

use core::ffi::c_int;

use pagemesh_attach::sys::Errno;

use crate::report::outcome;
use crate::size::header_of;

/// The size to show for a descriptor, if it stands for a region.
pub(crate) fn size_of_region(fd: c_int) -> Option<u64> {
    let errno = Errno::last();
    let size = header_of(fd).map(|(header, _)| header.visible_size());
    errno.set();
    size
}

/// `fstat`.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fstat(fd: c_int, stat: *mut libc::stat) -> c_int {
    // SAFETY: the kernel checks the address.
    let result = unsafe { libc::syscall(libc::SYS_fstat, fd, stat) };
    if outcome(result).is_ok()
        && let Some(size) = size_of_region(fd)
    {
        // SAFETY: the kernel has just written there.
        unsafe { (*stat).st_size = size as libc::off_t };
    }
    result as c_int
}

/// `fstat64`, the same where a file size has 64 bits.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fstat64(fd: c_int, stat: *mut libc::stat64) -> c_int {
    const { assert!(size_of::<libc::stat>() == size_of::<libc::stat64>()) };
    // SAFETY: the caller's arguments; the two structures are one.
    unsafe { fstat(fd, stat.cast()) }
}

/// `__fxstat`, as programs call `fstat` that were built with a glibc before 2.33.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __fxstat(_version: c_int, fd: c_int, stat: *mut libc::stat) -> c_int {
    // SAFETY: the caller's arguments; there is one version where a file size has 64 bits.
    unsafe { fstat(fd, stat) }
}

/// `__fxstat64`: see [`__fxstat`].
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __fxstat64(_version: c_int, fd: c_int, stat: *mut libc::stat64) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { fstat64(fd, stat) }
}
