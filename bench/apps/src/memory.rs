//! Shared memory: a file that all processes map, and what lies where in it.

use std::error::Error;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::fcntl::OFlag;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, shm_open};
use nix::sys::stat::{Mode, fstat};

/// Where arrays begin, so that no two of them share a page.
pub(crate) const PAGE: usize = 4096;

/// Numbers of which every pattern of bits is one.
///
/// # Safety
/// That is so, and the type's alignment divides [`PAGE`].
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: every pattern of bits is one.
unsafe impl Plain for u32 {}
// SAFETY: every pattern of bits is one.
unsafe impl Plain for u64 {}
// SAFETY: every pattern of bits is one.
unsafe impl Plain for f64 {}

/// A place for an array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<T> {
    offset: usize,
    len: usize,
    of: PhantomData<T>,
}

/// What has been given a place so far. Each process plans the same.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    bytes: usize,
}

impl Plan {
    /// A place for so many numbers, on pages of their own.
    ///
    /// # Panics
    /// If an address cannot reach so far; no limit of a program's size lets that happen.
    pub(crate) fn place<T: Plain>(&mut self, len: usize) -> Place<T> {
        let place = Place { offset: self.bytes, len, of: PhantomData };
        let bytes = len.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_next_multiple_of(PAGE));
        self.bytes = bytes.and_then(|bytes| self.bytes.checked_add(bytes)).expect("sizes are limited");
        place
    }

    /// Bytes of all places.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Mapped shared memory. It stays until the process ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    base: NonNull<u8>,
    bytes: usize,
}

impl Memory {
    /// Maps the shared-memory object of that name, which is there already.
    ///
    /// # Errors
    /// It is not, or it is too small.
    pub(crate) fn open(name: &str, plan: &Plan) -> Result<Memory, Box<dyn Error>> {
        let file = shm_open(name, OFlag::O_RDWR, Mode::empty())
            .map_err(|error| format!("shm_open of `{}`: {error}", name.escape_debug()))?;
        let there = usize::try_from(fstat(&file)?.st_size)?;
        let bytes = NonZeroUsize::new(plan.bytes).ok_or("there is nothing to share")?;
        if there < bytes.get() {
            return Err(format!("`{}` has {there} bytes, and {bytes} are needed", name.escape_debug()).into());
        }
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that is in use.
        let base = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, &file, 0) }
            .map_err(|error| format!("mmap of `{}`: {error}", name.escape_debug()))?;
        Ok(Memory { base: base.cast(), bytes: bytes.get() })
    }

    /// The array at a place of the plan that this was opened with.
    pub(crate) fn at<T: Plain>(&self, place: Place<T>) -> Shared<T> {
        assert!(place.offset + place.len * size_of::<T>() <= self.bytes, "another plan's place");
        // SAFETY: the place lies within the mapping.
        let first = unsafe { self.base.byte_add(place.offset) }.cast();
        Shared { first, len: place.len }
    }
}

/// An array in shared memory. Who may read and write which part when is for the program to agree on, as ever with shared memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared<T> {
    first: NonNull<T>,
    len: usize,
}

impl<T: Plain> Shared<T> {
    /// A part of it.
    ///
    /// # Safety
    /// As long as the slice is in use, nobody writes to that part, in any process.
    pub(crate) unsafe fn read(self, part: Range<usize>) -> &'static [T] {
        assert!(part.start <= part.end && part.end <= self.len, "beyond the array");
        // SAFETY: the part lies in the mapping, which stays; every pattern of bits is a T; the caller vouches for the rest.
        unsafe { NonNull::slice_from_raw_parts(self.first.add(part.start), part.len()).as_ref() }
    }

    /// A part of it, to be written.
    ///
    /// # Safety
    /// As long as the slice is in use, nobody else reads or writes that part, in any process.
    pub(crate) unsafe fn write(self, part: Range<usize>) -> &'static mut [T] {
        assert!(part.start <= part.end && part.end <= self.len, "beyond the array");
        // SAFETY: the part lies in the mapping, which stays; every pattern of bits is a T; the caller vouches for the rest.
        unsafe { NonNull::slice_from_raw_parts(self.first.add(part.start), part.len()).as_mut() }
    }

    /// Its length.
    pub(crate) fn len(self) -> usize {
        self.len
    }
}

impl Shared<u64> {
    /// A word that several write.
    pub(crate) fn word(self, index: usize) -> &'static AtomicU64 {
        assert!(index < self.len, "beyond the array");
        // SAFETY: the word lies in the mapping, which stays, and is aligned; whoever uses it otherwise than as an atomic one has
        // vouched that nobody else does so at the same time.
        unsafe { AtomicU64::from_ptr(self.first.add(index).as_ptr()) }
    }
}
