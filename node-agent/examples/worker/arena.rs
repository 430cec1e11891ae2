//! Ordinary shared memory, in which the workers of one test meet without help from what is being tested.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Words that all workers of a test see.
pub(crate) struct Arena {
    words: &'static [AtomicU64],
}

/// Words of an arena.
pub(crate) const WORDS: usize = 4096;

impl Arena {
    /// Maps the file `path`, which the first one to come makes.
    pub(crate) fn open(path: &str) -> Result<Arena, String> {
        let say = |error: std::io::Error| format!("{path}: {error}");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(say)?;
        file.set_len((WORDS * 8) as u64).map_err(say)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping that replaces nothing and is never unmapped.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), WORDS * 8, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if at == libc::MAP_FAILED {
            return Err(say(std::io::Error::last_os_error()));
        }
        // SAFETY: the mapping has `WORDS` words, is page-aligned and lives as long as the process.
        Ok(Arena { words: unsafe { std::slice::from_raw_parts(at.cast(), WORDS) } })
    }

    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        &self.words[at]
    }

    /// Returns when all of `count` workers have come here for the `round`th time. Word 0 counts them.
    pub(crate) fn meet(&self, count: u64, round: &mut u64) {
        *round += 1;
        let all = *round * count;
        self.words[0].fetch_add(1, SeqCst);
        while self.words[0].load(SeqCst) < all {
            std::thread::yield_now();
        }
    }
}
