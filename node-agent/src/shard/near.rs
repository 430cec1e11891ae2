//! Where a shard's thread runs: on the processor of the thread that has faulted.
//!
//! That one sleeps until its page is there, so its processor is free, and to wake a thread there costs a third of waking one on
//! another processor, which has to be interrupted and, in a virtual machine, to be given a real one first (measured on two virtual
//! processors: a local fault 38 us across, 8 us on one). A real-time thread wakes where it ran last, so it has to be moved once,
//! when the program's thread has moved, and need not be bound: where others of its class keep the processor busy the kernel moves
//! it away again. That is looked at for one fault in so many.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// Faults of which one is looked at: to look takes as long as a message.
const FAULTS: u32 = 32;
/// Times in a row that faults must have come from another processor.
const TIMES: u32 = 2;
/// Threads of a program that are remembered.
const THREADS: usize = 4;

/// What is known of where faults come from.
#[derive(Debug, Default)]
pub(super) struct Near {
    faults: u32,
    /// Another processor than this thread's, and how often in a row.
    other: Option<(usize, u32)>,
}

impl Near {
    /// Takes up a fault. `processor` says where it came from, as far as can be seen.
    pub(super) fn fault(&mut self, processor: impl FnOnce() -> Option<usize>) {
        self.faults += 1;
        if self.faults < FAULTS {
            return;
        }
        self.faults = 0;
        let (Some(from), Ok(here)) = (processor(), sched_getcpu()) else { return };
        if let Some(to) = self.decide(from, here) {
            // Where it may not go it stays.
            let _ = go(to);
        }
    }

    fn decide(&mut self, from: usize, here: usize) -> Option<usize> {
        if from == here {
            self.other = None;
            return None;
        }
        let times = self.other.filter(|(other, _)| *other == from).map_or(0, |(_, times)| times) + 1;
        self.other = (times < TIMES).then_some((from, times));
        (times >= TIMES).then_some(from)
    }
}

/// Moves the calling thread, and lets it go anywhere again.
fn go(to: usize) -> nix::Result<()> {
    let this = Pid::from_raw(0);
    let usable = sched_getaffinity(this)?;
    if !usable.is_set(to)? {
        return Ok(());
    }
    let mut only = CpuSet::new();
    only.set(to)?;
    sched_setaffinity(this, &only)?;
    sched_setaffinity(this, &usable)
}

/// The threads of a program.
#[derive(Debug)]
pub(super) struct Threads {
    /// The process, as this one sees it.
    process: u32,
    /// Their numbers as the program sees them, and what the kernel tells of them. The last seen is the last.
    known: Vec<(u32, File)>,
}

impl Threads {
    pub(super) fn of(process: u32) -> Threads {
        Threads { process, known: Vec::new() }
    }

    /// The processor on which a thread ran last.
    pub(super) fn processor(&mut self, thread: u32) -> Option<usize> {
        let at = self.known.iter().position(|(number, _)| *number == thread);
        let file = match at {
            Some(at) => self.known.remove(at).1,
            None => open(self.process, thread)?,
        };
        if self.known.len() == THREADS {
            self.known.remove(0);
        }
        let processor = processor(&file)?;
        self.known.push((thread, file));
        Some(processor)
    }
}

/// `/proc/PID/task/TID/stat` of a thread that the program itself knows by `thread`, which in a pod is another number than here.
fn open(process: u32, thread: u32) -> Option<File> {
    let tasks = format!("/proc/{process}/task");
    if let Ok(file) = File::open(format!("{tasks}/{thread}/stat")) {
        return Some(file);
    }
    let is_it = |status: &str| {
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        numbers.and_then(|numbers| numbers.split_ascii_whitespace().next_back()) == Some(&thread.to_string())
    };
    for task in fs::read_dir(tasks).ok()?.flatten() {
        if fs::read_to_string(task.path().join("status")).is_ok_and(|status| is_it(&status)) {
            return File::open(task.path().join("stat")).ok();
        }
    }
    None
}

/// The 39th field; the second is a name in parentheses, which may hold anything.
fn processor(stat: &File) -> Option<usize> {
    let mut bytes = [0; 1024];
    let len = stat.read_at(&mut bytes, 0).ok()?;
    let text = str::from_utf8(&bytes[..len]).ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(36)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_has_moved_for_good() {
        let mut near = Near::default();
        assert_eq!(near.decide(1, 1), None);
        assert_eq!(near.decide(0, 1), None);
        assert_eq!(near.decide(1, 1), None);
        assert_eq!(near.decide(0, 1), None);
        assert_eq!(near.decide(2, 1), None, "now here, now there");
        assert_eq!(near.decide(2, 1), Some(2));
        assert_eq!(near.decide(2, 2), None);
    }

    #[test]
    fn one_fault_in_so_many_is_looked_at() {
        let mut near = Near::default();
        let mut looked = 0;
        for _ in 0..10 * FAULTS {
            near.fault(|| {
                looked += 1;
                None
            });
        }
        assert_eq!(looked, 10);
    }

    #[test]
    fn a_thread_is_where_it_was_bound() {
        let usable = sched_getaffinity(Pid::from_raw(0)).expect("asking is allowed");
        for processor in (0..CpuSet::count()).filter(|at| usable.is_set(*at).unwrap_or(false)) {
            let found = std::thread::spawn(move || {
                go(processor).expect("it may run there");
                let mut threads = Threads::of(std::process::id());
                let this = nix::unistd::gettid().as_raw().cast_unsigned();
                (threads.processor(this), threads.processor(this), threads.processor(u32::MAX))
            });
            let (found, again, nobody) = found.join().expect("it does not panic");
            // It was not bound, so it may have been moved since.
            assert!(found.is_some_and(|at| usable.is_set(at).unwrap_or(false)), "{found:?}");
            assert!(again.is_some());
            assert_eq!(nobody, None);
        }
    }
}
