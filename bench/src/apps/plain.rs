//! Shared memory of this machine.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::fcntl::{FallocateFlags, fallocate};

/// A shared-memory object that holds zeros. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct Memory {
    name: String,
}

impl Memory {
    pub(super) fn make(bytes: u64) -> Result<Memory> {
        let memory = Memory { name: format!("/pagemesh-apps-{}", std::process::id()) };
        let shown = memory.path();
        let file = File::create_new(&shown).with_context(|| format!("{} cannot be made", shown.display()))?;
        // A program would end by SIGBUS where memory is missing that nobody has reserved.
        fallocate(&file, FallocateFlags::empty(), 0, i64::try_from(bytes)?).with_context(|| {
            format!("/dev/shm has no room for {bytes} bytes; make it larger, or choose a smaller SIZE")
        })?;
        Ok(memory)
    }

    /// As `shm_open` takes it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/shm{}", self.name))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path());
    }
}
