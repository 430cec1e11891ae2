//! When a shard's thread runs: as soon as it has something to do, whatever else runs on its processor.
//!
//! A program that waits for a page waits for two agents. Where programs keep all processors busy, an ordinary thread that is woken
//! waits until the next tick, 4 ms: fifty times as long as all the rest of a fault. (A short slice and more weight make it likely
//! that it is chosen then, but under lazy preemption, the kernel's newer default, nobody is interrupted for it.) So a shard that has
//! had to wait gets a real-time class, and 57 us became of 4 ms.
//!
//! Not for ever, and not from the start: where processors are idle, the kernel places ordinary threads better (83 us where it was
//! 140). So after a while it is an ordinary thread again and is seen to have to wait, or not to. And since a real-time thread that
//! does not sleep keeps everything else from its processor, and a program that does nothing but fault could bring that about,
//! one that is busy for most of some milliseconds is ordinary, too.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;

/// The lowest real-time priority: interrupts and whatever else is real-time go first.
const PRIORITY: u32 = 1;
/// The greatest weight of an ordinary thread, and its slice in nanoseconds: the shortest that the kernel gives.
const NICE: i32 = -20;
const SLICE: u64 = 100_000;

/// Nanoseconds over which a shard is judged, at least.
const WINDOW: u64 = 5_000_000;
/// Percent of a window for which it must have run to be too busy for a real-time class.
const BUSY: u64 = 60;
/// Nanoseconds for which it must have waited within a window to get one.
const WAITED: u64 = 1_000_000;
/// Nanoseconds for which it has one.
const TERM: u64 = 5_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    RealTime,
    Ordinary,
}

/// The class of the thread that made it, and by which it is to be used.
#[derive(Debug)]
pub(super) struct Precedence {
    class: Class,
    /// It may have a real-time class.
    allowed: bool,
    /// Its weight as an ordinary thread.
    nice: i32,
    /// When it got its class.
    from: u64,
    /// The beginning of the window: on the clock, and of the time that this thread has run and waited.
    since: u64,
    spent: Spent,
    /// What the kernel tells of this thread: `/proc/thread-self/schedstat`.
    told: Option<File>,
}

/// Nanoseconds of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spent {
    ran: u64,
    waited: u64,
}

impl Precedence {
    /// Takes precedence for the calling thread, as far as it may have any.
    ///
    /// # Errors
    /// It will not have a real-time class: it may not, or the kernel does not tell when it would need one. Everything goes on
    /// without.
    pub(super) fn take(now: u64) -> (Precedence, io::Result<()>) {
        // Each by itself: they are allowed by different limits.
        let real_time = set(Class::RealTime, 0);
        let nice = [NICE, 0].into_iter().find(|nice| set(Class::Ordinary, *nice).is_ok()).unwrap_or(0);
        let (told, spent) =
            match File::open("/proc/thread-self/schedstat").ok().map(|told| (spent(&told), told)) {
                Some((Some(spent), told)) => (Some(told), spent),
                Some((None, _)) | None => (None, Spent::default()),
            };
        let found = match &told {
            Some(_) => real_time.map_err(io::Error::from),
            None => Err(io::Error::other(
                "the kernel does not tell how long threads wait: /proc/thread-self/schedstat",
            )),
        };
        let allowed = found.is_ok();
        (Precedence { class: Class::Ordinary, allowed, nice, from: now, since: now, spent, told }, found)
    }

    /// A round of the thread's loop is over.
    pub(super) fn round(&mut self, now: impl Fn() -> u64) {
        let Some(told) = self.told.as_ref().filter(|_| self.allowed) else { return };
        let now = now();
        let passed = now.saturating_sub(self.since);
        if passed < WINDOW {
            return;
        }
        let Some(spent) = spent(told) else { return };
        let within = Spent {
            ran: spent.ran.saturating_sub(self.spent.ran),
            waited: spent.waited.saturating_sub(self.spent.waited),
        };
        let next = next(self.class, now.saturating_sub(self.from), passed, within);
        (self.since, self.spent) = (now, spent);
        // If it is refused, it was allowed once: then later.
        if next != self.class && set(next, self.nice).is_ok() {
            (self.class, self.from) = (next, now);
        }
    }
}

/// The class of a thread that has had its class for so long, and did so much within a window.
fn next(class: Class, held: u64, passed: u64, within: Spent) -> Class {
    let busy = within.ran * 100 / passed.max(1) >= BUSY;
    match class {
        Class::RealTime if busy || held >= TERM => Class::Ordinary,
        Class::Ordinary if !busy && within.waited >= WAITED => Class::RealTime,
        same @ (Class::RealTime | Class::Ordinary) => same,
    }
}

/// What a thread has spent: the first two numbers.
fn spent(told: &File) -> Option<Spent> {
    let mut bytes = [0; 96];
    let len = told.read_at(&mut bytes, 0).ok()?;
    let mut numbers = str::from_utf8(&bytes[..len]).ok()?.split_ascii_whitespace().map(str::parse);
    Some(Spent { ran: numbers.next()?.ok()?, waited: numbers.next()?.ok()? })
}

/// `nice`: the weight of an ordinary thread.
fn set(class: Class, nice: i32) -> Result<(), Errno> {
    let (policy, priority, nice, slice) = match class {
        Class::RealTime => (libc::SCHED_RR, PRIORITY, 0, 0),
        Class::Ordinary => (libc::SCHED_OTHER, 0, nice, SLICE),
    };
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: policy.cast_unsigned(),
        // Threads that this one makes are as others.
        sched_flags: libc::SCHED_FLAG_RESET_ON_FORK as u64,
        sched_nice: nice,
        sched_priority: priority,
        sched_runtime: slice,
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

    fn policy() -> i32 {
        // SAFETY: takes no pointers. Of the calling thread.
        unsafe { libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK }
    }

    #[test]
    fn taking_it_changes_no_other_thread() {
        let before = policy();
        let (taken, within) =
            std::thread::spawn(|| (Precedence::take(0).1, policy())).join().expect("it does not panic");
        // Whoever runs this may not.
        if let Err(error) = taken {
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        }
        assert_eq!((within, policy()), (libc::SCHED_OTHER, before));
    }

    #[test]
    fn who_has_waited_gets_it_and_who_is_busy_or_has_had_it_for_long_does_not_keep_it() {
        use Class::{Ordinary, RealTime};
        let busy = WINDOW * BUSY / 100;
        for (class, held, ran, waited, then) in [
            (Ordinary, 0, 0, WAITED - 1, Ordinary),
            (Ordinary, 0, 0, WAITED, RealTime),
            (Ordinary, 0, busy, WAITED, Ordinary),
            (RealTime, 0, 0, 0, RealTime),
            (RealTime, 0, busy, 0, Ordinary),
            (RealTime, TERM, 0, WAITED, Ordinary),
        ] {
            assert_eq!(
                next(class, held, WINDOW, Spent { ran, waited }),
                then,
                "{class:?} {held} {ran} {waited}"
            );
        }
    }

    #[test]
    fn a_real_time_thread_that_does_not_sleep_becomes_ordinary() {
        let thread = std::thread::spawn(|| {
            let clock = crate::shard::monotonic_nanos;
            let (mut precedence, taken) = Precedence::take(clock());
            if taken.is_err() {
                return; // Whoever runs this may not, and nothing is bounded where nothing is given.
            }
            set(Class::RealTime, 0).expect("it was allowed before");
            precedence.class = Class::RealTime;
            precedence.from = clock();
            // Long before its term is over.
            let end = clock() + TERM / 4;
            while policy() == libc::SCHED_RR {
                assert!(clock() < end, "it runs on as a real-time thread");
                precedence.round(clock);
            }
        });
        thread.join().expect("it becomes ordinary");
    }
}
