//! `mmap`, `munmap` and `mremap`: a mapping of a region goes through its attachment; every other one to the kernel, except
//! that what it replaces of a region is given back first. Async-signal-safe.
//!
//! A private mapping is the shared one if it is read-only, which POSIX allows; a private copy to write to is refused.
//! `MAP_POPULATE` and `MAP_LOCKED` have no effect on a region: pages come when they are touched.

use core::ffi::{c_int, c_void};
use core::ops::Range;

use pagemesh_attach::mapping::{self, Place};
use pagemesh_attach::sys::{self, Errno, KERNEL_PAGE};

use crate::claims::{self, Claim};
use crate::lock::lock;
use crate::marks;
use crate::report::{Outcome, answer, errno_of, say};
use crate::state::{State, borrowed};

/// Arguments of `mmap`, checked.
struct Request {
    address: usize,
    length: usize,
    protection: c_int,
    flags: c_int,
    offset: usize,
    /// `mprotect` may not make it writable.
    read_only: bool,
}

/// `mmap`.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    let at = address.addr();
    // SAFETY: the caller's arguments.
    let call = || unsafe { sys::mmap(at, length, protection, flags, fd, offset.cast_unsigned()) };
    let region = flags & libc::MAP_ANONYMOUS == 0 && marks::is_region(fd);
    let over_region = flags & libc::MAP_FIXED != 0 && claims::near(at, length);
    let mapped = answer(usize::MAX, || {
        if !(region || over_region) || borrowed() {
            return call();
        }
        let mut state = lock();
        match state.opened(fd).filter(|_| region) {
            Some((slot, writable)) => {
                let request = check(at, length, protection, flags, offset, writable)?;
                map_region(&mut state, slot, &request)
            }
            None if over_region => {
                let range = span(at, length)?;
                give_back(&mut state, &range)?;
                call()
            }
            None => call(),
        }
    });
    core::ptr::with_exposed_provenance_mut(mapped)
}

/// `mmap64`: see [`mmap`].
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off64_t,
) -> *mut c_void {
    // SAFETY: the caller's arguments.
    unsafe { mmap(address, length, protection, flags, fd, offset) }
}

/// The span of whole kernel pages that an address and a length mean.
pub(crate) fn span(address: usize, length: usize) -> Outcome<Range<usize>> {
    let invalid = Errno(libc::EINVAL);
    let length = length.checked_next_multiple_of(KERNEL_PAGE).filter(|length| *length > 0).ok_or(invalid)?;
    if !address.is_multiple_of(KERNEL_PAGE) {
        return Err(invalid);
    }
    Ok(address..address.checked_add(length).ok_or(invalid)?)
}

fn check(
    address: usize,
    length: usize,
    protection: c_int,
    flags: c_int,
    offset: libc::off_t,
    writable: bool,
) -> Outcome<Request> {
    let length = span(0, length)?.end;
    let offset = usize::try_from(offset).map_err(|_| Errno(libc::EINVAL))?;
    if !offset.is_multiple_of(KERNEL_PAGE) {
        return Err(Errno(libc::EINVAL));
    }
    let writes = protection & libc::PROT_WRITE != 0;
    match flags & libc::MAP_TYPE {
        libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE if writes && !writable => Err(Errno(libc::EACCES)),
        libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE => Ok(()),
        libc::MAP_PRIVATE if writes => {
            say!("a private, writable mapping of a region is not supported: map it with MAP_SHARED");
            Err(Errno(libc::ENODEV))
        }
        libc::MAP_PRIVATE => Ok(()),
        _ => Err(Errno(libc::EINVAL)),
    }?;
    let read_only = !writable || flags & libc::MAP_TYPE == libc::MAP_PRIVATE;
    Ok(Request { address, length, protection, flags, offset, read_only })
}

fn map_region(state: &mut State, slot: usize, request: &Request) -> Outcome<usize> {
    let region = state.region(slot);
    let page_size = region.attachment.page_size();
    let size = region.attachment.size() as usize;
    if request.offset.checked_add(request.length).is_none_or(|end| end > size) {
        say!(
            "mmap ends beyond region {}, which has {size} bytes: map less, or declare it larger",
            region.name
        );
        return Err(Errno(libc::ENXIO));
    }
    // The program's bytes, and the whole region pages around them.
    let head = request.offset % page_size;
    let length = (head + request.length).next_multiple_of(page_size);
    // The header page comes first in the file.
    let file_offset = page_size + request.offset - head;
    if !state.claims.have_room(1) {
        say!("this process has too many mappings of regions: unmap some, or map larger spans");
        return Err(Errno(libc::ENOMEM));
    }
    let place = place_for(state, request, head, length)?;
    let region = state.region(slot);
    // SAFETY: what is replaced is what the program asked to replace; `place_for` has seen to the rest.
    let placed =
        unsafe { mapping::place(&region.attachment, place, length, file_offset as u64, request.protection) };
    let base = placed.map_err(|error| {
        say!("cannot map region {}: {error}", region.name);
        errno_of(&error)
    })?;
    let start = base + head;
    state.claims.insert(Claim {
        start,
        end: start + request.length,
        origin: base.wrapping_sub(file_offset),
        slot: slot as u8,
        protection: request.protection,
        read_only: request.read_only,
    });
    Ok(start)
}

/// Where the whole pages go so that the program's bytes are where it wants them.
fn place_for(state: &mut State, request: &Request, head: usize, length: usize) -> Outcome<Place> {
    let wish = request.address.wrapping_sub(head);
    let fixed = request.flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) != 0;
    if !fixed {
        return Ok(Place::Near(if request.address > head { wish } else { 0 }));
    }
    let wanted = span(request.address, request.length)?;
    if request.flags & libc::MAP_FIXED_NOREPLACE != 0 {
        return Ok(Place::Free(wish));
    }
    if head != 0 || length != request.length {
        say!("MAP_FIXED of a part of a region's page is not supported: map whole pages of the region");
        return Err(Errno(libc::EINVAL));
    }
    give_back(state, &wanted)?;
    Ok(Place::Over(wish))
}

/// Makes the agent forget what of regions lies in `range`, which the caller maps anew in the same instant.
fn give_back(state: &mut State, range: &Range<usize>) -> Outcome<()> {
    if state.cuts_page(range) {
        say!("MAP_FIXED over a part of a region's page is not supported: replace whole pages of the region");
        return Err(Errno(libc::EINVAL));
    }
    release_all(state, range)
}

fn release_all(state: &mut State, range: &Range<usize>) -> Outcome<()> {
    while let Some(claim) = state.claims.first_in(range) {
        state.release(&claim, &claim.within(range), range)?;
    }
    Ok(())
}

/// `munmap`.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn munmap(address: *mut c_void, length: usize) -> c_int {
    let at = address.addr();
    answer(-1, || {
        let near = claims::near(at, length) && !borrowed();
        match span(at, length).ok().filter(|_| near) {
            Some(range) => unmap(&mut lock(), &range),
            // SAFETY: the caller's arguments.
            None => unsafe { sys::munmap(at, length) },
        }?;
        Ok(0)
    })
}

fn unmap(state: &mut State, range: &Range<usize>) -> Outcome<()> {
    release_all(state, range)?;
    // What is left of regions in the range are pages that claims beside it still need.
    let mut from = range.start;
    for kept in state.needed_in(range) {
        if from < kept.start {
            // SAFETY: the program gives it up.
            unsafe { sys::munmap(from, kept.start - from) }?;
        }
        from = from.max(kept.end);
    }
    if from < range.end {
        // SAFETY: the program gives it up.
        unsafe { sys::munmap(from, range.end - from) }?;
    }
    Ok(())
}

/// `mremap`: refused on a region's memory. Unmap it and map it again.
///
/// # Safety
///
/// As for libc's.
// In C its last argument is variadic. All our platforms pass it as if it were not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mremap(
    address: *mut c_void,
    old_length: usize,
    new_length: usize,
    flags: c_int,
    new_address: *mut c_void,
) -> *mut c_void {
    let moves = flags & libc::MREMAP_FIXED != 0;
    let of_region = is_claimed(address.addr(), old_length.max(1));
    if of_region || (moves && is_claimed(new_address.addr(), new_length)) {
        say!("mremap of a region is not supported: unmap it and map it again");
        Errno(libc::EINVAL).set();
        return libc::MAP_FAILED;
    }
    // SAFETY: the caller's arguments.
    let result =
        unsafe { libc::syscall(libc::SYS_mremap, address, old_length, new_length, flags, new_address) };
    core::ptr::with_exposed_provenance_mut(result as usize)
}

/// Whether a region is mapped in a span.
pub(crate) fn is_claimed(address: usize, length: usize) -> bool {
    let range = address..address.saturating_add(length);
    claims::near(address, length) && !borrowed() && lock().claims.first_in(&range).is_some()
}
