//! A stand-in for an attached program: memory of this process that is a region file, and a userfaultfd over it.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap, munmap};
use nix::unistd::{pipe, write};

use super::{DEVICE, Fault, READ_BATCH, Uffd, create};
use crate::memory::RegionFile;

/// A directory of its own in a tmpfs, removed at the end.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/dev/shm/pagemesh-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("/dev/shm can be written to");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is in nobody's way.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn new_uffd() -> Uffd {
    let device = File::open(DEVICE).expect("tests need /dev/userfaultfd: run them as root");
    Uffd::adopt(create(device).unwrap()).unwrap()
}

/// What a hostile program may do to its userfaultfd: the flag is shared with the agent's descriptor.
pub(crate) fn make_blocking(uffd: impl AsFd) {
    fcntl(uffd, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
}

/// A mapping of a whole region file, unmapped at the end.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is touched only through atomics and system calls.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(crate) fn of(file: &RegionFile) -> Mapping {
        let len = file.len() as usize;
        let size = NonZeroUsize::new(len).expect("a region is never empty");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping where the kernel likes, of a file that is as long.
        let base = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, file.fd(), 0) }.unwrap();
        // SAFETY: the mapping is ours; how it is backed does not change what is in it.
        unsafe { madvise(base, len, MmapAdvise::MADV_NOHUGEPAGE) }.unwrap();
        Mapping { base: base.cast(), len }
    }

    pub(crate) fn base(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    /// A word of the mapping. To touch it may mean to wait for whoever serves the faults.
    pub(crate) fn word(&self, offset: u64) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset < self.len());
        // SAFETY: within the mapping, which lives as long as `self`, aligned, and never accessed but atomically.
        unsafe { self.base.add(offset as usize).cast::<AtomicU64>().as_ref() }
    }

    /// Locks a span, which makes a mapping of its own of it.
    pub(crate) fn lock(&self, offset: u64, len: u64) {
        assert!(offset + len <= self.len());
        // SAFETY: within the mapping.
        let start = unsafe { self.base.add(offset as usize) };
        // SAFETY: our own memory; locking it changes nothing of what is in it.
        unsafe { mlock(start.cast(), len as usize) }.unwrap();
    }

    /// What a system call that reads from the memory says.
    pub(crate) fn read_by_kernel(&self, offset: u64) -> Result<usize, Errno> {
        let (_reader, writer) = pipe().unwrap();
        // SAFETY: within the mapping; only the kernel reads it, and it copes with whatever is there.
        let bytes = unsafe { std::slice::from_raw_parts(self.base.add(offset as usize).as_ptr(), 8) };
        write(writer, bytes)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, to which no reference is left.
        unsafe { munmap(self.base.cast(), self.len) }.unwrap();
    }
}

/// A program with a region of its own that is served by the test itself.
pub(crate) struct Program {
    pub(crate) file: RegionFile,
    pub(crate) memory: Arc<Mapping>,
    pub(crate) uffd: Uffd,
    _directory: Directory,
}

impl Program {
    pub(crate) fn with_len(len: u64) -> Program {
        let directory = Directory::new();
        let file = RegionFile::create(&directory.0, "region", len).unwrap();
        let memory = Arc::new(Mapping::of(&file));
        let uffd = new_uffd();
        uffd.register(memory.base(), memory.len()).unwrap();
        Program { file, memory, uffd, _directory: directory }
    }

    /// Waits for a fault, as a distance from the beginning of the memory.
    pub(crate) fn fault(&self) -> Fault {
        let mut faults = [Fault::default(); READ_BATCH];
        loop {
            let mut fds = [PollFd::new(self.uffd.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::NONE).unwrap();
            let batch = self.uffd.read(&mut faults).unwrap();
            assert_eq!(batch.strange, 0);
            if batch.faults > 0 {
                assert_eq!(batch.faults, 1, "tests touch one thing at a time");
                let address = faults[0].address - self.memory.base();
                return Fault { address, ..faults[0] };
            }
        }
    }

    /// Touches a word in another thread, which waits until the fault has been served.
    pub(crate) fn touch<T: Send + 'static>(
        &self,
        offset: u64,
        how: impl FnOnce(&AtomicU64) -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let memory = self.memory.clone();
        std::thread::spawn(move || how(memory.word(offset)))
    }
}
