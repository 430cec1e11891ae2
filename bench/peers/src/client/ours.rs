//! A region: plain loads and stores.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use pagemesh::Region;

use super::{PAGE, PAGES, Page, Shared};

/// Words of a page.
const WORDS: usize = PAGE / 8;

pub(super) struct Ours(Region);

impl Ours {
    pub(super) fn attach(socket: &Path, name: &str) -> Result<Ours> {
        let region = Region::attach_to(socket, name).with_context(|| format!("cannot attach to {name}"))?;
        ensure!(region.len() > PAGES * PAGE, "region {name} is too small");
        Ok(Ours(region))
    }

    fn words(&self, page: usize) -> &[AtomicU64] {
        &self.0.words()[page * WORDS..][..WORDS]
    }

    fn counter(&self) -> &AtomicU64 {
        &self.0.words()[PAGES * WORDS]
    }
}

impl Shared for Ours {
    /// Copied out, since the others do so, too.
    fn read(&mut self, page: usize, to: &mut Page) -> Result<()> {
        for (word, to) in self.words(page).iter().zip(to.0.as_chunks_mut().0) {
            *to = word.load(Ordering::Relaxed).to_le_bytes();
        }
        Ok(())
    }

    fn write(&mut self, page: usize, from: &Page) -> Result<()> {
        for (word, from) in self.words(page).iter().zip(from.0.as_chunks().0) {
            word.store(u64::from_le_bytes(*from), Ordering::Relaxed);
        }
        Ok(())
    }

    fn sweep(&mut self, to: &mut [Page]) -> Result<()> {
        to.iter_mut().enumerate().try_for_each(|(page, to)| self.read(page, to))
    }

    fn add(&mut self) -> Result<()> {
        self.counter().fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn value(&mut self) -> Result<u64> {
        Ok(self.counter().load(Ordering::SeqCst))
    }
}
