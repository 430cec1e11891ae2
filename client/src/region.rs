//! Regions as Rust programs see them.

use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use pagemesh_attach::Error;

use crate::mapped::{Access, Mapped};

/// A region, mapped whole for reading and writing. Dropping it unmaps it and ends the attachment.
///
/// Other processes, here and on other nodes, change this memory at any time. So it is handed out as atomics, or as a
/// pointer for which the caller answers.
///
/// A first touch of a page may wait for other nodes. If the agent goes away, a thread that needs it waits at that access.
///
/// After `fork` the child has no mapping: [`attach`](Region::attach) again there. (The preload library does this by itself
/// for what a program mapped with `shm_open` and `mmap`.)
#[derive(Debug)]
pub struct Region(Mapped);

impl Region {
    /// Attaches to region `NAME` or `NAMESPACE/NAME` at the agent that `PAGEMESH_SOCKET` names.
    ///
    /// # Errors
    ///
    /// Each [`Error`] says what to do. [`Error::ReadOnly`]: this program may only read it.
    pub fn attach(name: &str) -> Result<Region, Error> {
        Mapped::attach(name, Access::ReadWrite).map(Region)
    }

    /// Attaches to a region at the agent that listens at `socket`.
    ///
    /// # Errors
    ///
    /// Each [`Error`] says what to do. [`Error::ReadOnly`]: this program may only read it.
    pub fn attach_to(socket: &Path, name: &str) -> Result<Region, Error> {
        Mapped::attach_to(socket, name, Access::ReadWrite).map(Region)
    }

    /// Attaches to read only, at the agent that `PAGEMESH_SOCKET` names: what every program may do that may attach at all.
    ///
    /// # Errors
    ///
    /// Each [`Error`] says what to do.
    pub fn attach_read_only(name: &str) -> Result<ReadOnlyRegion, Error> {
        Mapped::attach(name, Access::Read).map(ReadOnlyRegion)
    }

    /// Attaches to read only, at the agent that listens at `socket`.
    ///
    /// # Errors
    ///
    /// Each [`Error`] says what to do.
    pub fn attach_read_only_to(socket: &Path, name: &str) -> Result<ReadOnlyRegion, Error> {
        Mapped::attach_to(socket, name, Access::Read).map(ReadOnlyRegion)
    }

    /// Bytes of data.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: a region has a page at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Bytes of a page: what nodes share at a time. Keep what different nodes write in different pages.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.0.page_size()
    }

    /// The first byte of the data, aligned to 4 KiB. Valid until the region is dropped.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.0.as_ptr()
    }

    /// The data as 64-bit words.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is aligned, lives as long as `self`, and any bytes are a value of an atomic word. That
        // others change it at the same time is what atomics are for.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.len() / size_of::<AtomicU64>()) }
    }

    /// The data as bytes.
    #[must_use]
    pub fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: as for `words`.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.len()) }
    }
}

/// A region, mapped whole for reading alone: by [`Region::attach_read_only`]. Like [`Region`] in all else; a store to its
/// memory ends the process with SIGSEGV.
#[derive(Debug)]
pub struct ReadOnlyRegion(Mapped);

impl ReadOnlyRegion {
    /// Bytes of data.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: a region has a page at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Bytes of a page: what nodes share at a time.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.0.page_size()
    }

    /// The first byte of the data, aligned to 4 KiB. Valid until the region is dropped.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    /// A 64-bit word, read at once. None: the region ends before it.
    #[must_use]
    pub fn load(&self, index: usize, ordering: Ordering) -> Option<u64> {
        let words = self.as_ptr().cast::<AtomicU64>();
        // SAFETY: it is within the mapping, aligned, and lives as long as `self`. It is only read, which the processor does
        // with a plain load of a word.
        (index < self.len() / size_of::<u64>()).then(|| unsafe { (*words.add(index)).load(ordering) })
    }

    /// A byte. None: the region ends before it.
    #[must_use]
    pub fn load_byte(&self, index: usize, ordering: Ordering) -> Option<u8> {
        let bytes = self.as_ptr().cast::<AtomicU8>();
        // SAFETY: as for `load`.
        (index < self.len()).then(|| unsafe { (*bytes.add(index)).load(ordering) })
    }
}
