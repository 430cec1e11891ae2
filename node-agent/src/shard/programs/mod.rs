//! The attached programs, and what is done to their memory. A page may be mapped in several ranges of several
//! attachments: a verb on a page is done at each of those places.

mod ahead;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pagemesh_protocol::{Access, PageId, RegionId};

use super::ahead::Streams;
use super::ranges::Ranges;
use super::waits::Wait;
use super::{AttachmentId, Counts, Range};
use crate::metrics::{FaultKind, Metrics};
use crate::uffd::{OpError, Uffd};

/// How often write-protection is tried while a program's memory map changes. With the features that we choose the
/// kernel never says so; a program for which it does would never end.
const PROTECT_TRIES: usize = 1_000;

/// What a program brings to this shard, and what the shard is to do with it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) uffd: Arc<Uffd>,
    pub(super) read_only: bool,
    pub(super) counts: Arc<Counts>,
}

/// One process attached to one region.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) region: RegionId,
    pub(super) uffd: Arc<Uffd>,
    pub(super) page_size: u32,
    pub(super) ranges: Ranges,
    /// What it maps is private, of a file that was opened to read: nothing of it needs to be protected.
    pub(super) read_only: bool,
    /// It may not have the region any more: nothing is mapped, and every access is a SIGBUS.
    pub(super) revoked: bool,
    counts: Arc<Counts>,
    /// Where it goes next.
    streams: Streams,
    /// It has ended, but its process lives on with what it has mapped: nothing is served any more, and what it may
    /// write still has to be taken from it.
    orphan: bool,
}

impl Attachment {
    /// Whether there is a process that still has something of the region mapped. Exit and exec take a process's
    /// memory before its connection.
    fn is_mapped(&self) -> bool {
        self.ranges.ends().any(|page| {
            let mapped = if self.revoked {
                // To map a page would undo that it is poisoned.
                self.uffd.poison(page, crate::uffd::KERNEL_PAGE)
            } else {
                // Maps nothing that the node does not have, and nothing writable.
                self.uffd.continue_(page, crate::uffd::KERNEL_PAGE, !self.read_only)
            };
            !matches!(mapped, Err(OpError::Gone | OpError::Unmapped))
        })
    }
}

/// How mapping a page where a fault waits has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Installed {
    /// Whoever waited goes on, or tries again.
    Done,
    /// The memory map was changing: to be tried again.
    Busy,
    /// There is nothing to map, against what the protocol says: a program has removed the contents from the file.
    /// Its next access is a SIGBUS.
    Poisoned,
}

/// How far poisoning a page has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Poisoned {
    /// No access to it succeeds any more.
    Everywhere,
    /// Some of it is mapped.
    NotWhereMapped,
    /// The memory map was changing: to be tried again.
    Busy,
}

#[derive(Debug)]
pub(super) struct Programs {
    by_id: BTreeMap<AttachmentId, Attachment>,
    /// Attachments that cannot go on, and why. The worker takes them out of everything when the round ends.
    pub(super) ended: Vec<(AttachmentId, String)>,
    /// Bytes that may be asked for ahead at a time.
    ahead_bytes: u64,
    metrics: Arc<Metrics>,
}

impl Programs {
    pub(super) fn new(ahead_bytes: u64, metrics: Arc<Metrics>) -> Programs {
        Programs { by_id: BTreeMap::new(), ended: Vec::new(), ahead_bytes, metrics }
    }

    pub(super) fn insert(&mut self, id: AttachmentId, region: RegionId, page_size: u32, bound: Bound) {
        self.bury();
        let Bound { uffd, read_only, counts } = bound;
        let ranges = Ranges::new(page_size);
        let streams = Streams::new(self.ahead_bytes / u64::from(page_size));
        let (revoked, orphan) = (false, false);
        let attachment =
            Attachment { region, uffd, page_size, ranges, read_only, revoked, counts, streams, orphan };
        self.by_id.insert(id, attachment);
    }

    pub(super) fn get(&self, id: AttachmentId) -> Option<&Attachment> {
        self.by_id.get(&id)
    }

    /// A fault was served.
    pub(super) fn count(&self, wait: &Wait, waited: Duration) {
        let Some(attachment) = self.by_id.get(&wait.attachment) else { return };
        let bytes = match wait.kind {
            FaultKind::Read | FaultKind::Write => attachment.page_size.into(),
            // The page was there.
            FaultKind::Upgrade => 0,
        };
        attachment.counts.served(bytes, waited);
    }

    pub(super) fn map(&mut self, id: AttachmentId, range: Range) {
        if let Some(attachment) = self.by_id.get_mut(&id) {
            attachment.ranges.map(range);
        }
    }

    pub(super) fn unmap(&mut self, id: AttachmentId, base: u64, len: u64) {
        if let Some(attachment) = self.by_id.get_mut(&id) {
            attachment.ranges.unmap(base, len);
            // Whoever waits there is on its own now: it faults again, or finds nothing mapped.
            let _ = attachment.uffd.wake(base, len);
        }
    }

    /// An attachment ends. If its process lives on with the region mapped, its userfaultfd is kept: what it may read it
    /// goes on reading, what it may write is taken from it when another node wants it, and its next fault waits for
    /// ever. Were it let go, the process would write what no other node hears of. Returns the userfaultfd if the
    /// attachment had not ended before.
    pub(super) fn end_service(&mut self, id: AttachmentId) -> Option<Arc<Uffd>> {
        let attachment = self.by_id.get_mut(&id)?;
        let uffd = (!attachment.orphan).then(|| attachment.uffd.clone());
        attachment.streams.end_all();
        self.metrics.ahead(attachment.streams.outcome());
        attachment.orphan = true;
        if !attachment.is_mapped() {
            self.by_id.remove(&id);
        }
        uffd
    }

    /// Forgets all attachments to a region that is no more, and returns the userfaultfds of those that had not ended.
    pub(super) fn drop_region(&mut self, region: RegionId) -> Vec<Arc<Uffd>> {
        let mut served = Vec::new();
        self.by_id.retain(|_, attachment| {
            let kept = attachment.region != region;
            if !kept && !attachment.orphan {
                served.push(attachment.uffd.clone());
            }
            kept
        });
        served
    }

    /// Lets go of ended attachments whose processes have ended too.
    pub(super) fn bury(&mut self) {
        self.by_id.retain(|_, attachment| !attachment.orphan || attachment.is_mapped());
    }

    pub(super) fn end(&mut self, id: AttachmentId, reason: impl Into<String>) {
        self.ended.push((id, reason.into()));
    }

    /// Of all attachments.
    pub(super) fn userfaultfds(&self) -> impl Iterator<Item = (AttachmentId, Arc<Uffd>)> + '_ {
        self.by_id.iter().map(|(id, attachment)| (*id, attachment.uffd.clone()))
    }

    /// An attachment may not have its region any more. Returns what it has mapped, of which nothing is taken away yet.
    pub(super) fn revoke(&mut self, id: AttachmentId) -> Vec<Range> {
        let Some(attachment) = self.by_id.get_mut(&id) else { return Vec::new() };
        attachment.revoked = true;
        attachment.ranges.all().collect()
    }

    /// Makes every access of a revoked attachment to a page a SIGBUS, wherever nothing is mapped.
    pub(super) fn poison(&mut self, id: AttachmentId, page: PageId) -> Poisoned {
        let Some(attachment) = self.by_id.get(&id) else { return Poisoned::Everywhere };
        let mut poisoned = Poisoned::Everywhere;
        let mut failed = None;
        for address in attachment.ranges.addresses(page.index) {
            let len = attachment.page_size.into();
            match attachment.uffd.poison(address, len) {
                Ok(()) => {}
                Err(OpError::Unmapped) => _ = attachment.uffd.wake(address, len),
                Err(OpError::Exists) => poisoned = poisoned.max(Poisoned::NotWhereMapped),
                Err(OpError::Busy) => poisoned = Poisoned::Busy,
                Err(error @ (OpError::Gone | OpError::NoPage | OpError::Other(_))) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            self.metrics.uffd_failure("revoke", error.name());
            self.end(id, format!("cannot take its memory away: {error}"));
        }
        poisoned
    }

    /// Removes what the kernel notes of protection where an attachment has a page that is in the file no more. Were it there,
    /// it would be writable afterwards.
    pub(super) fn forget_protection(&mut self, id: AttachmentId, page: PageId) {
        let Some(attachment) = self.by_id.get(&id).filter(|attachment| !attachment.read_only) else { return };
        for address in attachment.ranges.addresses(page.index) {
            // Whatever is wrong shows when it is poisoned.
            let _ = attachment.uffd.write_protect(address, attachment.page_size.into(), false);
        }
    }

    /// Lets everybody who waits for a page fault again.
    pub(super) fn wake(&mut self, page: PageId) {
        self.everywhere(page, "wake", |attachment, address, len| attachment.uffd.wake(address, len));
    }

    /// Lets everybody who waits in a fault fault again.
    pub(super) fn wake_all(&mut self) {
        for attachment in self.by_id.values() {
            for Range { base, len, .. } in attachment.ranges.all() {
                // Who is gone does not wait.
                let _ = attachment.uffd.wake(base, len);
            }
        }
    }

    /// Write-protects a page everywhere. When it returns, no program writes to the page any more.
    pub(super) fn protect(&mut self, page: PageId) {
        self.everywhere(page, "protect", |attachment, address, len| {
            if attachment.read_only {
                return Ok(());
            }
            let protect = || attachment.uffd.write_protect(address, len, true);
            let mut done = protect();
            for _ in 0..PROTECT_TRIES {
                if done != Err(OpError::Busy) {
                    break;
                }
                std::thread::yield_now();
                done = protect();
            }
            match done {
                // Nothing is mapped, so nothing can be written.
                Ok(()) | Err(OpError::Unmapped) => Ok(()),
                Err(OpError::Gone) => Err(OpError::Gone),
                // To go on would be to let a program write what others do not see. No program can bring this about.
                Err(error @ (OpError::Busy | OpError::Exists | OpError::NoPage | OpError::Other(_))) => {
                    panic!("cannot write-protect page {} of region {:#x}: {error}", page.index, page.region.0)
                }
            }
        });
    }

    /// Maps a page write-protected everywhere, where it is not mapped yet.
    pub(super) fn premap(&mut self, page: PageId) {
        self.everywhere(page, "premap", |attachment, address, len| {
            if attachment.orphan || attachment.revoked {
                return Ok(());
            }
            match attachment.uffd.continue_(address, len, !attachment.read_only) {
                // Whoever needs it will fault.
                Err(OpError::Exists | OpError::Unmapped | OpError::Busy | OpError::NoPage) => Ok(()),
                other => other,
            }
        });
    }

    fn everywhere(
        &mut self,
        page: PageId,
        operation: &str,
        mut verb: impl FnMut(&Attachment, u64, u64) -> Result<(), OpError>,
    ) {
        for (id, attachment) in self.by_id.iter().filter(|(_, a)| a.region == page.region) {
            for address in attachment.ranges.addresses(page.index) {
                if let Err(error) = verb(attachment, address, attachment.page_size.into()) {
                    self.metrics.uffd_failure(operation, error.name());
                    self.ended.push((*id, format!("cannot {operation} its memory: {error}")));
                }
            }
        }
    }

    /// Maps the page where a fault waits for it and wakes whoever waits there.
    pub(super) fn install(&mut self, wait: &Wait, access: Access) -> Installed {
        let attachment = self.by_id.get(&wait.attachment).filter(|attachment| !attachment.revoked);
        let Some(attachment) = attachment else { return Installed::Done };
        let (uffd, address, len) = (&attachment.uffd, wait.address, u64::from(attachment.page_size));
        let done = match access {
            // Of a private mapping the kernel makes nothing writable.
            _ if attachment.read_only => {
                or_if_mapped(uffd.continue_(address, len, false), || uffd.wake(address, len))
            }
            Access::Read => or_if_mapped(uffd.continue_(address, len, true), || uffd.wake(address, len)),
            // The hint saves a call that would fail. When it is wrong, the thread faults again and gives a better one.
            Access::Write if wait.protected => uffd.write_protect(address, len, false),
            Access::Write => {
                or_if_mapped(uffd.continue_(address, len, false), || uffd.write_protect(address, len, false))
            }
        };
        let Err(error) = done else { return Installed::Done };
        self.metrics.uffd_failure("install", error.name());
        match error {
            OpError::Busy => Installed::Busy,
            OpError::NoPage => {
                // `Exists` is of the parts of a larger page that are mapped still.
                let _ = uffd.poison(address, len);
                let _ = uffd.wake(address, len);
                Installed::Poisoned
            }
            // Unmapped under our feet; a thread that waits there shall find out.
            OpError::Unmapped => {
                let _ = uffd.wake(address, len);
                Installed::Done
            }
            OpError::Gone | OpError::Exists | OpError::Other(_) => {
                self.end(wait.attachment, format!("cannot map its memory: {error}"));
                Installed::Done
            }
        }
    }
}

/// What to do instead when a page is mapped already.
fn or_if_mapped(
    done: Result<(), OpError>,
    instead: impl FnOnce() -> Result<(), OpError>,
) -> Result<(), OpError> {
    match done {
        Err(OpError::Exists) => instead(),
        other => other,
    }
}
