//! What programs of several nodes do at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Words, timed};
use crate::clock::now_nanos;

/// Nanoseconds from one value to the next: what is pushed has come long before half of it has passed.
const BEAT: u64 = 4_000_000;
/// Increments between two looks at whether somebody has done.
const LOOK_EVERY: u64 = 1024;

impl Words<'_> {
    pub(super) fn race(&self, page: usize, times: u64, round: u64) -> Vec<u64> {
        let (word, over) = (self.of(page), self.of(page + 1));
        let mut nanos = Vec::new();
        let (mut last, mut since) = (word.fetch_add(1, Ordering::AcqRel), None);
        for count in 1_u64.. {
            let seen = word.fetch_add(1, Ordering::AcqRel);
            if seen != last + 1 {
                // It has been away.
                let now = now_nanos();
                nanos.extend(since.replace(now).map(|since| now - since));
            }
            last = seen;
            if nanos.len() as u64 >= times {
                over.store(round, Ordering::Release);
                break;
            }
            if count.is_multiple_of(LOOK_EVERY) && over.load(Ordering::Acquire) == round {
                break;
            }
        }
        nanos
    }

    pub(super) fn lock(&self, page: usize, meet: usize, others: u64, times: u64) -> Vec<u64> {
        let (lock, count) = (self.of(page), &self.words[page * self.step + 1]);
        self.meet(meet, others);
        let start = now_nanos();
        for _ in 0..times {
            // Looking before trying: a failed exchange would take the page for writing.
            while lock.load(Ordering::Relaxed) != 0
                || lock.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err()
            {
                std::thread::yield_now();
            }
            // Not one operation: it is the lock that makes it one.
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            lock.store(0, Ordering::Release);
        }
        vec![now_nanos() - start]
    }

    pub(super) fn count(
        &self,
        page: usize,
        word: usize,
        (meet, others): (usize, u64),
        times: u64,
    ) -> Vec<u64> {
        let word = &self.words[page * self.step + word];
        self.meet(meet, others);
        let start = now_nanos();
        (0..times).for_each(|_| _ = word.fetch_add(1, Ordering::Relaxed));
        vec![now_nanos() - start]
    }

    pub(super) fn publish(&self, page: usize, from: u64, times: u64, start: u64) -> Vec<u64> {
        let publish = |at: u64| {
            sleep_until(start + at * BEAT);
            timed(|| self.of(page).store(from + at, Ordering::Release))
        };
        (0..times).map(publish).collect()
    }

    pub(super) fn look(&self, page: usize, from: u64, times: u64, start: u64) -> Result<Vec<u64>> {
        let mut last = 0;
        let look = |at: u64| {
            sleep_until(start + at * BEAT + BEAT / 2);
            let mut seen = 0;
            let nanos = timed(|| seen = self.of(page).load(Ordering::Acquire));
            // Either may come late, but what has been seen is not unseen.
            ensure!(seen >= last && seen < from + times, "page {page} holds {seen} after {last}");
            last = seen;
            Ok(nanos)
        };
        (0..times).map(look).collect()
    }

    /// Returns when this and all others have come here.
    fn meet(&self, page: usize, others: u64) {
        let all = others + 1;
        let come = self.of(page).fetch_add(1, Ordering::AcqRel) + 1;
        wait_for(self.of(page), |seen| seen >= come.next_multiple_of(all));
    }
}

/// Looks at a word until it is as it should be. Others may run meanwhile.
fn wait_for(word: &AtomicU64, good: impl Fn(u64) -> bool) {
    while !good(word.load(Ordering::Acquire)) {
        std::thread::yield_now();
    }
}

fn sleep_until(time: u64) {
    std::thread::sleep(Duration::from_nanos(time.saturating_sub(now_nanos())));
}
