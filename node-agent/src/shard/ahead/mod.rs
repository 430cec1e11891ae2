//! Pages that are asked for before a program needs them: which ones ([`streams`]), on whose behalf, and mapping those that have come
//! a run at a time. To the protocol they are faults like all others; that nobody waits for them is known only here.

mod streams;

use std::collections::VecDeque;

use pagemesh_protocol::{Access, PageId, RegionId};

use super::AttachmentId;
pub use streams::Outcome;
pub(super) use streams::{Streams, Window};

/// Windows that are under way at a time. Beyond that the oldest are forgotten: pages of theirs that still come are not mapped
/// before they are touched.
const WINDOWS_MAX: usize = 64;

/// Pages of a run that is mapped while more is still coming, so that the program need not wait for the end of what a peer sends.
/// Mapping 16 pages by one call takes a tenth of the time of 16 calls; with more there is little left to gain.
const RUN_MAX: u64 = 16;

/// Neighbouring pages that have come for one attachment, to be mapped together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) attachment: AttachmentId,
    pub(super) region: RegionId,
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) access: Access,
}

impl Run {
    pub(super) fn pages(self) -> impl Iterator<Item = PageId> {
        (self.first..self.first + self.count).map(move |index| PageId { region: self.region, index })
    }

    fn has(&self, page: PageId) -> bool {
        self.region == page.region && (self.first..self.first + self.count).contains(&page.index)
    }

    /// Takes a page in, if it is a neighbour.
    fn extend(&mut self, other: &Run) -> bool {
        let alike =
            (self.attachment, self.region, self.access) == (other.attachment, other.region, other.access);
        let behind = other.first == self.first + self.count;
        let before = other.first + other.count == self.first;
        if !alike || self.count >= RUN_MAX || !(behind || before) {
            return false;
        }
        self.first = self.first.min(other.first);
        self.count += other.count;
        true
    }
}

#[derive(Debug)]
struct Asked {
    attachment: AttachmentId,
    region: RegionId,
    window: Window,
    /// Pages that have not come, the mark aside.
    left: u64,
}

/// A page that was asked for ahead has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) attachment: AttachmentId,
    /// It is the first of its window: to be mapped only when it is touched.
    pub(super) is_mark: bool,
}

/// What is under way ahead of faults.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    asked: VecDeque<Asked>,
    run: Option<Run>,
}

impl Ahead {
    /// A window is being asked for.
    pub(super) fn ask(&mut self, attachment: AttachmentId, region: RegionId, window: Window) {
        // The mark does not count: it is mapped when it is touched.
        let left = window.count - 1;
        if left == 0 {
            return;
        }
        if self.asked.len() == WINDOWS_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked { attachment, region, window, left });
    }

    /// A page may be mapped now. Whether it was asked for ahead, and for whom: for the last, if for several.
    pub(super) fn arrived(&mut self, page: PageId) -> Option<Arrived> {
        let position =
            |asked: &Asked| (asked.region == page.region).then(|| asked.window.position(page.index))?;
        let at = self.asked.iter().rposition(|asked| position(asked).is_some())?;
        let asked = &mut self.asked[at];
        let arrived = Arrived { attachment: asked.attachment, is_mark: position(asked) == Some(0) };
        asked.left -= u64::from(!arrived.is_mark);
        if asked.left == 0 {
            self.asked.remove(at);
        }
        Some(arrived)
    }

    /// Adds a page to the run. Returns the run before, if the page does not belong to it: to be mapped first.
    #[must_use]
    pub(super) fn add(&mut self, attachment: AttachmentId, page: PageId, access: Access) -> Option<Run> {
        let PageId { region, index: first } = page;
        let next = Run { attachment, region, first, count: 1, access };
        if self.run.as_mut().is_some_and(|run| run.extend(&next)) {
            return None;
        }
        self.run.replace(next)
    }

    /// Takes out the run.
    pub(super) fn take_run(&mut self) -> Option<Run> {
        self.run.take()
    }

    /// Takes out the run if a page is in it: before anything else is done to the page.
    pub(super) fn take_run_with(&mut self, page: PageId) -> Option<Run> {
        self.run.take_if(|run| run.has(page))
    }

    /// An attachment has ended.
    pub(super) fn forget(&mut self, attachment: AttachmentId) {
        self.asked.retain(|asked| asked.attachment != attachment);
    }

    /// A region is no more.
    pub(super) fn forget_region(&mut self, region: RegionId) {
        self.asked.retain(|asked| asked.region != region);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: RegionId = RegionId(7);
    const ID: AttachmentId = AttachmentId(1);

    fn page(index: u64) -> PageId {
        PageId { region: REGION, index }
    }

    #[test]
    fn pages_of_a_window_are_known_when_they_come_and_only_once() {
        let mut ahead = Ahead::default();
        ahead.ask(ID, REGION, Window { first: 10, step: 3, count: 2, access: Access::Read });
        assert_eq!(ahead.arrived(page(11)), None);
        assert_eq!(ahead.arrived(page(16)), None);
        assert_eq!(ahead.arrived(page(10)), Some(Arrived { attachment: ID, is_mark: true }));
        assert_eq!(
            ahead.arrived(page(10)),
            Some(Arrived { attachment: ID, is_mark: true }),
            "touched before the rest has come"
        );
        assert_eq!(ahead.arrived(page(13)), Some(Arrived { attachment: ID, is_mark: false }));
        assert_eq!(ahead.arrived(page(13)), None);
    }

    #[test]
    fn windows_that_never_come_are_forgotten() {
        let mut ahead = Ahead::default();
        for number in 0..=WINDOWS_MAX as u64 {
            ahead.ask(ID, REGION, Window { first: number * 100, step: 1, count: 4, access: Access::Read });
        }
        assert_eq!(ahead.asked.len(), WINDOWS_MAX);
        assert_eq!(ahead.arrived(page(1)), None);
        ahead.forget(ID);
        assert_eq!(ahead.arrived(page(101)), None);
    }

    #[test]
    fn a_run_grows_on_either_side_until_it_is_long_enough() {
        let mut ahead = Ahead::default();
        for index in [20, 21, 19, 22] {
            assert_eq!(ahead.add(ID, page(index), Access::Read), None);
        }
        let run = Run { attachment: ID, region: REGION, first: 19, count: 4, access: Access::Read };
        assert_eq!(ahead.take_run_with(page(23)), None);
        assert_eq!(ahead.take_run_with(page(22)), Some(run));
        for index in 0..RUN_MAX {
            assert_eq!(ahead.add(ID, page(index), Access::Read), None);
        }
        assert_eq!(ahead.add(ID, page(RUN_MAX), Access::Read).map(|run| run.count), Some(RUN_MAX));
        assert_eq!(ahead.add(ID, page(RUN_MAX + 1), Access::Write).map(|run| run.count), Some(1));
        assert_eq!(ahead.take_run().map(|run| run.access), Some(Access::Write));
    }
}
