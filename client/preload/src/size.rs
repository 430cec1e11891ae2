//! What measures a region by descriptor and what changes its size: `ftruncate`, `fallocate`, `lseek`. They may wait for
//! another node. `fchmod` and `fchown` are here for their having no effect.

use core::ffi::c_int;

use pagemesh_attach::sys::Errno;

use crate::header::Header;
use crate::lock::lock;
use crate::marks;
use crate::next;
use crate::report::{Outcome, answer, say};
use crate::state::borrowed;

/// The header of the region that a descriptor stands for, and whether it may write.
pub(crate) fn header_of(fd: c_int) -> Option<(Header, bool)> {
    if !marks::is_region(fd) || borrowed() {
        return None;
    }
    let mut state = lock();
    let (slot, writable) = state.opened(fd)?;
    Some((state.pin(slot), writable))
}

/// `ftruncate`: sets the size that programs see, up to the region's. 0 shows all of it again. No data is lost or cleared.
#[unsafe(no_mangle)]
pub extern "C" fn ftruncate(fd: c_int, length: libc::off_t) -> c_int {
    let Some((header, writable)) = header_of(fd) else {
        // SAFETY: it touches no memory.
        return unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) as c_int };
    };
    answer(-1, || {
        let length = u64::try_from(length).ok().filter(|_| writable).ok_or(Errno(libc::EINVAL))?;
        if length > header.size() {
            say!("ftruncate to {length} bytes: the region has {}; declare it larger", header.size());
            return Err(Errno(libc::EFBIG));
        }
        header.set_logical_size(length);
        Ok(0)
    })
}

/// `ftruncate64`: see [`ftruncate`].
#[unsafe(no_mangle)]
pub extern "C" fn ftruncate64(fd: c_int, length: libc::off64_t) -> c_int {
    ftruncate(fd, length)
}

/// `fallocate`: on a region, sets the size that programs see if that is smaller; holes cannot be punched.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fallocate(
    fd: c_int,
    mode: c_int,
    offset: libc::off_t,
    len: libc::off_t,
) -> c_int {
    match header_of(fd) {
        Some((header, writable)) => answer(-1, || allocate(&header, writable, mode, offset, len)),
        // SAFETY: the caller's arguments.
        None => unsafe { next::fallocate(fd, mode, offset, len) },
    }
}

/// `fallocate64`: see [`fallocate`].
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fallocate64(
    fd: c_int,
    mode: c_int,
    offset: libc::off64_t,
    len: libc::off64_t,
) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { fallocate(fd, mode, offset, len) }
}

/// `posix_fallocate`: see [`fallocate`]. Returns the error number.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_fallocate(fd: c_int, offset: libc::off_t, len: libc::off_t) -> c_int {
    match header_of(fd) {
        Some((header, writable)) => {
            allocate(&header, writable, 0, offset, len).map_or_else(|errno| errno.0, |_| 0)
        }
        // SAFETY: the caller's arguments.
        None => unsafe { next::posix_fallocate(fd, offset, len) },
    }
}

/// `posix_fallocate64`: see [`fallocate`]. Returns the error number.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_fallocate64(fd: c_int, offset: libc::off64_t, len: libc::off64_t) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { posix_fallocate(fd, offset, len) }
}

fn allocate(header: &Header, writable: bool, mode: c_int, offset: i64, len: i64) -> Outcome<c_int> {
    if !writable {
        return Err(Errno(libc::EBADF));
    }
    if mode & !libc::FALLOC_FL_KEEP_SIZE != 0 {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    if offset < 0 || len <= 0 {
        return Err(Errno(libc::EINVAL));
    }
    let end = offset.checked_add(len).map(i64::cast_unsigned).ok_or(Errno(libc::EFBIG))?;
    if end > header.size() {
        say!("allocation up to byte {end}: the region has {}; declare it larger", header.size());
        return Err(Errno(libc::ENOSPC));
    }
    if mode == 0 {
        header.grow_logical_size(end);
    }
    Ok(0)
}

/// `fchmod`: has no effect on a region; who may attach is decided where it is declared.
#[unsafe(no_mangle)]
pub extern "C" fn fchmod(fd: c_int, mode: libc::mode_t) -> c_int {
    if header_of(fd).is_some() {
        return 0;
    }
    // SAFETY: it touches no memory.
    unsafe { libc::syscall(libc::SYS_fchmod, fd, mode) as c_int }
}

/// `fchown`: has no effect on a region; who may attach is decided where it is declared.
#[unsafe(no_mangle)]
pub extern "C" fn fchown(fd: c_int, owner: libc::uid_t, group: libc::gid_t) -> c_int {
    if header_of(fd).is_some() {
        return 0;
    }
    // SAFETY: it touches no memory.
    unsafe { libc::syscall(libc::SYS_fchown, fd, owner, group) as c_int }
}

/// `lseek`. A region is not read or written by position, so there is one position for all descriptors of a region in a
/// process: enough for who asks for a size by it, or looks where it stands.
#[unsafe(no_mangle)]
pub extern "C" fn lseek(fd: c_int, offset: libc::off_t, whence: c_int) -> libc::off_t {
    let Some((header, _)) = header_of(fd) else {
        // SAFETY: it touches no memory.
        return unsafe { libc::syscall(libc::SYS_lseek, fd, offset, whence) };
    };
    answer(-1, || {
        let from = match whence {
            libc::SEEK_SET => 0,
            libc::SEEK_CUR => lock().region(header.slot()).position,
            libc::SEEK_END => header.visible_size().cast_signed(),
            _ => return Err(Errno(libc::EINVAL)),
        };
        let to = from.checked_add(offset).ok_or(Errno(libc::EOVERFLOW))?;
        if to < 0 {
            return Err(Errno(libc::EINVAL));
        }
        lock().region_mut(header.slot()).position = to;
        Ok(to)
    })
}

/// `lseek64`: see [`lseek`].
#[unsafe(no_mangle)]
pub extern "C" fn lseek64(fd: c_int, offset: libc::off64_t, whence: c_int) -> libc::off64_t {
    lseek(fd, offset, whence)
}
