//! Mapping and unmapping a span of a region file in the order that keeps memory coherent. Async-signal-safe; nothing
//! allocates.

use crate::Error;
use crate::attachment::Attachment;
use crate::sys;

/// Where a mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Wherever there is room, best here (0: no wish).
    Near(usize),
    /// Exactly here, where nothing must be.
    Free(usize),
    /// Exactly here, in place of what is there.
    Over(usize),
}

/// Maps `length` bytes of the region file from `offset` on, both multiples of the region's page size. A read-only
/// attachment's are mapped private: its descriptor cannot be written to, and of such a file the kernel serves faults of
/// private mappings only. As long as nobody writes, they show what all others see.
///
/// Until the agent serves the mapping's faults nobody can touch it, for it is made without access: neither another
/// thread, nor the kernel on behalf of `mlockall(MCL_FUTURE)`, can make the region file grow zero pages that no other
/// node knows of.
///
/// # Safety
///
/// With [`Place::Over`], nobody uses what is mapped there.
///
/// # Errors
///
/// The kernel or the agent refuses, or a read-only attachment is to be mapped for writing; then nothing is mapped there.
pub unsafe fn place(
    attachment: &Attachment,
    place: Place,
    length: usize,
    offset: u64,
    protection: i32,
) -> Result<usize, Error> {
    let sharing = match attachment.read_only() {
        true if protection & libc::PROT_WRITE != 0 => return Err(Error::ReadOnly),
        true => libc::MAP_PRIVATE,
        false => libc::MAP_SHARED,
    };
    let (wish, fixed) = match place {
        Place::Near(address) => (address, 0),
        Place::Free(address) => (address, libc::MAP_FIXED_NOREPLACE),
        Place::Over(address) => (address, libc::MAP_FIXED),
    };
    let flags = sharing | fixed;
    // SAFETY: only `Place::Over` replaces anything, and for that the caller answers.
    let address = unsafe { sys::mmap(wish, length, libc::PROT_NONE, flags, attachment.file().raw(), offset) }
        .map_err(Error::Mapping)?;
    if let Err(error) = prepare(address, length).and_then(|()| attachment.map(address, length, offset)) {
        // SAFETY: we have just made it, and nobody knows its address.
        let _ = unsafe { sys::munmap(address, length) };
        return Err(error);
    }
    // SAFETY: the mapping is ours and new; this only adds access.
    if let Err(errno) = unsafe { sys::mprotect(address, length, protection) } {
        // SAFETY: as above.
        let _ = unsafe { remove(attachment, address, length) };
        return Err(Error::Mapping(errno));
    }
    Ok(address)
}

fn prepare(address: usize, length: usize) -> Result<(), Error> {
    // A child's memory would not be registered with its own userfaultfds: it would write past the protocol.
    sys::madvise(address, length, libc::MADV_DONTFORK).map_err(Error::Mapping)?;
    // A huge page cannot be taken away in parts. A kernel without huge pages says EINVAL, which is as good.
    let _ = sys::madvise(address, length, libc::MADV_NOHUGEPAGE);
    Ok(())
}

/// Makes the agent forget whole region pages, which the caller then unmaps. An agent that is gone has nothing to forget.
///
/// # Errors
///
/// [`Error::Refused`]: the agent goes on serving them, so they must stay mapped.
pub fn forget(attachment: &Attachment, address: usize, length: usize) -> Result<(), Error> {
    match attachment.unmap(address, length) {
        Err(refused @ Error::Refused(_)) => Err(refused),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Unmaps whole region pages.
///
/// # Safety
///
/// Nobody uses what is mapped there.
///
/// # Errors
///
/// The agent or the kernel refuses; then they stay mapped.
pub unsafe fn remove(attachment: &Attachment, address: usize, length: usize) -> Result<(), Error> {
    forget(attachment, address, length)?;
    // SAFETY: the caller answers for it.
    unsafe { sys::munmap(address, length) }.map_err(Error::Mapping)
}
