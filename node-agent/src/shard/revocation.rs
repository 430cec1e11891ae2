//! Takes a region away from one program while the others go on.
//!
//! The kernel makes an access a SIGBUS (`UFFDIO_POISON`) only where nothing is mapped, and takes a mapped page from a process
//! only together with all others, when the page goes from the file. So that is done: nobody can write the page, it is copied and
//! kept, it goes from the file, the program's place for it is poisoned, and it comes back. The others fault and get it again.
//! What the protocol knows of the page is true all the time: to it nothing happens.

use std::collections::VecDeque;

use pagemesh_protocol::PageId;

use super::engine::Engine;
use super::executor::out_of_memory;
use super::programs::Poisoned;
use super::{AttachmentId, Range};

/// How long the faults of others may wait for it at a time.
const NANOS_AT_A_TIME: u64 = 300_000;

/// What is still to be taken away: from whom, and which of its spans.
#[derive(Debug, Default)]
pub(super) struct Revocations(VecDeque<(AttachmentId, Range)>);

impl Engine {
    /// An attachment may not have its region any more.
    pub(super) fn revoke(&mut self, id: AttachmentId) {
        let ranges = self.executor.programs.revoke(id);
        self.revocations.0.extend(ranges.into_iter().map(|range| (id, range)));
        if self.is_waiting() {
            // What an earlier process has begun comes first.
            return;
        }
        for page in self.executor.waits.take_all_of(id) {
            self.expel(id, page);
        }
    }

    /// An attachment has mapped a span.
    pub(super) fn map(&mut self, id: AttachmentId, range: Range) {
        self.executor.programs.map(id, range);
        if self.executor.programs.get(id).is_some_and(|attachment| attachment.revoked) {
            self.revocations.0.push_back((id, range));
        }
    }

    /// Whether there is something to be taken away.
    pub(super) fn is_revoking(&self) -> bool {
        !self.is_waiting() && !self.revocations.0.is_empty()
    }

    /// Takes some pages away. Between two calls others are served.
    pub(super) fn revoke_some(&mut self) {
        if !self.is_revoking() {
            return;
        }
        let end = self.executor.clock.now().0 + NANOS_AT_A_TIME;
        while let Some((id, range)) = self.revocations.0.pop_front() {
            let rest = self.revoke_next(id, range);
            if let Some(rest) = rest {
                self.revocations.0.push_front((id, rest));
            }
            if self.executor.clock.now().0 >= end {
                return;
            }
        }
    }

    /// Takes the first page of a span away that is there, and returns what is left of the span.
    fn revoke_next(&mut self, id: AttachmentId, range: Range) -> Option<Range> {
        let attachment = self.executor.programs.get(id)?;
        let region = attachment.region;
        let (page_size, file) = (u64::from(attachment.page_size), &self.executor.regions.get(region)?.file);
        // What the node does not have is not mapped; who touches it faults.
        let there = file.next_there(range.offset).expect("a file in a tmpfs can always be looked at")?;
        let index = there / page_size;
        let offset = (index * page_size).max(range.offset);
        let skipped = offset - range.offset;
        if skipped >= range.len {
            return None;
        }
        self.expel(id, PageId { region, index });
        let done = skipped + page_size;
        let left = range.len.saturating_sub(done);
        (left > 0).then(|| Range { base: range.base + done, len: left, offset: range.offset + done })
    }

    /// Takes a page away from a revoked attachment, wherever it has it mapped. Who waits for it there finds out.
    pub(super) fn expel(&mut self, id: AttachmentId, page: PageId) {
        let executor = &mut self.executor;
        executor.map_pending();
        if executor.programs.poison(id, page) == Poisoned::Everywhere {
            return;
        }
        let place = executor.regions.place(page);
        let there = place.file.has(place.offset, place.len.into());
        let there = there.expect("a file in a tmpfs can always be looked at");
        // In this order: a store between the copy and the punch would be lost.
        executor.programs.protect(page);
        let contents = there.then(|| executor.copy(page));
        if let (Some(contents), Some(journal)) = (&contents, &mut self.journal)
            && let Err(error) = journal.hold(page, contents)
        {
            out_of_memory(page, &error);
        }
        if there {
            executor.punch(page);
        }
        // What is left where the page was protected would keep it from being poisoned.
        executor.programs.forget_protection(id, page);
        let poisoned = executor.programs.poison(id, page);
        if let Some(contents) = contents {
            executor.store(page, &contents);
            executor.pool.give(contents);
            if let Some(journal) = &mut self.journal {
                journal.let_go();
            }
            // Who waited to write it waited for what is mapped no more.
            executor.programs.wake(page);
        }
        let attachment = executor.programs.get(id);
        if let (Poisoned::Busy, Some(attachment)) = (poisoned, attachment) {
            let (len, offset) = (attachment.page_size.into(), place_offset(page, attachment.page_size));
            let again = attachment.ranges.addresses(page.index).map(|base| (id, Range { base, len, offset }));
            self.revocations.0.extend(again);
        }
    }

    /// Puts a page back that an earlier process had out of its file when it died.
    pub(super) fn put_back(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let Some((page, contents)) = journal.held() else { return };
        let known = self.executor.regions.get(page.region);
        if known.is_some_and(|region| region.page_size as usize == contents.len()) {
            self.executor.store(page, &contents);
        }
        if let Some(journal) = &mut self.journal {
            journal.let_go();
        }
    }
}

fn place_offset(page: PageId, page_size: u32) -> u64 {
    page.index * u64::from(page_size)
}
