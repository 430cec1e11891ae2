//! `fork`: a child has none of its parent's region memory (`MADV_DONTFORK`), for the parent's userfaultfds serve only the
//! parent. So before `fork` returns in the child, it attaches anew to every region and maps all of it again where it was.
//!
//! The lock is taken before the fork and given up after it on both sides, so the child finds the tables whole. It may do
//! only what is async-signal-safe: other threads of the parent may have been anywhere, `malloc` included. If the agent is
//! gone, the child waits for it, as it would at its next fault. What the agent does not give it, it goes on without: see
//! `lost`.

use core::ops::Range;

use pagemesh_attach::mapping::{self, Place};
use pagemesh_attach::wire::Hello;
use pagemesh_attach::{Error, sys};

use crate::claims::Claim;
use crate::lock::{self, lock};
use crate::lost::{self, Loss, Patience};
use crate::next;
use crate::regions::{FileId, Region};
use crate::report::say;
use crate::state::{self, Agent, State};

/// First and longest pause between two attempts.
const PAUSE_MILLIS: u64 = 10;
const PAUSE_MILLIS_MAX: u64 = 100;

/// For how long an agent that says no may change its mind.
const SHORT_MILLIS: u64 = 30_000;

/// Asks libc to call us around every fork.
pub(crate) fn watch() {
    if !next::at_fork(prepare, parent, child) {
        say!("out of memory: children of this process will not be attached");
    }
}

extern "C" fn prepare() {
    lock::hold(lock());
}

extern "C" fn parent() {
    // SAFETY: `prepare` of this fork held it.
    drop(unsafe { lock::regain() });
}

extern "C" fn child() {
    let errno = sys::Errno::last();
    state::claim_process();
    // SAFETY: `prepare` of this fork held it.
    let mut state = unsafe { lock::regain() };
    for slot in 0..state.regions.len() {
        if let Some(inherited) = state.regions[slot].take() {
            reattach(&mut state, slot, inherited);
        }
    }
    drop(state);
    errno.set();
}

fn reattach(state: &mut State, slot: usize, inherited: Region) {
    let Region { name, inherited: by_exec, file, header, descriptors, pins, position, .. } = inherited;
    let (own_name, read_only) = (inherited.own_name(), inherited.read_only());
    let hello = Hello { name: &own_name, inherited: true, read_only };
    // First, so that the new descriptors get their numbers.
    inherited.abandon();
    match attach_waiting(state, slot, hello, header, file) {
        Ok(mut region) => {
            region.name = name;
            region.inherited = by_exec;
            region.descriptors = descriptors;
            region.pins = pins;
            region.position = position;
            state.regions[slot] = Some(region);
        }
        Err(loss) if pins == 0 => lost::go_without(state, slot, &name, &loss),
        // The fork was in a signal's handler, and the call that it came into the midst of cannot go on.
        Err(loss) => {
            say!("a forked child cannot go on without region {name} and ends: {loss}");
            // SAFETY: always allowed.
            unsafe { libc::abort() }
        }
    }
}

/// Attaches and maps again, however long an agent takes that is away.
fn attach_waiting(
    state: &State,
    slot: usize,
    hello: Hello<'_>,
    header: usize,
    file: FileId,
) -> Result<Region, Loss> {
    let (mut pause, mut refused_for) = (PAUSE_MILLIS, 0);
    loop {
        let loss = match attach_again(state, slot, hello, header, file) {
            Ok(region) => return Ok(region),
            Err(loss) => loss,
        };
        match loss.patience() {
            Patience::Endless => refused_for = 0,
            Patience::Short if refused_for < SHORT_MILLIS => refused_for += pause,
            Patience::Short | Patience::None => return Err(loss),
        }
        if pause == PAUSE_MILLIS {
            say!("a forked child waits to attach to region {} again: {loss}", hello.name);
        }
        die_of_pending_signal();
        sleep_millis(pause);
        pause = (2 * pause).min(PAUSE_MILLIS_MAX);
    }
}

/// Attaches to the memory that the parent has, and maps all of it. An agent that comes back without it is no help: the child
/// would read zeros where its parent had written.
fn attach_again(
    state: &State,
    slot: usize,
    hello: Hello<'_>,
    header: usize,
    file: FileId,
) -> Result<Region, Loss> {
    let Agent::At(path) = &state.agent else { unreachable!("there was an agent to attach to") };
    let region = Region::attach_at(path, hello, Place::Free(header))?;
    let mapped = if region.file == file {
        map_again(state, slot, &region).map_err(Loss::from)
    } else {
        Err(Loss::Other)
    };
    match mapped {
        Ok(()) => Ok(region),
        Err(loss) => {
            region.end();
            Err(loss)
        }
    }
}

/// Neighbouring claims that came from one mapping, which the parent has mapped together.
struct Mapping {
    first: Claim,
    /// The region pages that they need.
    pages: Range<usize>,
    /// Address after the last of them.
    end: usize,
}

/// The lowest of a region at or above an address.
fn mapping_of(state: &State, slot: usize, from: usize, page_size: usize) -> Option<Mapping> {
    let first = state.claims.first_of(slot, from)?;
    let mut pages = first.pages(&(first.start..first.end), page_size);
    let mut end = first.end;
    while let Some(next) = state.claims.first_of(slot, end)
        && next.origin == first.origin
        && next.pages(&(next.start..next.end), page_size).start <= pages.end
    {
        pages.end = next.pages(&(next.start..next.end), page_size).end;
        end = next.end;
    }
    Some(Mapping { first, pages, end })
}

/// Maps every claim again where it was, or none.
fn map_again(state: &State, slot: usize, region: &Region) -> Result<(), Error> {
    let page_size = region.attachment.page_size();
    let mut from = 0;
    while let Some(Mapping { first, pages, end }) = mapping_of(state, slot, from, page_size) {
        let offset = first.offset(pages.start) as u64;
        let place = Place::Free(pages.start);
        // SAFETY: it replaces nothing.
        let placed =
            unsafe { mapping::place(&region.attachment, place, pages.len(), offset, first.protection) };
        if let Err(error) = placed {
            unmap_again(state, slot, page_size, first.start);
            return Err(error);
        }
        protect_again(state, slot, &(first.end..end), page_size);
        from = end;
    }
    Ok(())
}

/// Unmaps what has been mapped again below an address. The attachment is to end.
fn unmap_again(state: &State, slot: usize, page_size: usize, below: usize) {
    let mut from = 0;
    while let Some(Mapping { first, pages, end }) = mapping_of(state, slot, from, page_size)
        && first.start < below
    {
        // SAFETY: nobody has used it yet.
        let _ = unsafe { sys::munmap(pages.start, pages.len()) };
        from = end;
    }
}

/// Gives the later claims of one mapping their own protection. Within a region page it never differs.
fn protect_again(state: &State, slot: usize, range: &Range<usize>, page_size: usize) {
    let mut from = range.start;
    while let Some(claim) = state.claims.first_of(slot, from).filter(|claim| claim.start < range.end) {
        let pages = claim.pages(&(claim.start..claim.end), page_size);
        // SAFETY: no other thread exists yet.
        let _ = unsafe { sys::mprotect(pages.start, pages.len(), claim.protection) };
        from = claim.end;
    }
}

/// While we wait, all signals are blocked. One that would just end the process may do so.
fn die_of_pending_signal() {
    let mut pending = 0_u64;
    // SAFETY: the word lives through the call and has the size that is told.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, size_of::<u64>()) };
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        let bit = 1_u64 << (signal - 1);
        if pending & bit != 0 && has_default_action(signal) {
            let unblocked = bit;
            // SAFETY: the word lives through the call; the signal ends the process at once.
            unsafe {
                libc::syscall(
                    libc::SYS_rt_sigprocmask,
                    libc::SIG_UNBLOCK,
                    &raw const unblocked,
                    0,
                    size_of::<u64>(),
                );
            }
        }
    }
}

fn has_default_action(signal: i32) -> bool {
    // The kernel's own structure: handler, flags, restorer and a mask of 64 bits.
    let mut action = [0_usize; 4];
    // SAFETY: the structure lives through the call, and the mask has the size that is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            core::ptr::null::<u8>(),
            action.as_mut_ptr(),
            size_of::<u64>(),
        )
    };
    result == 0 && action[0] == libc::SIG_DFL
}

fn sleep_millis(millis: u64) {
    let time = libc::timespec { tv_sec: (millis / 1000) as i64, tv_nsec: (millis % 1000 * 1_000_000) as i64 };
    // SAFETY: the time lives through the call; how it ends does not matter.
    unsafe { libc::syscall(libc::SYS_nanosleep, &raw const time, 0) };
}
