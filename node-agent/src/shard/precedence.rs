//! When a shard's thread runs: as soon as it has something to do, whatever else runs on its processor.
//!
//! A program that waits for a page waits for two agents. Where programs keep processors busy, an ordinary thread that is woken there
//! waits until the next tick, 4 ms: fifty times as long as all the rest of a fault. (A short slice or more weight, measured too,
//! make it likely that it is chosen then, but under lazy preemption, the kernel's newer default, nobody is interrupted for it.)
//! So a shard has a real-time class, in which it sleeps most of the time and works for microseconds.
//!
//! A real-time thread that does not sleep keeps everything else from its processor, and a program that does nothing but fault could
//! bring that about. So what a shard may use in that class is bounded: one that is busy for most of some milliseconds is an
//! ordinary thread, with the greatest weight among them, until it is not so busy any more.

use std::io;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

/// The lowest real-time priority: interrupts and the kernel's own threads go first.
const PRIORITY: u32 = 1;
/// The greatest weight of an ordinary thread, and its slice in nanoseconds: the shortest that the kernel gives.
const NICE: i32 = -20;
const SLICE: u64 = 100_000;

/// Rounds of a shard between two looks at the clock.
const ROUNDS: u32 = 64;
/// Nanoseconds over which it is judged how busy a shard is.
const WINDOW: u64 = 5_000_000;
/// Percent of a window from which on it is too busy, and up to which it is not any more.
const BUSY: u64 = 60;
const CALM: u64 = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    RealTime,
    Ordinary,
}

/// The class of the thread that made it, and by which it is to be used.
#[derive(Debug)]
pub(super) struct Precedence {
    /// `None`: it is what it was when it started, since it may not be anything else.
    class: Option<Class>,
    rounds: u32,
    /// The beginning of the window: on the clock, and of the time that this thread has run.
    since: u64,
    ran: u64,
}

impl Precedence {
    /// Takes precedence for the calling thread.
    ///
    /// # Errors
    /// It may not have any; everything goes on without.
    pub(super) fn take(now: u64) -> (Precedence, io::Result<()>) {
        let taken = set(Class::RealTime).or_else(|_| set(Class::Ordinary).and(Err(Errno::EPERM)));
        let class = match taken {
            Ok(()) => Some(Class::RealTime),
            Err(_) => None,
        };
        let precedence = Precedence { class, rounds: 0, since: now, ran: ran() };
        (precedence, taken.map_err(io::Error::from))
    }

    /// A round of the thread's loop is over.
    pub(super) fn round(&mut self, now: impl Fn() -> u64) {
        self.rounds += 1;
        if self.rounds < ROUNDS || self.class.is_none() {
            return;
        }
        self.rounds = 0;
        let now = now();
        let passed = now.saturating_sub(self.since);
        if passed < WINDOW {
            return;
        }
        let ran = ran();
        let next = next(self.class, (ran - self.ran) * 100 / passed);
        (self.since, self.ran) = (now, ran);
        if next != self.class
            && let Some(class) = next
            // If it is refused, it was allowed once: then later.
            && set(class).is_ok()
        {
            self.class = next;
        }
    }
}

/// The class of a thread that has run for so many percent of the time.
fn next(class: Option<Class>, percent: u64) -> Option<Class> {
    match class? {
        Class::RealTime if percent >= BUSY => Some(Class::Ordinary),
        Class::Ordinary if percent <= CALM => Some(Class::RealTime),
        same @ (Class::RealTime | Class::Ordinary) => Some(same),
    }
}

/// Nanoseconds that the calling thread has run.
fn ran() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has this clock");
    time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
}

fn set(class: Class) -> Result<(), Errno> {
    let (policy, priority, nice, slice) = match class {
        Class::RealTime => (libc::SCHED_RR, PRIORITY, 0, 0),
        Class::Ordinary => (libc::SCHED_OTHER, 0, NICE, SLICE),
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
    fn the_calling_thread_has_it_and_no_other() {
        let before = policy();
        let (taken, within) =
            std::thread::spawn(|| (Precedence::take(0).1, policy())).join().expect("it does not panic");
        match taken {
            Ok(()) => assert_eq!(within, libc::SCHED_RR),
            // Whoever runs this may not.
            Err(error) => assert_eq!((error.raw_os_error(), within), (Some(libc::EPERM), before)),
        }
        assert_eq!(policy(), before);
    }

    #[test]
    fn whoever_is_busy_is_ordinary_until_it_is_calm() {
        use Class::{Ordinary, RealTime};
        for (class, percent, then) in [
            (RealTime, 0, RealTime),
            (RealTime, BUSY - 1, RealTime),
            (RealTime, BUSY, Ordinary),
            (Ordinary, 100, Ordinary),
            (Ordinary, CALM + 1, Ordinary),
            (Ordinary, CALM, RealTime),
        ] {
            assert_eq!(next(Some(class), percent), Some(then), "{class:?} at {percent} %");
        }
        assert_eq!(next(None, 100), None);
    }

    #[test]
    fn a_thread_that_does_not_sleep_becomes_ordinary() {
        let thread = std::thread::spawn(|| {
            let clock = crate::shard::monotonic_nanos;
            let (mut precedence, taken) = Precedence::take(clock());
            if taken.is_err() {
                return; // Whoever runs this may not, and nothing is bounded where nothing is given.
            }
            let end = clock() + 10_000_000_000;
            while policy() == libc::SCHED_RR {
                assert!(clock() < end, "it runs on as a real-time thread");
                precedence.round(clock);
            }
        });
        thread.join().expect("it becomes ordinary");
    }
}
