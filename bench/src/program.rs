//! A program that is attached to a region at one node, and does what the harness tells it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use pagemesh::Region;
use serde::{Deserialize, Serialize};

use crate::clock::now_nanos;

/// What a program is told to do. Pages are counted in the region's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Load the first word of each of some pages, one after the other, and see that it is `expect` plus the page's number.
    Load { pages: Vec<usize>, expect: u64 },
    /// Store `value` plus the page's number there.
    Store { pages: Vec<usize>, value: u64 },
    /// Take turns with another program: wait for the word of a page to have the parity, add one to it, so often.
    PingPong { page: usize, parity: u64, turns: u64 },
    /// Take a spinlock in a page, add one to what it guards, so often.
    Lock { page: usize, times: u64 },
    /// Load the first word of so many pages, one after the other and `step` pages apart, and see that it is `expect` plus the
    /// page's number.
    Sweep { pages: usize, step: usize, expect: u64 },
    /// Store `value` plus the page's number there.
    Fill { pages: usize, step: usize, value: u64 },
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Nanoseconds of each access, or of each turn; of all of it where single ones are not measured.
    pub(crate) nanos: Vec<u64>,
}

/// Serves the harness until it has gone.
pub(crate) fn run(harness: UnixStream, socket: &Path, region: &str) -> Result<()> {
    let region = Region::attach_to(socket, region).with_context(|| format!("cannot attach to {region}"))?;
    let words = Words { step: region.page_size() / 8, words: region.words() };
    let mut writer = harness.try_clone()?;
    for line in BufReader::new(harness).lines() {
        let nanos = words.follow(&serde_json::from_str(&line?)?)?;
        writeln!(writer, "{}", serde_json::to_string(&Done { nanos })?)?;
    }
    Ok(())
}

/// All of so many pages, in steps: round after round, each beginning one page further.
fn strided(pages: usize, step: usize) -> impl Iterator<Item = usize> {
    (0..step).flat_map(move |first| (first..pages).step_by(step))
}

struct Words<'a> {
    words: &'a [AtomicU64],
    /// Words of a page.
    step: usize,
}

impl Words<'_> {
    fn of(&self, page: usize) -> &AtomicU64 {
        &self.words[page * self.step]
    }

    fn follow(&self, order: &Order) -> Result<Vec<u64>> {
        let timed = |work: &dyn Fn() -> Result<()>| {
            let start = now_nanos();
            work().map(|()| now_nanos() - start)
        };
        match order {
            Order::Load { pages, expect } => {
                let load = |page: &usize| {
                    timed(&|| {
                        let seen = self.of(*page).load(Ordering::Acquire);
                        anyhow::ensure!(seen == expect + *page as u64, "page {page} holds {seen}");
                        Ok(())
                    })
                };
                pages.iter().map(load).collect()
            }
            Order::Store { pages, value } => {
                let store = |page: &usize| {
                    timed(&|| {
                        self.of(*page).store(value.wrapping_add(*page as u64), Ordering::Release);
                        Ok(())
                    })
                };
                pages.iter().map(store).collect()
            }
            Order::PingPong { page, parity, turns } => {
                let word = self.of(*page);
                let turn = || {
                    timed(&|| {
                        while word.load(Ordering::Acquire) % 2 != *parity {
                            std::hint::spin_loop();
                        }
                        word.fetch_add(1, Ordering::AcqRel);
                        Ok(())
                    })
                };
                (0..*turns).map(|_| turn()).collect()
            }
            Order::Lock { page, times } => {
                let (lock, count) = (self.of(*page), &self.words[page * self.step + 1]);
                let turn = || {
                    timed(&|| {
                        while lock.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
                            std::hint::spin_loop();
                        }
                        let before = count.load(Ordering::Relaxed);
                        count.store(before + 1, Ordering::Relaxed);
                        lock.store(0, Ordering::Release);
                        Ok(())
                    })
                };
                (0..*times).map(|_| turn()).collect()
            }
            Order::Sweep { pages, step, expect } => {
                let sweep = || {
                    for page in strided(*pages, *step) {
                        let seen = self.of(page).load(Ordering::Relaxed);
                        anyhow::ensure!(seen == expect.wrapping_add(page as u64), "page {page} holds {seen}");
                    }
                    Ok(())
                };
                Ok(vec![timed(&sweep)?])
            }
            Order::Fill { pages, step, value } => {
                let fill = || {
                    strided(*pages, *step).for_each(|page| {
                        self.of(page).store(value.wrapping_add(page as u64), Ordering::Relaxed)
                    });
                    Ok(())
                };
                Ok(vec![timed(&fill)?])
            }
        }
    }
}
