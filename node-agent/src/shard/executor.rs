//! Carries out what the protocol says, at once and in its order. It decides nothing about a page: what it finds
//! different from what the protocol believes can only be the doing of a program or of the kernel.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use pagemesh_protocol::{Access, AgentId, Message, Output, PageId, Payload, RegionId, Time};

use super::ahead::{Ahead, Run};
use super::clock::{Clock, between};
use super::links::Senders;
use super::poller::Poller;
use super::programs::{Installed, Programs};
use super::regions::Regions;
use super::waits::{Wait, Waits};
use crate::memory::{PAGE_SIZE_MAX, PageBuffer, PagePool};
use crate::metrics::{Direction, Metrics};

/// What a page of zeros is written from. As an array it would be 2 MiB of the program's file.
static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; PAGE_SIZE_MAX as usize]);

/// Everything on this node that the protocol acts on.
#[derive(Debug)]
pub(super) struct Executor {
    pub(super) clock: Clock,
    pub(super) regions: Regions,
    pub(super) programs: Programs,
    pub(super) waits: Waits,
    pub(super) ahead: Ahead,
    pub(super) senders: Senders,
    pub(super) pool: PagePool,
    /// Contents of pages that were given away, until their new owners are known to have them: copies of what the region
    /// files' asides hold, to be sent without being read again. Never iterated.
    asides: HashMap<PageId, PageBuffer>,
    /// Regions that are to be left, and the number of the attempt.
    pub(super) leaving: BTreeMap<RegionId, u64>,
    /// Regions that have been left, to be told when the round ends.
    pub(super) left: Vec<(RegionId, u64)>,
    metrics: Arc<Metrics>,
}

impl Executor {
    pub(super) fn new(ahead_bytes: u64, metrics: Arc<Metrics>) -> Executor {
        Executor {
            clock: Clock,
            regions: Regions::default(),
            programs: Programs::new(ahead_bytes, metrics.clone()),
            waits: Waits::default(),
            ahead: Ahead::default(),
            senders: Senders::default(),
            pool: PagePool::default(),
            asides: HashMap::new(),
            leaving: BTreeMap::new(),
            left: Vec::new(),
            metrics,
        }
    }

    /// Carries out one output of a step that was taken at `now`; `received` is the payload of the step's message.
    pub(super) fn execute(&mut self, now: Time, output: Output, received: &[u8]) {
        // What was said of a page before is done before.
        if let Some(run) = page_of(&output).and_then(|page| self.ahead.take_run_with(page)) {
            self.map_run(run);
        }
        match output {
            Output::Send { to, message, payload } => self.send(to, &message, payload),
            Output::Store { page } => self.store(page, received),
            Output::Zero { page } => {
                let len = self.regions.place(page).len as usize;
                self.store(page, &ZEROS[..len]);
            }
            Output::Map { page, access } => self.map(now, page, access),
            Output::Premap { page } => {
                self.metrics.updates.inc();
                self.programs.premap(page);
            }
            Output::Protect { page } => self.programs.protect(page),
            Output::Take { page } => {
                self.metrics.takes.inc();
                self.take(page);
            }
            Output::Discard { page } => {
                self.metrics.invalidations.inc();
                self.punch(page);
            }
            Output::Forget { page } => {
                if let Some(aside) = self.asides.remove(&page) {
                    self.pool.give(aside);
                }
                // A region that was being closed when an earlier process died has no file any more.
                if self.regions.get(page.region).is_some() {
                    let place = self.regions.place(page);
                    let forgotten = place.file.forget_aside(place.offset, place.len.into());
                    forgotten.expect("a hole can always be made in a tmpfs");
                }
            }
            Output::Left { region } => {
                self.left.extend(self.leaving.remove(&region).map(|attempt| (region, attempt)));
            }
            Output::RefusePeer { peer, reason } => {
                self.metrics.violation(reason.name());
                // It comes again and again until nothing refers to its earlier life any more: the first loss is logged.
                tracing::debug!(peer = peer.0, reason = reason.name(), "a peer must not be believed");
                self.senders.refuse(peer, format!("it must not be believed: {}", reason.name()));
            }
            Output::Violation { from, reason } => {
                self.metrics.violation(reason.name());
                tracing::debug!(from = from.0, reason = reason.name(), "refused a demand");
            }
        }
    }

    fn send(&mut self, to: AgentId, message: &Message, payload: Payload) {
        let payload = match payload {
            Payload::None => None,
            Payload::Page => Some(self.copy(message.page)),
            Payload::Aside => Some(self.aside(message.page)),
        };
        let len = payload.as_ref().map_or(0, |page| page.len());
        tracing::trace!(to = to.0, ?message, len, "send");
        match self.senders.push(to, message, payload) {
            Ok(()) => self.metrics.message(Direction::Sent, &message.body, len),
            // The connection broke during this round; the protocol hears of it next.
            Err(unsent) => unsent.into_iter().for_each(|page| self.pool.give(page)),
        }
    }

    /// Sends what is queued, if it is much, before the round ends: who waits for many pages can begin with the first while
    /// the last are being copied.
    pub(super) fn send_many(&mut self, poller: &Poller) {
        if self.senders.has_many() {
            self.senders.flush(poller, &mut self.pool);
        }
    }

    pub(super) fn store(&mut self, page: PageId, contents: &[u8]) {
        let place = self.regions.place(page);
        assert_eq!(contents.len(), place.len as usize, "lengths are checked at the door");
        if let Err(error) = place.file.write_page(place.offset, contents) {
            out_of_memory(page, &error);
        }
    }

    pub(super) fn punch(&mut self, page: PageId) {
        let place = self.regions.place(page);
        let punched = place.file.punch(place.offset, place.len.into());
        punched.expect("a hole can always be made in a tmpfs");
        // Punching wakes nobody. Whoever waits in a fault on the page goes on waiting for it to come back.
        self.waits.unmapped(page);
    }

    pub(super) fn copy(&mut self, page: PageId) -> PageBuffer {
        let place = self.regions.place(page);
        let copied = self.pool.filled(place.len, |buffer| place.file.read_page(place.offset, buffer));
        copied.expect("a file in a tmpfs can always be read")
    }

    /// Takes a page away from all programs, and keeps its contents aside.
    fn take(&mut self, page: PageId) {
        // In this order: a store between the copy and the punch would be lost.
        self.programs.protect(page);
        let copy = self.copy(page);
        let place = self.regions.place(page);
        if let Err(error) = place.file.put_aside(place.offset, &copy) {
            out_of_memory(page, &error);
        }
        if let Some(older) = self.asides.insert(page, copy) {
            self.pool.give(older);
        }
        self.punch(page);
    }

    fn aside(&mut self, page: PageId) -> PageBuffer {
        if let Some(aside) = self.asides.get(&page) {
            return aside.clone();
        }
        // Put aside by an earlier process.
        let place = self.regions.place(page);
        let read = self.pool.filled(place.len, |buffer| place.file.read_aside(place.offset, buffer));
        let aside = read.expect("a file in a tmpfs can always be read");
        self.asides.insert(page, aside.clone());
        aside
    }

    /// Whether an output is about a region that is here: one may have been closed just when an earlier process died.
    pub(super) fn knows(&self, output: &Output) -> bool {
        match output {
            Output::Store { page }
            | Output::Zero { page }
            | Output::Map { page, .. }
            | Output::Premap { page }
            | Output::Protect { page }
            | Output::Take { page }
            | Output::Discard { page }
            | Output::Forget { page } => self.regions.get(page.region).is_some(),
            Output::Send { .. }
            | Output::Left { .. }
            | Output::RefusePeer { .. }
            | Output::Violation { .. } => true,
        }
    }

    /// Carries out an output that an earlier process may have carried out already. Nothing of what follows on it has been.
    pub(super) fn execute_again(&mut self, now: Time, output: Output, received: &[u8]) {
        match output {
            // There is nobody to send anything to.
            Output::Send { .. } => {}
            Output::Take { page } => {
                let place = self.regions.place(page);
                let there = place.file.has(place.offset, place.len.into());
                // If it is gone, then what is aside is whole.
                if there.expect("a file in a tmpfs can always be looked at") {
                    self.take(page);
                }
            }
            Output::Store { .. }
            | Output::Zero { .. }
            | Output::Map { .. }
            | Output::Premap { .. }
            | Output::Protect { .. }
            | Output::Discard { .. }
            | Output::Forget { .. }
            | Output::Left { .. }
            | Output::RefusePeer { .. }
            | Output::Violation { .. } => self.execute(now, output, received),
        }
    }

    /// Maps a page where it is waited for. Where it was asked for ahead, it is mapped with its neighbours, for which
    /// [`Executor::map_pending`] is called at the end of a round at the latest.
    fn map(&mut self, now: Time, page: PageId, access: Access) {
        let Some(arrived) = self.ahead.arrived(page) else { return self.map_waiting(now, page, access) };
        // Nobody waits for the mark, unless the program is faster than the network.
        if arrived.is_mark && self.waits.find(page, 0).is_none() {
            return;
        }
        if let Some(run) = self.ahead.add(arrived.attachment, page, access) {
            self.map_run(run);
        }
    }

    /// Maps the pages that were asked for ahead and have come.
    pub(super) fn map_pending(&mut self) {
        if let Some(run) = self.ahead.take_run() {
            self.map_run(run);
        }
    }

    fn map_run(&mut self, run: Run) {
        self.programs.map_run(&run);
        let now = self.clock.now();
        // Others may wait for some of it, and what was mapped before has woken nobody.
        for page in run.pages() {
            self.map_waiting(now, page, run.access);
        }
    }

    /// Serves the faults that wait for a page, as far as `access` goes. The others wait on: what they need has been
    /// asked for.
    fn map_waiting(&mut self, now: Time, page: PageId, access: Access) {
        let mut from = 0;
        while let Some(at) = self.waits.find(page, from) {
            let wait = self.waits.get(at);
            let all = access == Access::Write || !wait.write;
            from = at + 1;
            if !all && !wait.read {
                continue;
            }
            match self.programs.install(&wait, access) {
                Installed::Busy => {
                    self.waits.set_busy(at);
                    continue;
                }
                Installed::Done => self.count_served(&wait, now),
                Installed::Poisoned => {
                    self.metrics.poisoned.inc();
                    let (region, page) = (page.region.0, page.index);
                    tracing::warn!(
                        region,
                        page,
                        "a program removed a page's contents; touching it is a SIGBUS now"
                    );
                }
            }
            if all {
                self.waits.remove(at);
                from = at;
            } else {
                self.waits.read_served(at, now);
            }
        }
    }

    fn count_served(&self, wait: &Wait, now: Time) {
        let done = self.clock.now();
        let waited = between(wait.since, done);
        self.metrics.fault_served(wait.kind, wait.served, waited, between(now, done));
        self.programs.count(wait, waited);
    }
}

/// The page that an output is done to, but for mapping it.
fn page_of(output: &Output) -> Option<PageId> {
    match output {
        Output::Store { page }
        | Output::Zero { page }
        | Output::Premap { page }
        | Output::Protect { page }
        | Output::Take { page }
        | Output::Discard { page } => Some(*page),
        Output::Send { .. }
        | Output::Map { .. }
        | Output::Forget { .. }
        | Output::Left { .. }
        | Output::RefusePeer { .. }
        | Output::Violation { .. } => None,
    }
}

/// A page that has been received or granted cannot be kept. To go on would be to lose it, or to show zeros.
pub(super) fn out_of_memory(page: PageId, error: &std::io::Error) -> ! {
    let (region, page) = (page.region.0, page.index);
    tracing::error!(
        region,
        page,
        %error,
        "there is no room for a page: give the agent's tmpfs or its memory limit more room than the regions have"
    );
    std::process::abort();
}
