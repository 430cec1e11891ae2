//! `mprotect` and `madvise`: a region's memory keeps the properties that coherence rests on, and a region page is never cut
//! into pieces of different properties, which the kernel could not install in one go. Async-signal-safe.

use core::ffi::{c_int, c_void};
use core::ops::Range;

use pagemesh_attach::sys::{self, Errno};

use crate::claims::{self, Claim};
use crate::lock::lock;
use crate::map::{is_claimed, span};
use crate::report::{Outcome, answer, outcome, say};
use crate::state::{State, borrowed};

/// `MADV_GUARD_INSTALL`, which libc does not name yet.
const MADV_GUARD_INSTALL: c_int = 102;

/// `mprotect`. On a region the kernel's pages go together that make a page of the region.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mprotect(address: *mut c_void, length: usize, protection: c_int) -> c_int {
    let at = address.addr();
    answer(-1, || {
        let near = claims::near(at, length) && !borrowed();
        match span(at, length).ok().filter(|_| near) {
            Some(range) => protect(&mut lock(), &range, protection),
            // SAFETY: the caller's arguments.
            None => unsafe { sys::mprotect(at, length, protection) },
        }?;
        Ok(0)
    })
}

fn protect(state: &mut State, range: &Range<usize>, protection: c_int) -> Outcome<()> {
    if state.cuts_page(range) {
        say!("mprotect of a part of a region's page is not supported: protect whole pages of the region");
        return Err(Errno(libc::EINVAL));
    }
    let mut from = range.start;
    while let Some(claim) = state.claims.first_in(&(from..range.end)) {
        let cut = claim.within(range);
        if from < cut.start {
            // SAFETY: the caller's arguments.
            unsafe { sys::mprotect(from, cut.start - from, protection) }?;
        }
        protect_claim(state, &claim, &cut, protection)?;
        from = cut.end;
    }
    if from < range.end {
        // SAFETY: the caller's arguments.
        unsafe { sys::mprotect(from, range.end - from, protection) }?;
    }
    Ok(())
}

fn protect_claim(state: &mut State, claim: &Claim, cut: &Range<usize>, protection: c_int) -> Outcome<()> {
    if claim.read_only && protection & libc::PROT_WRITE != 0 {
        return Err(Errno(libc::EACCES));
    }
    if !state.claims.have_room(2) {
        return Err(Errno(libc::ENOMEM));
    }
    let pages = claim.pages(cut, state.region(usize::from(claim.slot)).attachment.page_size());
    // SAFETY: the caller's arguments, in whole pages of the region.
    unsafe { sys::mprotect(pages.start, pages.len(), protection) }?;
    state.claims.carve(claim, cut);
    state.claims.insert(Claim { start: cut.start, end: cut.end, protection, ..*claim });
    Ok(())
}

/// What a piece of advice would do to a region.
enum Effect {
    /// Nothing that coherence rests on.
    Harmless,
    /// It would break coherence.
    Harmful,
    /// It is a property of memory, and so must not differ within a page of the region.
    Property,
}

fn effect(advice: c_int) -> Effect {
    match advice {
        libc::MADV_REMOVE
        | libc::MADV_DOFORK
        | libc::MADV_HUGEPAGE
        | libc::MADV_COLLAPSE
        | MADV_GUARD_INSTALL => Effect::Harmful,
        libc::MADV_NORMAL
        | libc::MADV_RANDOM
        | libc::MADV_SEQUENTIAL
        | libc::MADV_DONTDUMP
        | libc::MADV_DODUMP => Effect::Property,
        _ => Effect::Harmless,
    }
}

/// `madvise`.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int {
    let at = address.addr();
    answer(-1, || {
        match effect(advice) {
            Effect::Harmful if is_claimed(at, length) => {
                say!("madvise {advice} is not supported on a region: it would lose or freeze shared memory");
                return Err(Errno(libc::EINVAL));
            }
            // Only hints, which need not be taken.
            Effect::Property if cuts_page(at, length) => return Ok(0),
            Effect::Harmful | Effect::Property | Effect::Harmless => {}
        }
        // SAFETY: the caller's arguments.
        outcome(unsafe { libc::syscall(libc::SYS_madvise, address, length, advice) })
    })
}

fn cuts_page(address: usize, length: usize) -> bool {
    let near = claims::near(address, length) && !borrowed();
    near && span(address, length).is_ok_and(|range| lock().cuts_page(&range))
}
