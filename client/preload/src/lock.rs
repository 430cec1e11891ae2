//! The one lock, and what it guards. It is taken with all signals blocked, so that a handler which calls `close` or `fork`
//! on the same thread cannot wait for itself. Async-signal-safe, and it survives `fork`: [`hold`] before, [`regain`] on
//! both sides after.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::ptr::null;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::state::State;

const FREE: u32 = 0;
const TAKEN: u32 = 1;
/// Taken, and somebody sleeps for it.
const WANTED: u32 = 2;

static LOCK: AtomicU32 = AtomicU32::new(FREE);
/// The signal mask to go back to after a fork; belongs to whoever has the lock.
static MASK_AT_FORK: AtomicU64 = AtomicU64::new(0);

struct Shared(UnsafeCell<State>);

// SAFETY: only a `Guard` gives access, and there is one at a time.
unsafe impl Sync for Shared {}

static STATE: Shared = Shared(UnsafeCell::new(State::new()));

/// The lock, taken.
pub(crate) struct Guard {
    mask: u64,
}

/// Takes the lock.
pub(crate) fn lock() -> Guard {
    let mask = set_signal_mask(u64::MAX);
    if LOCK.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_err() {
        while LOCK.swap(WANTED, Ordering::Acquire) != FREE {
            futex(libc::FUTEX_WAIT, WANTED);
        }
    }
    Guard { mask }
}

/// Keeps the lock taken across a fork.
pub(crate) fn hold(guard: Guard) {
    MASK_AT_FORK.store(guard.mask, Ordering::Relaxed);
    core::mem::forget(guard);
}

/// The lock again, after the fork, in the parent or in the child.
///
/// # Safety
///
/// This thread, or the one it was forked from, gave it to [`hold`], and this is called once for it in each process.
pub(crate) unsafe fn regain() -> Guard {
    Guard { mask: MASK_AT_FORK.load(Ordering::Relaxed) }
}

impl Deref for Guard {
    type Target = State;

    fn deref(&self) -> &State {
        // SAFETY: we have the lock.
        unsafe { &*STATE.0.get() }
    }
}

impl DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut State {
        // SAFETY: we have the lock.
        unsafe { &mut *STATE.0.get() }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if LOCK.swap(FREE, Ordering::Release) == WANTED {
            futex(libc::FUTEX_WAKE, 1);
        }
        set_signal_mask(self.mask);
    }
}

fn futex(operation: i32, value: u32) {
    let operation = operation | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word is static; there is no timeout. However it ends, the caller looks again.
    unsafe {
        libc::syscall(libc::SYS_futex, LOCK.as_ptr(), operation, value, null::<libc::timespec>());
    }
}

/// Sets this thread's signal mask, in the kernel's form, and returns the old one.
fn set_signal_mask(mask: u64) -> u64 {
    let mut old = 0_u64;
    // SAFETY: both words live through the call and have the size that is told.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut old,
            size_of::<u64>(),
        );
    }
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let work = || {
            for _ in 0..10_000 {
                let _guard = lock();
                // Two steps: increments would be lost without the lock.
                COUNT.store(COUNT.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
        assert_eq!(COUNT.load(Ordering::Relaxed), 40_000);
    }

    #[test]
    fn signals_wait_while_it_is_taken() {
        let before = set_signal_mask(0);
        let guard = lock();
        // SIGKILL and SIGSTOP cannot be blocked.
        let unblockable = 1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1);
        assert_eq!(set_signal_mask(u64::MAX) | unblockable, u64::MAX);
        hold(guard);
        // SAFETY: it was just held.
        drop(unsafe { regain() });
        assert_eq!(set_signal_mask(before), 0);
    }
}
