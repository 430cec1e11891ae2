//! What we know of this process, behind the lock. Async-signal-safe, except where a region is opened.

use core::ops::Range;
use core::sync::atomic::{AtomicI32, Ordering};

use pagemesh_attach::socket::SocketPath;
use pagemesh_attach::sys::{self, Errno};
use pagemesh_attach::wire::Hello;
use pagemesh_attach::{Error, RegionName, mapping};

use crate::claims::{Claim, Claims};
use crate::header::Header;
use crate::marks::{self, Mark};
use crate::regions::{FileId, Region};
use crate::report::{Outcome, errno_of, say};

/// Regions that a process may have open at a time.
const REGIONS_MAX: usize = 32;

/// The largest page that a region can have.
const PAGE_MAX: usize = 2 << 20;

/// The process whose tables these are.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// Makes the tables this process's.
pub(crate) fn claim_process() {
    PROCESS.store(sys::getpid(), Ordering::Release);
}

/// Whether these tables are another process's: we are in a child of `vfork`, which shares its parent's memory until it
/// execs, but not its descriptors.
pub(crate) fn borrowed() -> bool {
    PROCESS.load(Ordering::Acquire) != sys::getpid()
}

/// Where the agent is.
pub(crate) enum Agent {
    /// Nowhere: everything goes to libc.
    Absent,
    /// There.
    At(SocketPath),
    /// The environment names it in a way that cannot work.
    Unusable(Error),
}

/// What we know.
pub(crate) struct State {
    pub(crate) agent: Agent,
    pub(crate) regions: [Option<Region>; REGIONS_MAX],
    pub(crate) claims: Claims,
}

impl State {
    pub(crate) const fn new() -> State {
        State { agent: Agent::Absent, regions: [const { None }; REGIONS_MAX], claims: Claims::new() }
    }

    /// The region in a slot that something refers to.
    pub(crate) fn region(&self, slot: usize) -> &Region {
        self.regions[slot].as_ref().expect("a slot that is referred to is in use")
    }

    /// The same, to change it.
    pub(crate) fn region_mut(&mut self, slot: usize) -> &mut Region {
        self.regions[slot].as_mut().expect("a slot that is referred to is in use")
    }

    /// Attaches to a region, or finds the attachment that there is, and pins its header. Who wants to await a successor of the
    /// agent tries again without the lock.
    pub(crate) fn attach(&mut self, name: &RegionName) -> Result<Header, Error> {
        self.attach_as(Hello::to(name))
    }

    /// The same of a region that was this process's before an `exec`.
    pub(crate) fn attach_inherited(&mut self, name: &RegionName) -> Result<Header, Error> {
        self.attach_as(Hello { inherited: true, ..Hello::to(name) })
    }

    fn attach_as(&mut self, hello: Hello<'_>) -> Result<Header, Error> {
        let path = match &self.agent {
            Agent::At(path) => *path,
            Agent::Unusable(error) => return Err(*error),
            Agent::Absent => return Err(Error::NoSocket),
        };
        for slot in 0..REGIONS_MAX {
            let is_it = |region: &&Region| region.name == *hello.name && region.inherited == hello.inherited;
            let Some(region) = self.regions[slot].as_ref().filter(is_it) else {
                continue;
            };
            match region.attachment.go_on() {
                Ok(()) => return Ok(self.pin(slot)),
                // Until somebody has taken over it is not known whether this one goes on.
                Err(error) if error.agent_is_away() => return Err(error),
                // It keeps its memory waiting; a new agent's memory is another one.
                Err(_) => {}
            }
        }
        let free = self.regions.iter().position(Option::is_none);
        let slot = free.ok_or(Error::TooManyRegions)?;
        self.regions[slot] = Some(Region::attach(&path, hello)?);
        Ok(self.pin(slot))
    }

    /// The same for who only looks: while the agent is away, the attachment that there is will do.
    pub(crate) fn look_at(&mut self, name: &RegionName) -> Result<Header, Error> {
        self.attach(name).or_else(|error| {
            let attached = |region: &Region| region.name == *name && !region.inherited;
            let slot = self.regions.iter().position(|region| region.as_ref().is_some_and(attached));
            slot.filter(|_| error.agent_is_away()).map(|slot| self.pin(slot)).ok_or(error)
        })
    }

    /// Keeps a region's header mapped until the returned value is dropped, which takes the lock.
    pub(crate) fn pin(&mut self, slot: usize) -> Header {
        let region = self.region_mut(slot);
        region.pins += 1;
        Header::new(slot, region.header, region.attachment.size(), region.read_only())
    }

    /// The end of a [`Header`].
    pub(crate) fn unpin(&mut self, slot: usize) {
        self.unpin_only(slot);
        self.end_if_unused(slot);
    }

    /// The same, where the caller looks later whether the region is still used.
    pub(crate) fn unpin_only(&mut self, slot: usize) {
        self.region_mut(slot).pins -= 1;
    }

    /// Which region a descriptor of the program stands for, and whether it may write. A stale mark is removed.
    pub(crate) fn opened(&mut self, fd: i32) -> Option<(usize, bool)> {
        let Mark::Region { slot, writable } = marks::get(fd) else { return None };
        let slot = usize::from(slot);
        if FileId::of(fd) == Ok(self.region(slot).file) {
            return Some((slot, writable));
        }
        self.forget(fd);
        None
    }

    /// A descriptor of the program stands for a region from now on.
    pub(crate) fn remember(&mut self, fd: i32, slot: usize, writable: bool) {
        if usize::try_from(fd).is_ok_and(|fd| fd < marks::NUMBERS) {
            self.region_mut(slot).descriptors += 1;
            let old = marks::set(fd, Mark::Region { slot: slot as u8, writable });
            self.count_down(old);
        }
    }

    /// A descriptor of the program stands for nothing from now on.
    pub(crate) fn forget(&mut self, fd: i32) {
        let old = marks::set(fd, Mark::Foreign);
        self.count_down(old);
    }

    fn count_down(&mut self, old: Mark) {
        match old {
            Mark::Region { slot, .. } => {
                let slot = usize::from(slot);
                self.region_mut(slot).descriptors -= 1;
                self.end_if_unused(slot);
            }
            Mark::Foreign | Mark::Ours => {}
        }
    }

    /// Takes `cut` out of a claim. Region pages that nobody needs any more are given back to the agent and unmapped,
    /// except in `replaced`, which the caller maps anew.
    pub(crate) fn release(
        &mut self,
        claim: &Claim,
        cut: &Range<usize>,
        replaced: &Range<usize>,
    ) -> Outcome<()> {
        let slot = usize::from(claim.slot);
        let region = self.region(slot);
        let freed = self.claims.freed(claim, cut, region.attachment.page_size());
        if !self.claims.have_room(1) {
            return Err(Errno(libc::ENOMEM));
        }
        if !freed.is_empty() {
            if let Err(error) = mapping::forget(&region.attachment, freed.start, freed.len()) {
                say!("cannot unmap a part of region {}: {error}", region.name);
                return Err(errno_of(&error));
            }
            for part in without(&freed, replaced) {
                // SAFETY: the program gives it up, and no claim needs it.
                unsafe { sys::munmap(part.start, part.len()) }?;
            }
        }
        self.claims.carve(claim, cut);
        self.end_if_unused(slot);
        Ok(())
    }

    /// What of `range` lies in region pages that claims need, from the lowest up.
    pub(crate) fn needed_in(&self, range: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let mut rest = range.start.saturating_sub(PAGE_MAX)..range.end.saturating_add(PAGE_MAX);
        let pages = core::iter::from_fn(move || {
            let claim = self.claims.first_in(&rest)?;
            rest.start = claim.end;
            Some(claim.pages(&(claim.start..claim.end), self.page_size(&claim)))
        });
        let (start, end) = (range.start, range.end);
        let inside = pages.map(move |pages| pages.start.max(start)..pages.end.min(end));
        inside.filter(|pages| !pages.is_empty())
    }

    /// Whether a region page that `range` touches is needed by a claim beyond `range` as well.
    pub(crate) fn cuts_page(&self, range: &Range<usize>) -> bool {
        let mut rest = range.start.saturating_sub(PAGE_MAX)..range.end.saturating_add(PAGE_MAX);
        while let Some(claim) = self.claims.first_in(&rest) {
            let beyond = [claim.start..claim.end.min(range.start), claim.start.max(range.end)..claim.end];
            for part in beyond.iter().filter(|part| !part.is_empty()) {
                let pages = claim.pages(part, self.page_size(&claim));
                if pages.start < range.end && pages.end > range.start {
                    return true;
                }
            }
            rest.start = claim.end;
        }
        false
    }

    fn page_size(&self, claim: &Claim) -> usize {
        self.region(usize::from(claim.slot)).attachment.page_size()
    }

    /// An attachment that the program has no use for ends.
    pub(crate) fn end_if_unused(&mut self, slot: usize) {
        let region = self.region(slot);
        if region.descriptors == 0
            && region.pins == 0
            && !self.claims.any_of(slot)
            && let Some(region) = self.regions[slot].take()
        {
            region.end();
        }
    }
}

/// What of `range` is not in `hole`, as up to two parts.
fn without(range: &Range<usize>, hole: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let below = range.start..range.end.min(hole.start);
    let above = range.start.max(hole.end)..range.end;
    let parts = if hole.is_empty() { [range.clone(), 0..0] } else { [below, above] };
    parts.into_iter().filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_around_a_hole() {
        let parts = |hole: Range<usize>| -> Vec<(usize, usize)> {
            without(&(10..20), &hole).map(|part| (part.start, part.end)).collect()
        };
        assert_eq!(parts(0..0), [(10, 20)]);
        assert_eq!(parts(12..15), [(10, 12), (15, 20)]);
        assert_eq!(parts(0..15), [(15, 20)]);
        assert_eq!(parts(12..30), [(10, 12)]);
        assert_eq!(parts(0..30), []);
        assert_eq!(parts(30..40), [(10, 20)]);
    }
}
