//! `close`, `dup` and their kin: which descriptors stand for regions. The program cannot close the descriptors that an
//! attachment lives on, whether it means to or sweeps all numbers: they look closed to it. Async-signal-safe.

use core::ffi::{c_int, c_uint};

use pagemesh_attach::sys::{self, Descriptor, Errno};

use crate::lock::lock;
use crate::marks::{self, Mark};
use crate::next;
use crate::report::{Outcome, answer, outcome};
use crate::state::{State, borrowed};

fn unmarked(fd: c_int) -> bool {
    marks::get(fd) == Mark::Foreign
}

/// `close`.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn close(fd: c_int) -> c_int {
    if unmarked(fd) || borrowed() {
        // SAFETY: the caller's argument.
        return unsafe { next::close(fd) };
    }
    answer(-1, || {
        let mut state = lock();
        if marks::get(fd) == Mark::Ours {
            return Err(Errno(libc::EBADF));
        }
        // First, for another thread may get the number as soon as it is closed.
        state.forget(fd);
        // SAFETY: the caller's argument.
        outcome(unsafe { libc::syscall(libc::SYS_close, fd) })
    })
}

/// Runs a system call that gives `from` another number, and keeps the marks right.
fn duplicate(state: &mut State, from: c_int, call: impl FnOnce() -> Outcome<c_int>) -> Outcome<c_int> {
    if marks::get(from) == Mark::Ours {
        return Err(Errno(libc::EBADF));
    }
    let region = state.opened(from);
    let made = call()?;
    match region {
        Some((slot, writable)) => state.remember(made, slot, writable),
        // A mark that it still has is stale.
        None => state.forget(made),
    }
    Ok(made)
}

/// `dup`.
#[unsafe(no_mangle)]
pub extern "C" fn dup(fd: c_int) -> c_int {
    // SAFETY: it touches no memory.
    let call = || unsafe { libc::syscall(libc::SYS_dup, fd) };
    if unmarked(fd) || borrowed() {
        return call() as c_int;
    }
    answer(-1, || duplicate(&mut lock(), fd, || outcome(call())))
}

/// `dup2`.
#[unsafe(no_mangle)]
pub extern "C" fn dup2(from: c_int, to: c_int) -> c_int {
    if from == to {
        // SAFETY: it touches no memory.
        let open = unsafe { libc::syscall(libc::SYS_fcntl, from, libc::F_GETFD) } != -1;
        return if open { to } else { -1 };
    }
    dup3(from, to, 0)
}

/// `dup3`.
#[unsafe(no_mangle)]
pub extern "C" fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    // SAFETY: it touches no memory.
    let call = || unsafe { libc::syscall(libc::SYS_dup3, from, to, flags) };
    if from == to || (unmarked(from) && unmarked(to)) || borrowed() {
        return call() as c_int;
    }
    answer(-1, || {
        // Before anything is given up for it.
        sys::fcntl(from, libc::F_GETFD, 0)?;
        let mut state = lock();
        make_way(&mut state, to)?;
        duplicate(&mut state, from, || outcome(call()))
    })
}

/// Frees a number that the program wants: one of ours moves, which the program does not see.
fn make_way(state: &mut State, fd: c_int) -> Outcome<()> {
    match marks::get(fd) {
        Mark::Foreign => {}
        Mark::Region { .. } => state.forget(fd),
        Mark::Ours => {
            let regions = state.regions.iter_mut().flatten();
            let mut descriptors = regions.flat_map(|region| region.attachment.descriptors_mut());
            let ours = descriptors.find(|ours| ours.raw() == fd).ok_or(Errno(libc::EBUSY))?;
            let moved = sys::fcntl(fd, libc::F_DUPFD_CLOEXEC, fd as usize + 1)?;
            // The caller's `dup3` closes the old number.
            core::mem::forget(core::mem::replace(ours, Descriptor::adopt(moved as i32)));
            marks::set(moved as i32, Mark::Ours);
            marks::set(fd, Mark::Foreign);
        }
    }
    Ok(())
}

/// `fcntl`: duplicates are followed, and a region's descriptor tells how it was opened.
///
/// # Safety
///
/// As for libc's.
// In C its third argument is variadic. All our platforms pass it as if it were not.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    if !unmarked(fd) && !borrowed() {
        match command {
            libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
                // SAFETY: the argument of these commands is a number.
                let call = || outcome(unsafe { libc::syscall(libc::SYS_fcntl, fd, command, argument) });
                return answer(-1, || duplicate(&mut lock(), fd, call));
            }
            libc::F_GETFL => {
                if let Some((_, writable)) = lock().opened(fd) {
                    return if writable { libc::O_RDWR } else { libc::O_RDONLY };
                }
            }
            _ => {}
        }
    }
    // SAFETY: the caller's arguments.
    unsafe { next::fcntl(fd, command, argument) }
}

/// `fcntl64`: see [`fcntl`].
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { fcntl(fd, command, argument) }
}

/// `close_range`.
#[unsafe(no_mangle)]
pub extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    // SAFETY: it touches no memory.
    let call =
        |first: c_uint, last: c_uint| unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    let marked = c_int::try_from(first).is_ok_and(|first| first <= marks::highest());
    if !marked || flags & libc::CLOSE_RANGE_CLOEXEC as c_int != 0 || borrowed() {
        return call(first, last) as c_int;
    }
    answer(-1, || {
        let mut state = lock();
        let end = c_int::try_from(last).unwrap_or(c_int::MAX).min(marks::highest());
        let mut from = first;
        for fd in first as c_int..=end {
            match marks::get(fd) {
                Mark::Foreign => {}
                Mark::Region { .. } => state.forget(fd),
                Mark::Ours => {
                    if from < fd as c_uint {
                        outcome(call(from, fd as c_uint - 1))?;
                    }
                    from = fd as c_uint + 1;
                }
            }
        }
        if from <= last { outcome(call(from, last)) } else { Ok(0) }
    })
}

/// `closefrom`.
#[unsafe(no_mangle)]
pub extern "C" fn closefrom(first: c_int) {
    close_range(c_uint::try_from(first).unwrap_or(0), c_uint::MAX, 0);
}
