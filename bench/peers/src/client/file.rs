//! A file, past this machine's cache (`O_DIRECT`), with every write on the server's disk before it returns (`O_SYNC`).
//!
//! It has no counter. NFS has no atomic addition, only locks, and whoever waits for a lock of NFS asks for it again after a second or
//! more: a round of that would take minutes.

use std::fs::{File, OpenOptions};
use std::io::IoSliceMut;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::libc::{O_DIRECT, O_SYNC};
use nix::sys::uio::preadv;

use super::{PAGE, PAGES, Page, Shared};

pub(super) struct OnFile(File);

impl OnFile {
    pub(super) fn open(path: &Path) -> Result<OnFile> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_DIRECT | O_SYNC)
            .open(path)
            .with_context(|| format!("{} cannot be opened", path.display()))?;
        Ok(OnFile(file))
    }
}

impl Shared for OnFile {
    fn read(&mut self, page: usize, to: &mut Page) -> Result<()> {
        Ok(self.0.read_exact_at(&mut to.0, (page * PAGE) as u64)?)
    }

    fn write(&mut self, page: usize, from: &Page) -> Result<()> {
        Ok(self.0.write_all_at(&from.0, (page * PAGE) as u64)?)
    }

    fn sweep(&mut self, to: &mut [Page]) -> Result<()> {
        let mut parts: Vec<_> = to.iter_mut().map(|page| IoSliceMut::new(&mut page.0)).collect();
        let read = preadv(&self.0, &mut parts, 0)?;
        ensure!(read == PAGES * PAGE, "{read} bytes are read");
        Ok(())
    }

    fn add(&mut self) -> Result<()> {
        bail!("a file has no counter")
    }

    fn value(&mut self) -> Result<u64> {
        bail!("a file has no counter")
    }
}
