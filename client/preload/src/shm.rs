//! `shm_open` and `shm_unlink`. Like in libc, they are not for signal handlers.

use core::ffi::{c_char, c_int};

use pagemesh_attach::sys::Errno;

use crate::door::{self, Purpose};
use crate::next;

/// `shm_open`: `/NAME` and `/NAMESPACE/NAME` are regions if the agent knows them. If the agent cannot be asked this fails
/// with `ECONNREFUSED`, for a segment of this machine alone would be silently wrong.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_open(name: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller's name.
    let meaning = unsafe { door::of_shm_name(name) };
    let region = |header| match flags & libc::O_ACCMODE {
        libc::O_WRONLY => Err(Errno(libc::EINVAL)),
        _ => door::open(header, flags | libc::O_CLOEXEC),
    };
    // SAFETY: the caller's arguments.
    door::through(Purpose::Use, meaning, -1, region, || unsafe { next::shm_open(name, flags, mode) })
}

/// `shm_unlink`: gives up a name, so that `O_CREAT | O_EXCL` can win it again, and the size that a program set. The region
/// and its data stay.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shm_unlink(name: *const c_char) -> c_int {
    // SAFETY: the caller's name.
    let meaning = unsafe { door::of_shm_name(name) };
    // SAFETY: the caller's arguments.
    door::through(
        Purpose::Use,
        meaning,
        -1,
        |header| door::unlink(&header),
        || unsafe { next::shm_unlink(name) },
    )
}
