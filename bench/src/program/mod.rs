//! A program that is attached to a region at one node, and does what the harness tells it.

mod alone;
mod together;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use pagemesh::Region;
use serde::{Deserialize, Serialize};

use crate::clock::now_nanos;

/// What a program is told to do. Pages are counted in the region's own; a page's word is its first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Load the word of each of some pages, one after the other, and see that it is `expect` plus the page's number.
    Load { pages: Vec<usize>, expect: u64 },
    /// Store `value` plus the page's number there.
    Store { pages: Vec<usize>, value: u64 },
    /// Load the words of so many pages, one after the other and `step` pages apart, and see that they are `expect` plus the
    /// page's number. Answers with the time of all of it.
    Sweep { pages: usize, step: usize, expect: u64 },
    /// Store `value` plus the page's number there.
    Fill { pages: usize, step: usize, value: u64 },
    /// Load the words of some pages by so many threads, each its part of them. Answers with the time of all of it.
    Scatter { pages: Vec<usize>, threads: usize },
    /// Add up all words of the first pages so often. Answers with the time of each pass.
    Pass { pages: usize, times: usize },
    /// The same in memory of this process alone.
    PlainPass { pages: usize, times: usize },
    /// Attach to another region, and detach again. Answers with the time until a word could be loaded.
    Attach { region: String },
    /// Add to the word of a page as fast as it goes, until it has come back from another node so often. Answers with the time from
    /// each coming to the next. The page behind says to all that somebody has done so: it must not hold `round`.
    Race { page: usize, times: u64, round: u64 },
    /// Together with `others`: take the spinlock in a page, add one to what it guards and give it back, so often. Answers with the
    /// time of all of it. `meet` is a page where all meet first: it holds what came of the meetings before.
    Lock { page: usize, meet: usize, others: u64, times: u64 },
    /// Together with `others`: add to a word so often. Answers with the time of all of it.
    Count { page: usize, word: usize, meet: usize, others: u64, times: u64 },
    /// Store so many values in a row to the word of a page: one at each beat, of which the first is at `start` on the machine's clock.
    Publish { page: usize, from: u64, times: u64, start: u64 },
    /// Load the word of a page in the middle between beats, and see that it does not go back.
    Look { page: usize, from: u64, times: u64, start: u64 },
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Nanoseconds.
    pub(crate) nanos: Vec<u64>,
    /// Page faults that it took, of all kinds.
    pub(crate) faults: u64,
}

/// Serves the harness until it has gone.
pub(crate) fn run(harness: UnixStream, socket: &Path, region: &str) -> Result<()> {
    let attached = Region::attach_to(socket, region).with_context(|| format!("cannot attach to {region}"))?;
    let step = attached.page_size() / size_of::<AtomicU64>();
    let words = Words { socket: socket.to_owned(), step, words: attached.words() };
    let mut writer = harness.try_clone()?;
    for line in BufReader::new(harness).lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let before = faults()?;
        let nanos = words.follow(&order)?;
        let faults = faults()? - before;
        writeln!(writer, "{}", serde_json::to_string(&Done { nanos, faults })?)?;
    }
    Ok(())
}

/// Page faults of this process so far.
fn faults() -> Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok((usage.minor_page_faults() + usage.major_page_faults()).cast_unsigned())
}

/// A region, as words.
struct Words<'a> {
    socket: PathBuf,
    words: &'a [AtomicU64],
    /// Words of a page.
    step: usize,
}

impl Words<'_> {
    /// The word of a page.
    fn of(&self, page: usize) -> &AtomicU64 {
        &self.words[page * self.step]
    }

    fn follow(&self, order: &Order) -> Result<Vec<u64>> {
        match order {
            Order::Load { pages, expect } => self.load(pages, *expect),
            Order::Store { pages, value } => Ok(self.store(pages, *value)),
            Order::Sweep { pages, step, expect } => self.sweep(*pages, *step, *expect),
            Order::Fill { pages, step, value } => Ok(self.fill(*pages, *step, *value)),
            Order::Scatter { pages, threads } => Ok(self.scatter(pages, *threads)),
            Order::Pass { pages, times } => Ok(alone::passes(&self.words[..pages * self.step], *times)),
            Order::PlainPass { pages, times } => alone::plain_passes(pages * self.step, *times),
            Order::Attach { region } => self.attach(region),
            Order::Race { page, times, round } => Ok(self.race(*page, *times, *round)),
            Order::Lock { page, meet, others, times } => Ok(self.lock(*page, *meet, *others, *times)),
            Order::Count { page, word, meet, others, times } => {
                Ok(self.count(*page, *word, (*meet, *others), *times))
            }
            Order::Publish { page, from, times, start } => Ok(self.publish(*page, *from, *times, *start)),
            Order::Look { page, from, times, start } => self.look(*page, *from, *times, *start),
        }
    }
}

/// Nanoseconds that something took.
fn timed(work: impl FnOnce()) -> u64 {
    let start = now_nanos();
    work();
    now_nanos() - start
}
