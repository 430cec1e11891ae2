//! What is asked and done by path: `stat`, `access`, `unlink` and their kin. Absolute paths may be regions: see `door`.

use core::ffi::{c_char, c_int, c_long, c_uint};

use pagemesh_attach::sys::Errno;

use crate::door::{self, Purpose};
use crate::header::Header;
use crate::lock::lock;
use crate::report::{Outcome, answer, outcome};
use crate::stat::size_of_region;

/// Has the kernel measure a region's file, by a descriptor of ours, and tells the size that programs see.
fn measure(header: &Header, call: impl FnOnce(c_int) -> c_long) -> Outcome<u64> {
    let size = header.visible_size();
    let state = lock();
    outcome(call(state.region(header.slot()).attachment.file().raw()))?;
    Ok(size)
}

/// Whether a call means the descriptor that it was given, and not a path.
///
/// # Safety
///
/// `path` is null or ends with NUL.
unsafe fn is_of_descriptor(path: *const c_char, flags: c_int) -> bool {
    // SAFETY: the caller answers for it.
    flags & libc::AT_EMPTY_PATH != 0 && (path.is_null() || unsafe { *path } == 0)
}

/// `fstatat`.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fstatat(
    directory: c_int,
    path: *const c_char,
    stat: *mut libc::stat,
    flags: c_int,
) -> c_int {
    // SAFETY: the kernel checks the address, and has written there when it succeeds.
    let show = |size: u64| unsafe { (*stat).st_size = size.cast_signed() };
    let region = |header| {
        // SAFETY: the kernel checks the address.
        show(measure(&header, |fd| unsafe { libc::syscall(libc::SYS_fstat, fd, stat) })?);
        Ok(0)
    };
    let libc = || {
        // SAFETY: the kernel checks the addresses.
        let result = unsafe { libc::syscall(libc::SYS_newfstatat, directory, path, stat, flags) };
        if result == 0
            // SAFETY: the kernel has just read it, if it is not null.
            && unsafe { is_of_descriptor(path, flags) }
            && let Some(size) = size_of_region(directory)
        {
            show(size);
        }
        result as c_int
    };
    // SAFETY: the caller's path.
    door::through(Purpose::Look, unsafe { door::of_path(path) }, -1, region, libc)
}

/// `statx`.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn statx(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    stat: *mut libc::statx,
) -> c_int {
    // SAFETY: the kernel checks the address, and has written there when it succeeds.
    let show = |size: u64| unsafe { (*stat).stx_size = size };
    let region = |header| {
        let empty = c"".as_ptr();
        // SAFETY: the kernel checks the address.
        let call =
            |fd: c_int| unsafe { libc::syscall(libc::SYS_statx, fd, empty, libc::AT_EMPTY_PATH, mask, stat) };
        show(measure(&header, call)?);
        Ok(0)
    };
    let libc = || {
        // SAFETY: the kernel checks the addresses.
        let result = unsafe { libc::syscall(libc::SYS_statx, directory, path, flags, mask, stat) };
        if result == 0
            // SAFETY: the kernel has just read it, if it is not null.
            && unsafe { is_of_descriptor(path, flags) }
            && let Some(size) = size_of_region(directory)
        {
            show(size);
        }
        result as c_int
    };
    // SAFETY: the caller's path.
    door::through(Purpose::Look, unsafe { door::of_path(path) }, -1, region, libc)
}

/// `faccessat`: a region can be read, be written to unless it is for reading only, and not be run.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn faccessat(
    directory: c_int,
    path: *const c_char,
    mode: c_int,
    flags: c_int,
) -> c_int {
    let region = |header: Header| {
        let forbidden = libc::X_OK | if header.read_only() { libc::W_OK } else { 0 };
        if mode & forbidden == 0 { Ok(0) } else { Err(Errno(libc::EACCES)) }
    };
    // SAFETY: the kernel checks the address.
    let call = || unsafe {
        match flags {
            // Where a sandbox does not know the newer call.
            0 => libc::syscall(libc::SYS_faccessat, directory, path, mode),
            flags => libc::syscall(libc::SYS_faccessat2, directory, path, mode, flags),
        }
    };
    // SAFETY: the caller's path.
    door::through(Purpose::Look, unsafe { door::of_path(path) }, -1, region, || call() as c_int)
}

/// `unlinkat`: of a region, see `shm_unlink`.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
    let region = |header| match flags & libc::AT_REMOVEDIR {
        0 => door::unlink(&header),
        _ => Err(Errno(libc::ENOTDIR)),
    };
    // SAFETY: the kernel checks the address.
    let call = || unsafe { libc::syscall(libc::SYS_unlinkat, directory, path, flags) };
    // SAFETY: the caller's path.
    door::through(Purpose::Use, unsafe { door::of_path(path) }, -1, region, || call() as c_int)
}

/// `remove`.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn remove(path: *const c_char) -> c_int {
    // SAFETY: the caller's path, twice.
    let unlink = |flags| unsafe { unlinkat(libc::AT_FDCWD, path, flags) };
    answer(-1, || match outcome(unlink(0).into()) {
        Err(Errno(libc::EISDIR)) => outcome(unlink(libc::AT_REMOVEDIR).into()),
        result => result,
    })
}

/// The older functions, each of which is a newer one with less said.
macro_rules! as_at {
    ($($name:ident($($argument:ident: $type:ty),*) = $of:ident($($value:expr),*);)*) => {$(
        #[doc = concat!("See [`", stringify!($of), "`].")]
        ///
        /// # Safety
        ///
        /// As for libc's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
            // SAFETY: the caller's arguments.
            unsafe { $of($($value),*) }
        }
    )*};
}

const _: () = assert!(size_of::<libc::stat>() == size_of::<libc::stat64>());

as_at! {
    stat(path: *const c_char, stat: *mut libc::stat) = fstatat(libc::AT_FDCWD, path, stat, 0);
    lstat(path: *const c_char, stat: *mut libc::stat)
        = fstatat(libc::AT_FDCWD, path, stat, libc::AT_SYMLINK_NOFOLLOW);
    stat64(path: *const c_char, stat: *mut libc::stat) = fstatat(libc::AT_FDCWD, path, stat, 0);
    lstat64(path: *const c_char, stat: *mut libc::stat)
        = fstatat(libc::AT_FDCWD, path, stat, libc::AT_SYMLINK_NOFOLLOW);
    fstatat64(directory: c_int, path: *const c_char, stat: *mut libc::stat, flags: c_int)
        = fstatat(directory, path, stat, flags);
    access(path: *const c_char, mode: c_int) = faccessat(libc::AT_FDCWD, path, mode, 0);
    eaccess(path: *const c_char, mode: c_int) = faccessat(libc::AT_FDCWD, path, mode, libc::AT_EACCESS);
    euidaccess(path: *const c_char, mode: c_int) = faccessat(libc::AT_FDCWD, path, mode, libc::AT_EACCESS);
    unlink(path: *const c_char) = unlinkat(libc::AT_FDCWD, path, 0);
}

// As programs call them that were built with a glibc before 2.33. There is one version where a file size has 64 bits.
as_at! {
    __xstat(_version: c_int, path: *const c_char, stat: *mut libc::stat) = fstatat(libc::AT_FDCWD, path, stat, 0);
    __xstat64(_version: c_int, path: *const c_char, stat: *mut libc::stat)
        = fstatat(libc::AT_FDCWD, path, stat, 0);
    __lxstat(_version: c_int, path: *const c_char, stat: *mut libc::stat)
        = fstatat(libc::AT_FDCWD, path, stat, libc::AT_SYMLINK_NOFOLLOW);
    __lxstat64(_version: c_int, path: *const c_char, stat: *mut libc::stat)
        = fstatat(libc::AT_FDCWD, path, stat, libc::AT_SYMLINK_NOFOLLOW);
    __fxstatat(_version: c_int, directory: c_int, path: *const c_char, stat: *mut libc::stat, flags: c_int)
        = fstatat(directory, path, stat, flags);
    __fxstatat64(_version: c_int, directory: c_int, path: *const c_char, stat: *mut libc::stat, flags: c_int)
        = fstatat(directory, path, stat, flags);
}
