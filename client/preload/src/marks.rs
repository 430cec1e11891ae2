//! What each descriptor number means to us: nothing, one of our own, or a region that the program opened. Read without a
//! lock, so that calls on other descriptors cost one load; written only by whoever has the lock.
//!
//! A mark may be stale: some closes pass us by (`fclose`, raw system calls). So before a mark is believed, the descriptor's
//! file is compared with the region's.

use core::sync::atomic::{AtomicI32, AtomicU16, Ordering};

/// Numbers that can be marked. A region cannot be opened at a higher one.
pub(crate) const NUMBERS: usize = 1 << 16;

static MARKS: [AtomicU16; NUMBERS] = [const { AtomicU16::new(0) }; NUMBERS];
/// No mark is above it.
static HIGHEST: AtomicI32 = AtomicI32::new(-1);

/// Meaning of a descriptor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// None of our business.
    Foreign,
    /// An attachment lives on it.
    Ours,
    /// The program's name for a region.
    Region {
        /// Which.
        slot: u8,
        /// Opened with `O_RDWR`.
        writable: bool,
    },
}

impl Mark {
    fn encode(self) -> u16 {
        match self {
            Mark::Foreign => 0,
            Mark::Ours => 1,
            Mark::Region { slot, writable } => 2 | u16::from(writable) | (u16::from(slot) << 8),
        }
    }

    fn decode(bits: u16) -> Mark {
        match bits {
            0 => Mark::Foreign,
            1 => Mark::Ours,
            _ => Mark::Region { slot: (bits >> 8) as u8, writable: bits & 1 != 0 },
        }
    }
}

/// The mark of a descriptor number.
pub(crate) fn get(fd: i32) -> Mark {
    let mark = usize::try_from(fd).ok().and_then(|fd| MARKS.get(fd));
    mark.map_or(Mark::Foreign, |mark| Mark::decode(mark.load(Ordering::Acquire)))
}

/// Whether the number is the program's name for a region.
pub(crate) fn is_region(fd: i32) -> bool {
    matches!(get(fd), Mark::Region { .. })
}

/// Sets the mark of a descriptor number and returns the old one. The caller has the lock. A number that is too high
/// keeps no mark.
pub(crate) fn set(fd: i32, mark: Mark) -> Mark {
    let Some(cell) = usize::try_from(fd).ok().and_then(|fd| MARKS.get(fd)) else { return Mark::Foreign };
    if mark != Mark::Foreign {
        HIGHEST.fetch_max(fd, Ordering::Release);
    }
    Mark::decode(cell.swap(mark.encode(), Ordering::AcqRel))
}

/// No number above this one is marked; -1 if none is.
pub(crate) fn highest() -> i32 {
    HIGHEST.load(Ordering::Acquire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_their_encoding() {
        for slot in [0, 1, 31, 255] {
            for writable in [false, true] {
                let mark = Mark::Region { slot, writable };
                assert_eq!(Mark::decode(mark.encode()), mark);
            }
        }
        for mark in [Mark::Foreign, Mark::Ours] {
            assert_eq!(Mark::decode(mark.encode()), mark);
        }
    }

    #[test]
    fn numbers_out_of_range_are_foreign() {
        for fd in [-1, i32::MIN, NUMBERS as i32, i32::MAX] {
            assert_eq!(set(fd, Mark::Ours), Mark::Foreign);
            assert_eq!(get(fd), Mark::Foreign);
        }
    }
}
