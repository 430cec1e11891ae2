//! The file that holds a region's pages on this node.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

/// `TMPFS_MAGIC` of `linux/magic.h`.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// A region's pages on this node, page `n` at offset `n * page size`. A page that this node does not hold is a hole.
/// The name goes away with the value; programs keep what they have mapped.
#[derive(Debug)]
pub struct RegionFile {
    fd: OwnedFd,
    len: u64,
    path: PathBuf,
}

impl RegionFile {
    /// Makes an empty file of `len` bytes. What an agent that died here has left under this name is removed: nobody
    /// serves the faults on it any more, so nothing in it can be relied on.
    ///
    /// # Errors
    /// The directory is not in a tmpfs, or the file cannot be made.
    pub fn create(dir: &Path, file_name: &str, len: u64) -> io::Result<RegionFile> {
        if file_name.is_empty() || file_name.contains('/') {
            return Err(io::Error::other(format!("{file_name:?} cannot be the name of a region file")));
        }
        let directory = fs::open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        if fs::fstatfs(&directory)?.f_type != TMPFS_MAGIC {
            return Err(io::Error::other(format!(
                "{} is not in a tmpfs, where region memory must be: name a directory in one, for example /dev/shm",
                dir.display()
            )));
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match fs::unlinkat(&directory, file_name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let fd = fs::openat(&directory, file_name, flags, Mode::RUSR | Mode::WUSR)?;
        let file = RegionFile { fd, len, path: dir.join(file_name) };
        fs::ftruncate(&file.fd, len)?;
        Ok(file)
    }

    /// The descriptor that programs get.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Bytes, holes included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Fills `page` from the file.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn read_page(&self, offset: u64, page: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < page.len() {
            match rustix::io::pread(&self.fd, &mut page[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => done += len,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Puts `page` into the file. Programs that have it mapped see it at once, others not before they map it.
    ///
    /// # Errors
    /// The tmpfs, or the agent's memory limit, is full.
    pub fn write_page(&self, offset: u64, page: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < page.len() {
            match rustix::io::pwrite(&self.fd, &page[done..], offset + done as u64) {
                Ok(len) => done += len,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Removes `len` bytes of pages from the file and from every program. Wakes nobody.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        loop {
            match fs::fallocate(&self.fd, flags, offset, len) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for RegionFile {
    fn drop(&mut self) {
        // Another agent's file may have this name by now only if it was told to use our directory.
        if let Err(errno) = fs::unlinkat(CWD, &self.path, AtFlags::empty()) {
            tracing::debug!(path = %self.path.display(), %errno, "the region file was gone already");
        }
    }
}
