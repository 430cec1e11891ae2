//! What programs will touch next, and where they are.

use pagemesh_protocol::Access;

use super::Programs;
use crate::shard::ahead::{Run, Window};
use crate::shard::waits::Wait;
use crate::uffd::OpError;

impl Programs {
    /// A program has touched a page. Returns what to ask for ahead, of which there may be `room` pages.
    pub(in crate::shard) fn look_ahead(&mut self, wait: &Wait, room: u64) -> Option<Window> {
        let attachment = self.by_id.get_mut(&wait.attachment)?;
        let window = attachment.streams.fault(wait.page.index, wait.write);
        self.metrics.ahead(attachment.streams.outcome());
        let window = window?;
        // As far as it has mapped the region, and this shard serves it.
        let mapped = |page: &u64| attachment.ranges.addresses(*page).next().is_some();
        let and_one = Window { count: window.count + 1, ..window };
        let there = and_one.pages().take_while(mapped).count() as u64;
        let count = window.count.min(there).min(room);
        if there <= window.count || count < window.count {
            attachment.streams.cut(window, count);
        }
        (count > 0).then_some(Window { count, ..window })
    }

    /// Maps pages that have come together, where they are not mapped yet.
    pub(in crate::shard) fn map_run(&mut self, run: &Run) {
        let Some(attachment) = self.by_id.get(&run.attachment) else { return };
        if attachment.orphan || attachment.revoked {
            return;
        }
        let protected = run.access == Access::Read && !attachment.read_only;
        let mut failed = None;
        for (base, len) in attachment.ranges.spans(run.first, run.count) {
            let mut mapped = attachment.uffd.continue_(base, len, protected);
            if mapped == Err(OpError::Exists) && run.access == Access::Write && !attachment.read_only {
                mapped = attachment.uffd.write_protect(base, len, false);
            }
            match mapped {
                // Whoever needs it will fault.
                Ok(()) | Err(OpError::Exists | OpError::Unmapped | OpError::Busy | OpError::NoPage) => {}
                Err(error @ (OpError::Gone | OpError::Other(_))) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            self.metrics.uffd_failure("map_run", error.name());
            self.end(run.attachment, format!("cannot map its memory: {error}"));
        }
    }
}
