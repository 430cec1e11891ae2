//! The faults that wait for a page: as many as threads of programs are blocked, hence a short list.

use pagemesh_protocol::{Access, PageId, RegionId, Time};

use super::AttachmentId;
use crate::metrics::{FaultKind, Served};

/// Threads of one program that wait for one page at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) page: PageId,
    pub(super) attachment: AttachmentId,
    /// Where the page begins in the program.
    pub(super) address: u64,
    /// One of them loads.
    pub(super) read: bool,
    /// One of them stores.
    pub(super) write: bool,
    /// As far as is known the page is mapped there, write-protected. Only a hint.
    pub(super) protected: bool,
    /// Mapping it failed because the program's memory map was changing.
    pub(super) busy: bool,
    /// What the first of them did, when it was read, and who has helped so far.
    pub(super) kind: FaultKind,
    pub(super) since: Time,
    pub(super) served: Served,
}

impl Wait {
    pub(super) fn new(
        page: PageId,
        attachment: AttachmentId,
        address: u64,
        fault: crate::uffd::Fault,
        since: Time,
    ) -> Wait {
        Wait {
            page,
            attachment,
            address,
            read: !fault.write,
            write: fault.write,
            protected: fault.protected,
            busy: false,
            kind: match (fault.write, fault.protected) {
                (false, _) => FaultKind::Read,
                (true, false) => FaultKind::Write,
                (true, true) => FaultKind::Upgrade,
            },
            since,
            served: Served::Local,
        }
    }

    /// What the protocol has to be asked for.
    pub(super) fn access(&self) -> Access {
        if self.write { Access::Write } else { Access::Read }
    }
}

#[derive(Debug, Default)]
pub(super) struct Waits {
    list: Vec<Wait>,
    busy: usize,
}

impl Waits {
    /// Adds a wait, unless one at the same place absorbs it. Returns whether it was added.
    pub(super) fn add(&mut self, new: Wait) -> bool {
        let same = |w: &&mut Wait| w.address == new.address && w.attachment == new.attachment;
        let Some(known) = self.list.iter_mut().find(same) else {
            self.list.push(new);
            return true;
        };
        known.read |= new.read;
        known.write |= new.write;
        known.protected = new.protected;
        false
    }

    /// The position of a wait for `page`, at or behind `from`.
    pub(super) fn find(&self, page: PageId, from: usize) -> Option<usize> {
        self.list[from..].iter().position(|w| w.page == page).map(|at| from + at)
    }

    pub(super) fn get(&self, at: usize) -> Wait {
        self.list[at]
    }

    /// Ends a wait. Another one takes its position.
    pub(super) fn remove(&mut self, at: usize) {
        let wait = self.list.swap_remove(at);
        self.busy -= usize::from(wait.busy);
    }

    /// The loads of a wait have been served, its stores have not.
    pub(super) fn read_served(&mut self, at: usize, now: Time) {
        let wait = &mut self.list[at];
        *wait = Wait { read: false, protected: true, kind: FaultKind::Upgrade, since: now, ..*wait };
    }

    /// The program's memory map was changing: to be tried again.
    pub(super) fn set_busy(&mut self, at: usize) {
        self.busy += usize::from(!self.list[at].busy);
        self.list[at].busy = true;
    }

    /// The next wait that is to be tried again.
    pub(super) fn take_busy(&mut self, from: usize) -> Option<(usize, Wait)> {
        let at = from + self.list.get(from..)?.iter().position(|w| w.busy)?;
        self.list[at].busy = false;
        self.busy -= 1;
        Some((at, self.list[at]))
    }

    pub(super) fn any_busy(&self) -> bool {
        self.busy > 0
    }

    /// The page is gone from all programs: nothing of it is mapped any more.
    pub(super) fn unmapped(&mut self, page: PageId) {
        self.list.iter_mut().filter(|w| w.page == page).for_each(|w| w.protected = false);
    }

    /// Somebody has helped with a page. What says more wins.
    pub(super) fn helped(&mut self, page: PageId, by: Served) {
        self.list.iter_mut().filter(|w| w.page == page).for_each(|w| w.served = by);
    }

    /// Whether all that wait for a page wait without help so far.
    pub(super) fn is_local(&self, page: PageId) -> bool {
        self.list.iter().filter(|w| w.page == page).all(|w| w.served == Served::Local)
    }

    /// Forgets all waits for pages of a region.
    pub(super) fn forget_region(&mut self, region: RegionId) {
        self.list.retain(|w| w.page.region != region);
        self.busy = self.list.iter().filter(|w| w.busy).count();
    }

    /// Takes the pages out that an attachment waits for.
    pub(super) fn take_all_of(&mut self, attachment: AttachmentId) -> Vec<PageId> {
        let of = |wait: &&Wait| wait.attachment == attachment;
        let pages = self.list.iter().filter(of).map(|wait| wait.page).collect();
        self.forget(attachment, 0, u64::MAX);
        pages
    }

    /// Forgets an attachment's waits within a span of its memory.
    pub(super) fn forget(&mut self, attachment: AttachmentId, base: u64, len: u64) {
        let end = base.saturating_add(len);
        self.list.retain(|w| w.attachment != attachment || !(base..end).contains(&w.address));
        self.busy = self.list.iter().filter(|w| w.busy).count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uffd::Fault;

    const PAGE: PageId = PageId { region: RegionId(1), index: 2 };

    fn wait(attachment: u64, address: u64, write: bool, protected: bool) -> Wait {
        let fault = Fault { address, write, protected };
        Wait::new(PAGE, AttachmentId(attachment), address, fault, Time(5))
    }

    #[test]
    fn a_second_thread_at_the_same_place_is_absorbed() {
        let mut waits = Waits::default();
        assert!(waits.add(wait(1, 0x1000, false, false)));
        assert!(!waits.add(wait(1, 0x1000, true, true)));
        assert!(waits.add(wait(2, 0x1000, true, false)));
        let merged = waits.get(0);
        assert!(merged.read && merged.write && merged.protected);
        assert_eq!((merged.kind, merged.access()), (FaultKind::Read, Access::Write));
        assert_eq!(waits.find(PAGE, 1), Some(1));
        assert_eq!(waits.find(PAGE, 2), None);
    }

    #[test]
    fn a_load_is_served_and_the_store_waits_on() {
        let mut waits = Waits::default();
        waits.add(wait(1, 0x1000, false, false));
        waits.add(wait(1, 0x1000, true, false));
        waits.read_served(0, Time(9));
        let left = waits.get(0);
        assert_eq!(
            (left.read, left.write, left.kind, left.since),
            (false, true, FaultKind::Upgrade, Time(9))
        );
    }

    #[test]
    fn busy_waits_are_taken_once() {
        let mut waits = Waits::default();
        waits.add(wait(1, 0x1000, false, false));
        waits.add(wait(1, 0x2000, false, false));
        waits.set_busy(1);
        waits.set_busy(1);
        assert!(waits.any_busy());
        assert_eq!(waits.take_busy(0).map(|(at, _)| at), Some(1));
        assert!(!waits.any_busy());
        waits.set_busy(0);
        waits.forget(AttachmentId(1), 0, 0x2000);
        assert!(!waits.any_busy());
        assert_eq!(waits.get(0).address, 0x2000);
    }
}
