//! How processes wait for each other: by atomic words in shared memory, for the kernel's futexes know this machine alone.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::{Memory, PAGE, Place, Plan, Shared};

/// Looks at a word before the processor is left to others.
const LOOKS: u32 = 64;
/// Words of a page.
pub(crate) const PAGE_WORDS: usize = PAGE / size_of::<u64>();

/// Waits until `done`. There may be more processes than processors, so who waits long lets others run.
fn until(done: impl Fn() -> bool) {
    for _ in 0..LOOKS {
        if done() {
            return;
        }
        std::hint::spin_loop();
    }
    while !done() {
        std::thread::yield_now();
    }
}

/// Where all processes wait until the last of them has come: a counter, and the sense by which they see that it is full.
#[derive(Debug)]
pub(crate) struct Barrier {
    /// Word 0 counts who has come. The sense is a page further: who waits looks at it all the time.
    words: Shared<u64>,
    processes: u64,
    sense: Cell<u64>,
}

impl Barrier {
    pub(crate) fn place(plan: &mut Plan) -> Place<u64> {
        plan.place(2 * PAGE_WORDS)
    }

    /// The barrier as those who used the memory before have left it. It stays so until this process has come as well.
    pub(crate) fn new(memory: &Memory, place: Place<u64>, processes: usize) -> Barrier {
        let words = memory.at(place);
        let sense = Cell::new(words.word(PAGE_WORDS).load(Ordering::Acquire));
        Barrier { words, processes: processes as u64, sense }
    }

    /// Waits for all.
    pub(crate) fn wait(&self) {
        let (come, shown) = (self.words.word(0), self.words.word(PAGE_WORDS));
        let next = 1 - self.sense.get();
        self.sense.set(next);
        if come.fetch_add(1, Ordering::AcqRel) + 1 == self.processes {
            come.store(0, Ordering::Relaxed);
            shown.store(next, Ordering::Release);
        } else {
            until(|| shown.load(Ordering::Acquire) == next);
        }
    }
}

/// Does something while nobody else holds the lock in this word.
pub(crate) fn locked(lock: &AtomicU64, work: impl FnOnce()) {
    loop {
        // To look needs a copy of the page alone; to try needs the page.
        until(|| lock.load(Ordering::Relaxed) == 0);
        if lock.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            break;
        }
    }
    work();
    lock.store(0, Ordering::Release);
}
