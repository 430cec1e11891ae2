//! The words in a region's header page: docs/src/attach-protocol.md. They are shared memory like any other, so each access
//! may wait for another node: never with the lock held. The page stays mapped as long as the `Header` lives.
//!
//! A region exists because it was declared, so it can be opened before any program has made it with `O_CREAT`; the state
//! word only decides who of those that say `O_CREAT | O_EXCL` is first. `shm_unlink` gives that up again, and with it the
//! logical size. The data stays, for other nodes may be using it: a region is emptied by who declared it.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::lock::lock;
use crate::state::State;

const STATE: usize = 0;
const LOGICAL_SIZE: usize = 1;

const DECLARED: u64 = 0;
const CREATED: u64 = 1;

/// A mapped header page.
pub(crate) struct Header {
    slot: usize,
    address: usize,
    size: u64,
    read_only: bool,
}

impl Header {
    /// The header of the region in `slot`, whose pins the caller has counted up.
    pub(crate) fn new(slot: usize, address: usize, size: u64, read_only: bool) -> Header {
        Header { slot, address, size, read_only }
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        let words = core::ptr::with_exposed_provenance::<AtomicU64>(self.address);
        // SAFETY: the page is mapped and aligned, and is pinned until `self` is dropped. Whoever stores to it has seen that
        // it is mapped for writing.
        unsafe { &*words.add(index) }
    }

    /// Gives the pin up without taking the lock, which the caller has.
    pub(crate) fn unpinned(self, state: &mut State) -> usize {
        let slot = self.slot;
        core::mem::forget(self);
        state.unpin_only(slot);
        slot
    }

    /// Which region it is.
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    /// Whether the program may only read. Then nothing here may be changed.
    pub(crate) fn read_only(&self) -> bool {
        self.read_only
    }

    /// The region's size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Makes the region as with `O_CREAT`. False: somebody in the mesh had made it before.
    pub(crate) fn create(&self) -> bool {
        let state = self.word(STATE);
        // A compare-and-swap that fails takes the page away from everybody all the same, so look first.
        state.load(Ordering::SeqCst) == DECLARED
            && state.compare_exchange(DECLARED, CREATED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Gives the name up.
    pub(crate) fn unlink(&self) {
        self.set_logical_size(0);
        if self.word(STATE).load(Ordering::SeqCst) != DECLARED {
            self.word(STATE).store(DECLARED, Ordering::SeqCst);
        }
    }

    /// What `fstat` tells: the size that a program gave it, else all of it; never more, whatever the word says.
    pub(crate) fn visible_size(&self) -> u64 {
        match self.word(LOGICAL_SIZE).load(Ordering::SeqCst) {
            0 => self.size,
            logical => logical.min(self.size),
        }
    }

    /// Sets the size that programs see. 0: all of it.
    pub(crate) fn set_logical_size(&self, size: u64) {
        if self.word(LOGICAL_SIZE).load(Ordering::SeqCst) != size {
            self.word(LOGICAL_SIZE).store(size, Ordering::SeqCst);
        }
    }

    /// Sets the size that programs see, unless one that is not smaller is set.
    pub(crate) fn grow_logical_size(&self, size: u64) {
        if self.word(LOGICAL_SIZE).load(Ordering::SeqCst) < size {
            self.word(LOGICAL_SIZE).fetch_max(size, Ordering::SeqCst);
        }
    }
}

impl Drop for Header {
    fn drop(&mut self) {
        lock().unpin(self.slot);
    }
}
