//! The shared memory of a run.

use std::fs::{self, File};

use anyhow::{Context, Result};
use nix::fcntl::{FallocateFlags, fallocate};

/// Shared memory, by the name that `shm_open` takes.
#[derive(Debug)]
pub(super) enum Memory {
    /// Of this machine. Its name goes when this is dropped, and the memory with the last process that has mapped it.
    Plain(String),
    /// A region.
    Region(String),
}

impl Memory {
    /// New memory of this machine, which holds zeros.
    pub(super) fn make(bytes: u64) -> Result<Memory> {
        let name = format!("/pagemesh-apps-{}", std::process::id());
        let path = path(&name);
        let file = File::create_new(&path).with_context(|| format!("{path} cannot be made"))?;
        let memory = Memory::Plain(name);
        // A program would end by SIGBUS where memory is missing that nobody has reserved.
        fallocate(&file, FallocateFlags::empty(), 0, i64::try_from(bytes)?).with_context(|| {
            format!("/dev/shm has no room for {bytes} bytes; make it larger, or choose a smaller SIZE")
        })?;
        Ok(memory)
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Memory::Plain(name) | Memory::Region(name) => name,
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Memory::Plain(name) = self {
            let _ = fs::remove_file(path(name));
        }
    }
}

/// Where the memory of this machine is that has this name.
fn path(name: &str) -> String {
    format!("/dev/shm{name}")
}
