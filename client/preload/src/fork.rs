//! `fork`: a child has none of its parent's region memory (`MADV_DONTFORK`), for the parent's userfaultfds serve only the
//! parent. So before `fork` returns in the child, it attaches anew to every region and maps all of it again where it was.
//!
//! The lock is taken before the fork and given up after it on both sides, so the child finds the tables whole. It may do
//! only what is async-signal-safe: other threads of the parent may have been anywhere, `malloc` included. If the agent is
//! gone, the child waits for it, as it would at its next fault.

use core::ops::Range;

use pagemesh_attach::mapping::{self, Place};
use pagemesh_attach::wire::Reason;
use pagemesh_attach::{Error, RegionName, sys};

use crate::claims::Claim;
use crate::lock::{self, lock};
use crate::next;
use crate::regions::{FileId, Region};
use crate::report::say;
use crate::state::{self, Agent, State};

/// First and longest wait for an agent.
const WAIT_MILLIS: u64 = 10;
const WAIT_MILLIS_MAX: u64 = 1000;

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
    let Region { name, file, header, descriptors, pins, position, .. } = inherited;
    let own_name = inherited.own_name();
    // First, so that the new descriptors get their numbers.
    inherited.abandon();
    let mut region = attach_waiting(state, &own_name, header, file);
    region.name = name;
    region.descriptors = descriptors;
    region.pins = pins;
    region.position = position;
    map_again(state, slot, &region);
    state.regions[slot] = Some(region);
}

/// Attaches, however long it takes, to the memory that the parent has. An agent that comes back without it is no help: the
/// child would read zeros where its parent had written.
fn attach_waiting(state: &State, name: &RegionName, header: usize, file: FileId) -> Region {
    let Agent::At(path) = &state.agent else { unreachable!("there was an agent to attach to") };
    let mut wait = WAIT_MILLIS;
    loop {
        match Region::attach_at(path, name, Place::Free(header)) {
            Ok(region) if region.file == file => return region,
            Ok(region) => {
                if wait == WAIT_MILLIS {
                    say!(
                        "a forked child waits: the agent has lost what region {name} held; start the program anew"
                    );
                }
                region.end();
            }
            // Waiting would not mend it.
            Err(error @ Error::Mapping(_)) => give_up(name, &error),
            Err(error @ Error::Refused(refusal)) if refusal.reason == Reason::Forbidden => {
                give_up(name, &error)
            }
            Err(error) => {
                if wait == WAIT_MILLIS {
                    say!("a forked child waits to attach to region {name} again: {error}");
                }
            }
        }
        die_of_pending_signal();
        sleep_millis(wait);
        wait = (2 * wait).min(WAIT_MILLIS_MAX);
    }
}

/// Maps every claim again where it was: neighbours that came from one mapping together, as the parent has them.
fn map_again(state: &State, slot: usize, region: &Region) {
    let page_size = region.attachment.page_size();
    let mut from = 0;
    while let Some(first) = next_of(state, slot, from) {
        let mut pages = first.pages(&(first.start..first.end), page_size);
        let mut last = first;
        while let Some(next) = next_of(state, slot, last.end)
            && next.origin == first.origin
            && next.pages(&(next.start..next.end), page_size).start <= pages.end
        {
            pages.end = next.pages(&(next.start..next.end), page_size).end;
            last = next;
        }
        let offset = first.offset(pages.start) as u64;
        let place = Place::Free(pages.start);
        // SAFETY: it replaces nothing.
        let placed =
            unsafe { mapping::place(&region.attachment, place, pages.len(), offset, first.protection) };
        if let Err(error) = placed {
            give_up(&region.name, &error);
        }
        protect_again(state, slot, &(first.end..last.end), page_size);
        from = last.end;
    }
}

/// The lowest claim of a region at or above an address.
fn next_of(state: &State, slot: usize, mut from: usize) -> Option<Claim> {
    loop {
        let claim = state.claims.first_in(&(from..usize::MAX))?;
        if usize::from(claim.slot) == slot {
            return Some(claim);
        }
        from = claim.end;
    }
}

/// Gives the later claims of one mapping their own protection. Within a region page it never differs.
fn protect_again(state: &State, slot: usize, range: &Range<usize>, page_size: usize) {
    let mut from = range.start;
    while let Some(claim) = next_of(state, slot, from).filter(|claim| claim.start < range.end) {
        let pages = claim.pages(&(claim.start..claim.end), page_size);
        // SAFETY: no other thread exists yet.
        let _ = unsafe { sys::mprotect(pages.start, pages.len(), claim.protection) };
        from = claim.end;
    }
}

fn give_up(name: &RegionName, error: &Error) -> ! {
    say!("a forked child cannot map region {name} again and ends: {error}");
    // SAFETY: always allowed.
    unsafe { libc::abort() }
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
