//! The file that holds a region's pages on this node.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate, open, openat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, Whence, lseek64, unlinkat};

use super::read_only;

/// How the names of region files begin.
pub(crate) const FILE_PREFIX: &str = "region-";

/// Behind the name of a region file: the file for contents that were given away.
const ASIDES: &str = ".asides";

/// A region's pages on this node, page `n` at offset `n * page size`. A page that this node does not hold is a hole.
/// The name stays until it is [removed](RegionFile::remove), so that another process can go on with the pages; programs keep
/// what they have mapped in any case.
///
/// Beside it is a file that no program gets, for contents that were given away until their new owners are known to have
/// them: at the same offsets.
#[derive(Debug)]
pub struct RegionFile {
    file: File,
    asides: File,
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
        let directory = directory(dir, file_name)?;
        let make = |name: &str| {
            match unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(io::Error::from(errno)),
            }
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
            let file: File = openat(&directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into();
            file.set_len(len)?;
            Ok(file)
        };
        let (file, asides) = (make(file_name)?, make(&format!("{file_name}{ASIDES}"))?);
        let (len, named) = (AtomicU64::new(len), AtomicBool::new(true));
        Ok(RegionFile { file, asides, len, path: dir.join(file_name), named })
    }

    /// Opens the file of `len` bytes that an earlier process of this agent has made. As long as it has a name, it has not been let go of.
    ///
    /// # Errors
    /// It is not there, or not in a tmpfs.
    pub fn open(dir: &Path, file_name: &str, len: u64) -> io::Result<RegionFile> {
        let directory = directory(dir, file_name)?;
        let open = |name: &str| -> io::Result<File> {
            let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
            Ok(openat(&directory, name, flags, Mode::empty())?.into())
        };
        let (file, asides) = (open(file_name)?, open(&format!("{file_name}{ASIDES}"))?);
        for file in [&file, &asides] {
            if file.metadata()?.len() != len {
                file.set_len(len)?;
            }
        }
        let (len, named) = (AtomicU64::new(len), AtomicBool::new(true));
        Ok(RegionFile { file, asides, len, path: dir.join(file_name), named })
    }

    /// The descriptor that programs get.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Opens it for a program that may only read: a descriptor that nobody can turn into one for writing.
    ///
    /// # Errors
    /// This process may not mount, or the file has no name any more.
    pub fn open_read_only(&self) -> io::Result<File> {
        let (Some(dir), Some(name)) =
            (self.path.parent(), self.path.file_name().and_then(|name| name.to_str()))
        else {
            return Err(io::Error::other("a region file has a directory and a name"));
        };
        let file = read_only::open(dir, name)?;
        // By now another region's file may have the name.
        let (this, found) = (self.file.metadata()?, file.metadata()?);
        if (this.dev(), this.ino()) == (found.dev(), found.ino()) {
            Ok(file)
        } else {
            Err(io::Error::from(io::ErrorKind::NotFound))
        }
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
        self.asides.set_len(len)?;
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
        let mut asides = self.path.clone().into_os_string();
        asides.push(ASIDES);
        // Another agent's file may have this name by now only if it was told to use our directory.
        for path in [self.path.as_path(), Path::new(&asides)] {
            if let Err(error) = fs::remove_file(path) {
                tracing::debug!(path = %path.display(), %error, "the region file was gone already");
            }
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

    /// Whether any of `len` bytes from `offset` on is there. Looking makes nothing.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn has(&self, offset: u64, len: u64) -> io::Result<bool> {
        Ok(self.next_there(offset)?.is_some_and(|data| data < offset + len))
    }

    /// The first byte at or behind `offset` that is there. Looking makes nothing.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn next_there(&self, offset: u64) -> io::Result<Option<u64>> {
        match lseek64(&self.file, offset.cast_signed(), Whence::SeekData) {
            Ok(data) => Ok(Some(data.cast_unsigned())),
            Err(Errno::ENXIO) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes `len` bytes of pages from the file and from every program. Wakes nobody.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        punch(&self.file, offset, len)
    }

    /// Puts contents aside.
    ///
    /// # Errors
    /// The tmpfs, or the agent's memory limit, is full.
    pub fn put_aside(&self, offset: u64, page: &[u8]) -> io::Result<()> {
        self.asides.write_all_at(page, offset)
    }

    /// Fills `page` with what was put aside.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn read_aside(&self, offset: u64, page: &mut [u8]) -> io::Result<()> {
        self.asides.read_exact_at(page, offset)
    }

    /// Frees what was put aside.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn forget_aside(&self, offset: u64, len: u64) -> io::Result<()> {
        punch(&self.asides, offset, len)
    }
}

fn punch(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    loop {
        match fallocate(file, flags, offset.cast_signed(), len.cast_signed()) {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Removes the region files in a directory, but those of these names.
pub(crate) fn remove_region_files(dir: &Path, but: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let keep = but.contains(&name.strip_suffix(ASIDES).unwrap_or(&name));
        if entry.file_type()?.is_file() && name.starts_with(FILE_PREFIX) && !keep {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Opens the directory for a region file of this name.
fn directory(dir: &Path, file_name: &str) -> io::Result<OwnedFd> {
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
    Ok(directory)
}
