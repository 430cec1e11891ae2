//! What writer and reader store for each other:
//!
//! ```text
//! page 0   written by the writer: token, its number, echo of the reader's number, receipt
//! page 1   written by the reader: its number, answer
//! page 2…  the pattern, first the writer's, then the reader's
//! ```
//!
//! Each side's number is new in each run, and each waits for what only somebody can store who has read that number: nothing
//! that an earlier run left is ever taken for an answer. If a side is started again, the exchange begins anew.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};

/// Pages that hold a pattern.
const PATTERN_PAGES_MAX: usize = 1000;
const FIRST_PATTERN_PAGE: usize = 2;

// Words of page 0.
const TOKEN: usize = 0;
const WRITER: usize = 1;
const ECHO: usize = 2;
const RECEIPT: usize = 3;
// Words of page 1.
const READER: usize = 0;
const ANSWER: usize = 1;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Stores first.
    Writer,
    /// Verifies first.
    Reader,
}

/// What a side waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// The writer, for a reader.
    Reader,
    /// The reader, for a writer.
    Writer,
    /// The reader, for the pages that it writes back to have been verified.
    Receipt,
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WaitsFor::Reader => "no reader with this token has answered; does one run, on another node?",
            WaitsFor::Writer => "no writer with this token was seen; does one run, on another node?",
            WaitsFor::Receipt => {
                "the writer's pattern is verified, but the writer does not say that the reader's arrived"
            }
        })
    }
}

/// A word that is not what it must be.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    page: usize,
    word: usize,
    found: u64,
    expected: u64,
}

/// A region's memory, for the exchange.
pub(super) struct Memory<'a> {
    words: &'a [AtomicU64],
    words_per_page: usize,
    pattern_pages: usize,
}

impl<'a> Memory<'a> {
    /// Uses the whole pages of `words`.
    pub(super) fn new(words: &'a [AtomicU64], page_size: usize) -> Result<Memory<'a>> {
        let words_per_page = page_size / size_of::<AtomicU64>();
        let pages = words.len() / words_per_page;
        let pattern_pages = pages.saturating_sub(FIRST_PATTERN_PAGE).min(PATTERN_PAGES_MAX);
        if pattern_pages == 0 {
            bail!(
                "the region has {pages} pages, and the probe needs {}: use a larger one",
                FIRST_PATTERN_PAGE + 1
            );
        }
        Ok(Memory { words, words_per_page, pattern_pages })
    }

    /// Does one side's part and tells how many pages hold the pattern. `pause` is called between two looks.
    pub(super) fn exchange(
        &self,
        side: Side,
        token: &str,
        own: u64,
        pause: impl FnMut(WaitsFor) -> Result<()>,
    ) -> Result<usize> {
        match side {
            Side::Writer => self.write(hash(token), own, pause)?,
            Side::Reader => self.read(hash(token), own, pause)?,
        }
        Ok(self.pattern_pages)
    }

    fn write(&self, token: u64, own: u64, mut pause: impl FnMut(WaitsFor) -> Result<()>) -> Result<()> {
        // A reader that an earlier writer has let begin sees that number change before it sees another pattern.
        self.page(0)[ECHO].store(0, Ordering::Release);
        self.page(0)[WRITER].store(own, Ordering::Release);
        self.page(0)[TOKEN].store(token, Ordering::Release);
        loop {
            let reader = self.page(1)[READER].load(Ordering::Acquire);
            if reader != 0 && self.page(0)[ECHO].load(Ordering::Relaxed) != reader {
                // Anew for each reader, for one before may have stored its own already.
                self.store(mix(token, own));
                self.page(0)[ECHO].store(reader, Ordering::Release);
            }
            let seed = mix(mix(token, own), reader);
            if reader != 0 && self.page(1)[ANSWER].load(Ordering::Acquire) == answer(seed) {
                match self.verify(seed) {
                    Ok(()) => {
                        self.page(0)[RECEIPT].store(receipt(seed), Ordering::Release);
                        return Ok(());
                    }
                    // The reader was started again.
                    Err(_) if self.page(1)[READER].load(Ordering::Acquire) != reader => {}
                    Err(wrong) => bail!("what the reader stored did not arrive: {wrong}"),
                }
            }
            pause(WaitsFor::Reader)?;
        }
    }

    fn read(&self, token: u64, own: u64, mut pause: impl FnMut(WaitsFor) -> Result<()>) -> Result<()> {
        self.page(1)[ANSWER].store(0, Ordering::Release);
        self.page(1)[READER].store(own, Ordering::Release);
        loop {
            let echoed = self.page(0)[ECHO].load(Ordering::Acquire) == own;
            let writer = self.page(0)[WRITER].load(Ordering::Acquire);
            if echoed && self.page(0)[TOKEN].load(Ordering::Acquire) == token {
                match self.verify(mix(token, writer)) {
                    Ok(()) if self.take_back(token, writer, own, &mut pause)? => return Ok(()),
                    // The writer was started again.
                    Ok(()) => {}
                    Err(_) if self.page(0)[WRITER].load(Ordering::Acquire) != writer => {}
                    Err(wrong) => bail!("what the writer stored did not arrive: {wrong}"),
                }
            }
            pause(WaitsFor::Writer)?;
        }
    }

    /// Stores the reader's pattern and waits for the receipt. Not if another writer begins.
    fn take_back(
        &self,
        token: u64,
        writer: u64,
        own: u64,
        pause: &mut impl FnMut(WaitsFor) -> Result<()>,
    ) -> Result<bool> {
        let seed = mix(mix(token, writer), own);
        self.store(seed);
        self.page(1)[ANSWER].store(answer(seed), Ordering::Release);
        loop {
            if self.page(0)[RECEIPT].load(Ordering::Acquire) == receipt(seed) {
                return Ok(true);
            }
            if self.page(0)[WRITER].load(Ordering::Acquire) != writer {
                return Ok(false);
            }
            pause(WaitsFor::Receipt)?;
        }
    }

    fn page(&self, page: usize) -> &[AtomicU64] {
        &self.words[page * self.words_per_page..][..self.words_per_page]
    }

    /// Stores a pattern in every word: each store is a plain one.
    fn store(&self, seed: u64) {
        for page in FIRST_PATTERN_PAGE..FIRST_PATTERN_PAGE + self.pattern_pages {
            for (word, place) in self.page(page).iter().enumerate() {
                place.store(pattern(seed, page, word), Ordering::Relaxed);
            }
        }
    }

    fn verify(&self, seed: u64) -> Result<(), Wrong> {
        for page in FIRST_PATTERN_PAGE..FIRST_PATTERN_PAGE + self.pattern_pages {
            for (word, place) in self.page(page).iter().enumerate() {
                let (found, expected) = (place.load(Ordering::Relaxed), pattern(seed, page, word));
                if found != expected {
                    return Err(Wrong { page, word, found, expected });
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wrong { page, word, found, expected } = self;
        write!(f, "word {word} of page {page} is {found:#018x} and should be {expected:#018x}")
    }
}

fn pattern(seed: u64, page: usize, word: usize) -> u64 {
    mix(seed, (page as u64) << 32 | word as u64)
}

fn answer(seed: u64) -> u64 {
    mix(seed, u64::MAX)
}

fn receipt(seed: u64) -> u64 {
    mix(seed, u64::MAX - 1)
}

fn hash(token: &str) -> u64 {
    token.bytes().fold(token.len() as u64, |hash, byte| mix(hash, u64::from(byte)))
}

/// The finalizer of SplitMix64: every bit of what comes in changes half of what goes out.
fn mix(a: u64, b: u64) -> u64 {
    let mut z = (a ^ b.rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_add(b);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const PAGE: usize = 4096;
    /// Looks that a side may take before it counts as stuck.
    const LOOKS_MAX: usize = 10_000_000;

    fn words(pages: usize) -> Vec<AtomicU64> {
        (0..pages * PAGE / 8).map(|_| AtomicU64::new(0)).collect()
    }

    fn run(words: &[AtomicU64], side: Side, token: &str, own: u64, looks_max: usize) -> Result<usize> {
        let mut looks = 0;
        Memory::new(words, PAGE)?.exchange(side, token, own, |waits_for| {
            looks += 1;
            thread::yield_now();
            if looks > looks_max { bail!("{waits_for}") } else { Ok(()) }
        })
    }

    /// Both sides in one memory; what each of them says.
    fn both(
        words: &[AtomicU64],
        tokens: [&str; 2],
        nonces: [u64; 2],
        looks_max: usize,
    ) -> [Result<usize>; 2] {
        thread::scope(|scope| {
            let writer = scope.spawn(|| run(words, Side::Writer, tokens[0], nonces[0], looks_max));
            let reader = run(words, Side::Reader, tokens[1], nonces[1], looks_max);
            [writer.join().expect("no panic"), reader]
        })
    }

    #[test]
    fn both_sides_verify_each_other_again_and_again() {
        let words = words(12);
        for run in 1..=20 {
            let [writer, reader] = both(&words, ["a", "a"], [2 * run, 2 * run + 1], LOOKS_MAX);
            assert_eq!((writer.expect("verified"), reader.expect("verified")), (10, 10));
        }
    }

    #[test]
    fn no_more_pages_than_are_needed() {
        assert_eq!(Memory::new(&words(1100), PAGE).expect("enough").pattern_pages, 1000);
        let error = Memory::new(&words(2), PAGE).err().expect("too few");
        assert!(error.to_string().contains("has 2 pages, and the probe needs 3"), "{error}");
    }

    #[test]
    fn what_an_earlier_run_left_is_no_answer() {
        let words = words(4);
        for result in both(&words, ["a", "a"], [1, 2], LOOKS_MAX) {
            result.expect("verified");
        }
        let alone = |side| run(&words, side, "a", 7, 100).expect_err("nobody is there").to_string();
        assert!(alone(Side::Writer).contains("no reader with this token has answered"));
        assert!(alone(Side::Reader).contains("no writer with this token was seen"));
    }

    #[test]
    fn another_token_is_not_ours() {
        let [writer, reader] = both(&words(4), ["a", "b"], [1, 2], 1000);
        assert!(writer.is_err() && reader.is_err());
    }

    #[test]
    fn a_word_that_did_not_arrive_is_named() {
        let words = words(4);
        let memory = Memory::new(&words, PAGE).expect("enough");
        let (writer, reader) = (5, 6);
        let mut stage = 0;
        let result = memory.exchange(Side::Reader, "a", reader, |_| {
            stage += 1;
            match stage {
                // What a writer would store, but for one word.
                1 => {
                    memory.store(mix(hash("a"), writer));
                    memory.page(3)[17].store(0, Ordering::Relaxed);
                    memory.page(0)[WRITER].store(writer, Ordering::Relaxed);
                    memory.page(0)[TOKEN].store(hash("a"), Ordering::Relaxed);
                    memory.page(0)[ECHO].store(reader, Ordering::Relaxed);
                    Ok(())
                }
                _ => bail!("not seen"),
            }
        });
        let error = result.expect_err("a word is wrong").to_string();
        assert!(error.contains("word 17 of page 3 is 0x0000000000000000"), "{error}");
    }
}
