//! Buffers for pages on their way out, used again and again: the fault path does not allocate.

use std::rc::Rc;

use super::{PAGE_SIZE_MAX, PAGE_SIZE_MIN, is_page_size};

/// The contents of a page, shared between the aside and the connections that send it. No copy is made.
pub type PageBuffer = Rc<[u8]>;

const CLASSES: usize = (PAGE_SIZE_MAX.ilog2() - PAGE_SIZE_MIN.ilog2() + 1) as usize;

/// Bytes of free buffers that are kept for each size of page; never less than [`KEPT_MIN`] buffers.
const KEPT_BYTES: usize = 4 << 20;
const KEPT_MIN: usize = 4;

/// Free page buffers, by size.
#[derive(Debug, Default)]
pub struct PagePool {
    free: [Vec<PageBuffer>; CLASSES],
}

impl PagePool {
    /// A buffer of `len` bytes with whatever was in it before, that nobody else has.
    ///
    /// # Panics
    /// If pages cannot have this size.
    pub fn take(&mut self, len: u32) -> PageBuffer {
        self.free[class(len)].pop().unwrap_or_else(|| Rc::from(vec![0; len as usize]))
    }

    /// A buffer of `len` bytes, filled by `fill`.
    ///
    /// # Errors
    /// Those of `fill`.
    ///
    /// # Panics
    /// If pages cannot have this size.
    pub fn filled<E>(
        &mut self,
        len: u32,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<PageBuffer, E> {
        let mut buffer = self.take(len);
        fill(Rc::get_mut(&mut buffer).expect("a buffer in the pool has no other user"))?;
        Ok(buffer)
    }

    /// Takes a buffer back. If somebody else still uses it, that one brings it back later.
    pub fn give(&mut self, mut buffer: PageBuffer) {
        if Rc::get_mut(&mut buffer).is_none() {
            return;
        }
        let len = buffer.len();
        let free = &mut self.free[class(len as u32)];
        if free.len() < (KEPT_BYTES / len).max(KEPT_MIN) {
            free.push(buffer);
        }
    }
}

fn class(len: u32) -> usize {
    assert!(is_page_size(len), "{len} bytes are not a page");
    (len.ilog2() - PAGE_SIZE_MIN.ilog2()) as usize
}
