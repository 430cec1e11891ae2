//! A file, past this machine's cache (`O_DIRECT`), with every write on the server's disk before it returns (`O_SYNC`).

use std::fs::{File, OpenOptions};
use std::io::IoSliceMut;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_UNLCK, F_WRLCK, O_DIRECT, O_SYNC, SEEK_SET, flock};
use nix::sys::uio::preadv;

use super::{PAGE, PAGES, Page, Shared};

/// Where the counter's page is.
const COUNTER: u64 = (PAGES * PAGE) as u64;

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

    /// Locks the counter's page against other processes, on whatever machine, or unlocks it.
    fn lock(&self, kind: i32) -> Result<()> {
        let lock = flock {
            l_type: kind as _,
            l_whence: SEEK_SET as _,
            l_start: COUNTER as _,
            l_len: PAGE as _,
            l_pid: 0,
        };
        fcntl(&self.0, FcntlArg::F_SETLKW(&lock)).context("the file cannot be locked")?;
        Ok(())
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
        self.lock(F_WRLCK)?;
        let value = self.value()?;
        self.0.write_all_at(&Page::of(value + 1).0, COUNTER)?;
        self.lock(F_UNLCK)
    }

    fn value(&mut self) -> Result<u64> {
        let mut page = Page::of(0);
        self.0.read_exact_at(&mut page.0, COUNTER)?;
        Ok(u64::from_le_bytes(std::array::from_fn(|byte| page.0[byte])))
    }
}
