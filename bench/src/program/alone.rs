//! What a program does while no other touches the region.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};
use pagemesh::Region;

use super::{Words, timed};
use crate::clock::now_nanos;

impl Words<'_> {
    pub(super) fn load(&self, pages: &[usize], expect: u64) -> Result<Vec<u64>> {
        let load = |page: &usize| {
            let mut seen = 0;
            let nanos = timed(|| seen = self.of(*page).load(Ordering::Acquire));
            ensure!(seen == expect + *page as u64, "page {page} holds {seen}");
            Ok(nanos)
        };
        pages.iter().map(load).collect()
    }

    pub(super) fn store(&self, pages: &[usize], value: u64) -> Vec<u64> {
        let store = |page: usize| timed(|| self.of(page).store(value + page as u64, Ordering::Release));
        pages.iter().copied().map(store).collect()
    }

    pub(super) fn sweep(&self, pages: usize, step: usize, expect: u64) -> Result<Vec<u64>> {
        let start = now_nanos();
        for page in strided(pages, step) {
            let seen = self.of(page).load(Ordering::Relaxed);
            ensure!(seen == expect + page as u64, "page {page} holds {seen}");
        }
        Ok(vec![now_nanos() - start])
    }

    pub(super) fn fill(&self, pages: usize, step: usize, value: u64) -> Vec<u64> {
        let fill = || {
            strided(pages, step).for_each(|page| self.of(page).store(value + page as u64, Ordering::Relaxed));
        };
        vec![timed(fill)]
    }

    pub(super) fn scatter(&self, pages: &[usize], threads: usize) -> Vec<u64> {
        let part = |pages: &[usize]| pages.iter().for_each(|page| _ = self.of(*page).load(Ordering::Relaxed));
        let part = &part;
        let all = || {
            std::thread::scope(|scope| {
                for pages in pages.chunks(pages.len().div_ceil(threads)) {
                    scope.spawn(move || part(pages));
                }
            });
        };
        vec![timed(all)]
    }

    pub(super) fn attach(&self, region: &str) -> Result<Vec<u64>> {
        let start = now_nanos();
        let region =
            Region::attach_to(&self.socket, region).with_context(|| format!("cannot attach to {region}"))?;
        region.words()[0].load(Ordering::Relaxed);
        Ok(vec![now_nanos() - start])
    }
}

/// All of so many pages, in steps: time after time, each beginning one page further.
fn strided(pages: usize, step: usize) -> impl Iterator<Item = usize> {
    (0..step).flat_map(move |first| (first..pages).step_by(step))
}

/// Adds up words; once before anything is measured.
pub(super) fn passes(words: &[AtomicU64], times: usize) -> Vec<u64> {
    let pass = || words.iter().fold(0_u64, |sum, word| sum.wrapping_add(word.load(Ordering::Relaxed)));
    std::hint::black_box(pass());
    (0..times).map(|_| timed(|| _ = std::hint::black_box(pass()))).collect()
}

/// The same in memory of this process, in pages of the same size as a region's.
pub(super) fn plain_passes(words: usize, times: usize) -> Result<Vec<u64>> {
    let len = NonZeroUsize::new(words * size_of::<AtomicU64>()).context("no words")?;
    let (protection, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
    // SAFETY: a new mapping at an address that the kernel chooses touches no memory that is in use.
    let base = unsafe { mmap_anonymous(None, len, protection, flags) }?;
    // SAFETY: it is the mapping of above, whose contents this does not change.
    unsafe { madvise(base, len.get(), MmapAdvise::MADV_NOHUGEPAGE) }?;
    // SAFETY: the mapping is zeros, aligned to pages, stays as long as this process, and is used as these words only.
    let words = unsafe { std::slice::from_raw_parts(base.as_ptr().cast::<AtomicU64>(), words) };
    words.iter().for_each(|word| word.store(1, Ordering::Relaxed));
    let nanos = passes(words, times);
    // SAFETY: nothing refers to it any more.
    unsafe { nix::sys::mman::munmap(base, len.get()) }?;
    Ok(nanos)
}
