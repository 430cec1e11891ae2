//! What the faults of one attachment have cost, in one shard. Only that shard adds; anybody may read, at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A line of the processor's cache of its own, so that who adds is not held up by what is beside it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Counts {
    faults: AtomicU64,
    bytes: AtomicU64,
    wait_nanos: AtomicU64,
}

/// What [`Counts`] were at some time. Not at one instant: each number is right by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Page faults that were served.
    pub faults: u64,
    /// Bytes of the pages that were mapped for them.
    pub bytes: u64,
    /// For how long they waited, from when the agent had read them.
    pub wait_nanos: u64,
}

impl Counts {
    /// A fault was served, for which so many bytes were mapped.
    pub(super) fn served(&self, bytes: u64, waited: Duration) {
        self.faults.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.wait_nanos.fetch_add(waited.as_nanos() as u64, Relaxed);
    }

    /// What they are now.
    #[must_use]
    pub fn read(&self) -> Counted {
        Counted {
            faults: self.faults.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            wait_nanos: self.wait_nanos.load(Relaxed),
        }
    }
}

impl std::iter::Sum for Counted {
    fn sum<I: Iterator<Item = Counted>>(all: I) -> Counted {
        all.fold(Counted::default(), |sum, one| Counted {
            faults: sum.faults + one.faults,
            bytes: sum.bytes + one.bytes,
            wait_nanos: sum.wait_nanos + one.wait_nanos,
        })
    }
}
