//! When a shard's thread runs: as soon as it has something to do, whatever else runs on its processor.
//!
//! A program that waits for a page waits for two agents. Where programs keep all processors busy, each of these would wait until
//! another thread's slice of time is over: 4 ms, fifty times as long as all the rest. A shard sleeps most of the time and works for
//! microseconds, so it asks for a short slice, which lets it interrupt longer ones (EEVDF, since Linux 6.12, as anybody may ask), and
//! for the greatest weight among ordinary threads. Not for a real-time class: a program that does nothing but fault could keep the
//! rest of the node from running by that, and where such a thread wakes is decided worse (measured: 77 us for a remote read in place
//! of 42, both beside programs that spin; without either 42 us, but 3,900 for the slowest in a hundred, and 260 with this).

use std::io;

use nix::errno::Errno;

/// Nanoseconds: the shortest slice that the kernel gives.
const SLICE: u64 = 100_000;
/// The greatest weight. Asking for it takes CAP_SYS_NICE.
const NICE_MIN: i32 = -20;

/// Lets the calling thread run as soon as it can.
///
/// # Errors
/// It may not have more weight than others; it has a short slice, if the kernel knows of that.
pub(super) fn take() -> io::Result<()> {
    match set(NICE_MIN) {
        Err(Errno::EPERM | Errno::EACCES) => {
            // As it is, if not even this is allowed.
            let _ = set(0);
            Err(Errno::EPERM.into())
        }
        other => Ok(other?),
    }
}

fn set(nice: i32) -> Result<(), Errno> {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        // Of an ordinary thread: its slice.
        sched_runtime: SLICE,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads as many bytes as `size` says, of the calling thread's own structure.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    Errno::result(set).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calling_thread_has_it_and_no_other() {
        let nice = || {
            // SAFETY: takes no pointers. Of the calling thread on Linux.
            unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
        };
        let before = nice();
        let (taken, within) = std::thread::spawn(move || (take(), nice())).join().unwrap();
        match taken {
            Ok(()) => assert_eq!(within, NICE_MIN),
            // Whoever runs this may not.
            Err(error) => assert_eq!((error.raw_os_error(), within), (Some(libc::EPERM), before.max(0))),
        }
        assert_eq!(nice(), before);
    }
}
