//! The file that holds a region's pages on this node.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate, open, openat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// A region's pages on this node, page `n` at offset `n * page size`. A page that this node does not hold is a hole.
/// The name goes away with the value; programs keep what they have mapped.
#[derive(Debug)]
pub struct RegionFile {
    file: File,
    len: AtomicU64,
    path: PathBuf,
    /// Whether `path` is still its name.
    named: AtomicBool,
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
        let directory = open(dir, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        if fstatfs(&directory)?.filesystem_type() != TMPFS_MAGIC {
            return Err(io::Error::other(format!(
                "{} is not in a tmpfs, where region memory must be: name a directory in one, for example /dev/shm",
                dir.display()
            )));
        }
        match unlinkat(&directory, file_name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let file = openat(&directory, file_name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into();
        let (len, named) = (AtomicU64::new(len), AtomicBool::new(true));
        let file = RegionFile { file, len, path: dir.join(file_name), named };
        file.file.set_len(file.len())?;
        Ok(file)
    }

    /// The descriptor that programs get.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Where its name was made.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes, holes included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Makes the file longer, by a hole. What is mapped of it stays as it is.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    ///
    /// # Panics
    /// If it would become shorter.
    pub fn grow(&self, len: u64) -> io::Result<()> {
        assert!(len >= self.len(), "a region does not shrink");
        self.file.set_len(len)?;
        self.len.store(len, Ordering::Release);
        Ok(())
    }

    /// Bytes of memory that its pages take.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        // The unit is 512 bytes, whatever the file system's block is: stat(2).
        fstat(&self.file).map_or(0, |stat| stat.st_blocks.cast_unsigned() * 512)
    }

    /// Gives up its name, so that another file can have it. The memory goes with the last who has the file open or
    /// mapped.
    pub fn remove(&self) {
        if !self.named.swap(false, Ordering::AcqRel) {
            return;
        }
        // Another agent's file may have this name by now only if it was told to use our directory.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the region file was gone already");
        }
    }

    /// Fills `page` from the file. Programs that write the region have the file too and can cut it short, which no
    /// seal on a tmpfs prevents: what they cut off is zeros then, as if they had written them, and the file gets its
    /// length back.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn read_page(&self, offset: u64, page: &mut [u8]) -> io::Result<()> {
        match self.file.read_exact_at(page, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                tracing::warn!(path = %self.path.display(), "a program has cut a region file short: zeros replace what it removed");
                self.file.set_len(self.len())?;
                self.file.read_exact_at(page, offset)
            }
            other => other,
        }
    }

    /// Puts `page` into the file. Programs that have it mapped see it at once, others not before they map it.
    ///
    /// # Errors
    /// The tmpfs, or the agent's memory limit, is full.
    pub fn write_page(&self, offset: u64, page: &[u8]) -> io::Result<()> {
        self.file.write_all_at(page, offset)
    }

    /// Removes `len` bytes of pages from the file and from every program. Wakes nobody.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        loop {
            match fallocate(&self.file, flags, offset.cast_signed(), len.cast_signed()) {
                Ok(()) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for RegionFile {
    fn drop(&mut self) {
        self.remove();
    }
}
