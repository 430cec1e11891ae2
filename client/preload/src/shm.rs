//! `shm_open`, `shm_unlink` and what changes a region's size. Like in libc, none of it is for signal handlers.

use core::ffi::{CStr, c_char, c_int};

use pagemesh_attach::sys::Errno;
use pagemesh_attach::wire::Reason;
use pagemesh_attach::{Error, RegionName};

use crate::header::Header;
use crate::lock::lock;
use crate::marks;
use crate::next;
use crate::report::{Outcome, answer, errno_of, say};
use crate::start::start;
use crate::state::{Agent, borrowed};

/// `shm_open`: `/NAME` and `/NAMESPACE/NAME` are regions if the agent knows them. If the agent cannot be asked this fails
/// with `ECONNREFUSED`, for a segment of this machine alone would be silently wrong.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_open(name: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    start();
    // SAFETY: the caller's name.
    let Some(region) = (unsafe { region_name(name) }) else {
        // SAFETY: the caller's arguments.
        return unsafe { next::shm_open(name, flags, mode) };
    };
    match attach(&region) {
        Ok(Some(header)) => answer(-1, || open(header, flags)),
        // SAFETY: the caller's arguments.
        Ok(None) => unsafe { next::shm_open(name, flags, mode) },
        Err(errno) => answer(-1, || Err(errno)),
    }
}

/// `shm_unlink`: gives up a name, so that `O_CREAT | O_EXCL` can win it again, and the size that a program set. The region
/// and its data stay.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_unlink(name: *const c_char) -> c_int {
    start();
    // SAFETY: the caller's name.
    let Some(region) = (unsafe { region_name(name) }) else {
        // SAFETY: the caller's arguments.
        return unsafe { next::shm_unlink(name) };
    };
    match attach(&region) {
        Ok(Some(header)) => answer(-1, || {
            header.unlink();
            Ok(0)
        }),
        // SAFETY: the caller's arguments.
        Ok(None) => unsafe { next::shm_unlink(name) },
        Err(errno) => answer(-1, || Err(errno)),
    }
}

/// The region that a name may stand for. None: only libc can know it.
///
/// # Safety
///
/// `name` is null or ends with NUL.
unsafe fn region_name(name: *const c_char) -> Option<RegionName> {
    if name.is_null() || matches!(lock().agent, Agent::Absent) {
        return None;
    }
    // SAFETY: the caller answers for it.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    // libc ignores them as well.
    let start = name.iter().position(|byte| *byte != b'/')?;
    RegionName::new(&name[start..]).ok()
}

/// Attaches to a region. None: the agent has none of that name.
fn attach(name: &RegionName) -> Outcome<Option<Header>> {
    if borrowed() {
        say!("cannot open region {name}: this process was made by vfork, clone or _Fork; use fork");
        return Err(Errno(libc::ENOTSUP));
    }
    let attached = lock().attach(name);
    match attached {
        Ok(header) => Ok(Some(header)),
        Err(Error::Refused(refusal)) if refusal.reason == Reason::UnknownRegion => Ok(None),
        Err(error) => {
            say!("cannot open region {name}: {error}");
            Err(errno_of(&error))
        }
    }
}

fn open(header: Header, flags: c_int) -> Outcome<c_int> {
    let writable = match flags & libc::O_ACCMODE {
        libc::O_RDWR => true,
        libc::O_RDONLY => false,
        _ => return Err(Errno(libc::EINVAL)),
    };
    // Before the header says that it is ours: if no descriptor is left, nothing has happened.
    let named = lock().region(header.slot()).descriptor();
    let named = named.inspect_err(|errno| say!("cannot make a descriptor by /proc/self/fd: {errno}"))?;
    if usize::try_from(named.raw()).is_ok_and(|fd| fd >= marks::NUMBERS) {
        return Err(Errno(libc::EMFILE));
    }
    // May wait for another node: not with the lock.
    let first = flags & libc::O_CREAT != 0 && header.create();
    if flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0 && !first {
        return Err(Errno(libc::EEXIST));
    }
    if flags & libc::O_TRUNC != 0 && writable {
        header.set_logical_size(0);
    }
    let fd = named.raw();
    core::mem::forget(named);
    lock().remember(fd, header.slot(), writable);
    Ok(fd)
}

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
