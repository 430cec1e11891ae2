//! The only caller of the protocol. Events become inputs here, after what a peer or a program may have got wrong has
//! been looked at; outputs are carried out before the next input.

use std::io;
use std::sync::Arc;

use pagemesh_protocol::{AgentId, Body, Incarnation, Input, Node, Output, PageId, RegionId};
use thiserror::Error;

use super::executor::Executor;
use super::poller::Poller;
use super::ranges::Spot;
use super::revocation::Revocations;
use super::waits::Wait;
use super::{AttachmentId, RegionReport, Report, Setup};
use crate::journal::{Journal, Recovered, Rest};
use crate::metrics::{Direction, Metrics, Served};
use crate::peer::Frame;
use crate::uffd::{Fault, READ_BATCH};

/// Pages that are asked for ahead of the faults that were read together: what comes of one program's faults must not keep the others
/// waiting for long.
const AHEAD_MAX: u64 = 1024;

/// Why a frame does not fit what this agent knows of its region. It is passed over; the connection goes on, since it
/// serves other regions as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Misfit {
    #[error("page {} of region {:x} is not served by this shard: give both agents the same region", .0.index, .0.region.0)]
    WrongShard(PageId),
    #[error(
        "region {:x} has pages of {want} bytes here, and {got} bytes came: give both agents the same region",
        .region.0
    )]
    PageSize { region: RegionId, got: usize, want: u32 },
}

impl Misfit {
    /// Short name for metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Misfit::WrongShard(_) => "wrong_shard",
            Misfit::PageSize { .. } => "page_size",
        }
    }
}

#[derive(Debug)]
pub(super) struct Engine {
    shard: u16,
    shards: u16,
    node: Node,
    outputs: Vec<Output>,
    /// What outlives this process.
    pub(super) journal: Option<Journal>,
    /// An earlier process has served what is here, and not all of it has been told yet.
    waiting: bool,
    /// What it has left to do.
    rest: Option<Rest>,
    /// Where faults are read to.
    faults: [Fault; READ_BATCH],
    pub(super) executor: Executor,
    /// What is being taken away from programs.
    pub(super) revocations: Revocations,
    metrics: Arc<Metrics>,
}

impl Engine {
    /// An engine with the state of an earlier process, or without any.
    ///
    /// # Errors
    /// What is to outlive this process cannot be kept.
    pub(super) fn new(shard: u16, setup: Setup, recovered: Option<Recovered>) -> io::Result<Engine> {
        let waiting = recovered.is_some();
        let (node, journal, rest) = match recovered {
            Some(Recovered { mut journal, mut node, rest }) => {
                // Inputs that were taken under other times must not be taken again under these.
                if node.tune(setup.tuning) && rest.is_none() {
                    journal.save(&node)?;
                }
                (node, Some(journal), rest)
            }
            None => {
                let node = Node::new(setup.me, setup.incarnation, setup.tuning);
                let dir = setup.state_dir.as_deref();
                let journal = dir.map(|dir| Journal::begin(dir, shard, &node)).transpose()?;
                (node, journal, None)
            }
        };
        Ok(Engine {
            shard,
            shards: setup.shards,
            node,
            outputs: Vec::new(),
            journal,
            waiting,
            rest,
            faults: [Fault::default(); READ_BATCH],
            executor: Executor::new(setup.ahead_bytes, setup.metrics.clone()),
            revocations: Revocations::default(),
            metrics: setup.metrics,
        })
    }

    /// Whether an earlier process has begun something that comes before everything else.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Finishes what an earlier process has begun, now that its regions and programs are here.
    pub(super) fn take_over(&mut self) {
        self.put_back();
        if let Some((now, outputs, payload)) = self.rest.take() {
            for output in outputs {
                if self.executor.knows(&output) {
                    self.executor.execute_again(now, output, &payload);
                }
                if let Some(journal) = &mut self.journal {
                    journal.done();
                }
            }
        }
        if let Some(journal) = &mut self.journal {
            journal.save(&self.node).expect("there was room for what an earlier process kept");
        }
        self.waiting = false;
        let peers: Vec<AgentId> = self.node.peers().collect();
        for peer in peers {
            self.step(Input::PeerDown { peer }, &[]);
        }
    }

    /// Saves the state at the end, so that who takes over need not take the inputs since.
    pub(super) fn put_away(&mut self) {
        if self.waiting {
            return;
        }
        if let Some(Err(error)) = self.journal.as_mut().map(|journal| journal.save(&self.node)) {
            // The inputs are there.
            tracing::warn!(%error, "cannot save the state of a shard; what was saved last holds");
        }
    }

    /// One step of the protocol, carried out. `received` is the payload of the message, if it is one.
    pub(super) fn step(&mut self, input: Input, received: &[u8]) {
        assert!(!self.waiting, "what an earlier process has begun comes first");
        let now = self.executor.clock.now();
        if let Some(journal) = &mut self.journal {
            journal.record(now, &input, received, &self.node);
        }
        self.node.step(now, input, &mut self.outputs);
        for output in self.outputs.drain(..) {
            self.executor.execute(now, output, received);
            if let Some(journal) = &mut self.journal {
                journal.done();
            }
        }
    }

    /// Takes the faults that are there, up to a bound: one program must not keep the others waiting.
    pub(super) fn serve_faults(&mut self, id: AttachmentId, poller: &Poller) {
        let Some(attachment) = self.executor.programs.get(id) else { return };
        let batch = match attachment.uffd.read(&mut self.faults) {
            Ok(batch) => batch,
            Err(errno) => {
                return self.executor.programs.end(id, format!("cannot read its faults: {errno}"));
            }
        };
        if batch.strange > 0 {
            self.metrics.strange_events.inc_by(batch.strange as u64);
        }
        let mut room = AHEAD_MAX;
        for at in 0..batch.faults {
            if let Some(wait) = self.on_fault(id, self.faults[at]) {
                self.look_ahead(&wait, &mut room, poller);
            }
        }
    }

    /// Takes up a fault. Returns what the program waits for, if it may have it.
    fn on_fault(&mut self, id: AttachmentId, fault: Fault) -> Option<Wait> {
        let attachment = self.executor.programs.get(id)?;
        let (index, address) = match attachment.ranges.spot(fault.address) {
            Spot::Page { index, address } => (index, address),
            Spot::Unmapped => {
                // A race between two threads of the program; the one that touches finds out when it tries again.
                self.metrics.faults_unmapped.inc();
                let _ = attachment.uffd.wake(kernel_page(fault.address), crate::uffd::KERNEL_PAGE);
                return None;
            }
            Spot::Unknown => {
                let reason = format!("it faulted at {:#x}, where it has mapped nothing", fault.address);
                self.executor.programs.end(id, reason);
                return None;
            }
        };
        let page = PageId { region: attachment.region, index };
        if attachment.revoked {
            self.expel(id, page);
            return None;
        }
        // A program that has made its private mapping writable stores into a copy of its own, for which it needs the page.
        let fault =
            if attachment.read_only { Fault { write: false, protected: false, ..fault } } else { fault };
        let wait = Wait::new(page, id, address, fault, self.executor.clock.now());
        tracing::trace!(?wait, "fault");
        if !self.executor.waits.add(wait) {
            self.metrics.faults_repeated.inc();
        }
        self.step(Input::Fault { page, access: wait.access() }, &[]);
        Some(wait)
    }

    /// Asks for pages that a program will touch soon, if it seems so: of `room` pages at most, which become fewer by that.
    fn look_ahead(&mut self, wait: &Wait, room: &mut u64, poller: &Poller) {
        let Some(window) = self.executor.programs.look_ahead(wait, *room) else { return };
        let page = wait.page;
        *room -= window.count;
        // Whoever waits for the page that was touched need not wait for what follows.
        self.executor.map_pending();
        self.executor.ahead.ask(wait.attachment, page.region, window);
        for index in window.pages() {
            self.step(Input::Fault { page: PageId { index, ..page }, access: window.access }, &[]);
            self.executor.send_many(poller);
        }
    }

    /// Asks again for pages that could not be mapped because a program's memory map was changing. By now they may be
    /// elsewhere, so the protocol is asked, not the memory.
    pub(super) fn retry_busy(&mut self) {
        let mut from = 0;
        while let Some((at, wait)) = self.executor.waits.take_busy(from) {
            from = at + 1;
            self.step(Input::Fault { page: wait.page, access: wait.access() }, &[]);
        }
    }

    /// Takes up a frame from a peer.
    ///
    /// # Errors
    /// The frame is not for this shard, or not for the region as it is here. Nothing was done.
    pub(super) fn on_frame(&mut self, from: AgentId, frame: Frame<'_>) -> Result<(), Misfit> {
        let Frame { message, payload } = frame;
        let page = message.page;
        // What is said of an unknown region is the protocol's to refuse; its payload is just passed over.
        if let Some(region) = self.executor.regions.get(page.region) {
            let want = region.page_size;
            let one_page = !message.body.is_about_region();
            if one_page && super::of(page.region, page.index, want.into(), self.shards) != self.shard {
                return Err(Misfit::WrongShard(page));
            }
            if !payload.is_empty() && payload.len() != want as usize {
                return Err(Misfit::PageSize { region: page.region, got: payload.len(), want });
            }
        }
        tracing::trace!(from = from.0, ?message, len = payload.len(), "received");
        self.metrics.message(Direction::Received, &message.body, payload.len());
        self.note_help(from, page, &message.body);
        self.step(Input::Message { from, message }, payload);
        Ok(())
    }

    /// Keeps account of who serves the faults that wait for a page.
    fn note_help(&mut self, from: AgentId, page: PageId, body: &Body) {
        let by = match body {
            Body::Data { .. } | Body::Grant { .. } | Body::Update { .. } => {
                if self.node.home_of(page) == Some(from) { Served::Home } else { Served::Third }
            }
            // It counts only where nothing else came from elsewhere: an upgrade at the page's home.
            Body::Ack { .. } if self.executor.waits.is_local(page) => Served::Third,
            Body::Ack { .. }
            | Body::Get { .. }
            | Body::Fetch { .. }
            | Body::Invalidate { .. }
            | Body::Done { .. }
            | Body::Release { .. }
            | Body::Holding { .. }
            | Body::TurnOver { .. }
            | Body::Unsubscribe
            | Body::Probe { .. }
            | Body::Claim { .. }
            | Body::Entry { .. }
            | Body::Member { .. }
            | Body::Claimed { .. }
            | Body::Leave { .. }
            | Body::Left { .. }
            | Body::Settled
            | Body::Resumed
            | Body::Refused => return,
        };
        self.executor.waits.helped(page, by);
    }

    pub(super) fn peer_up(&mut self, peer: AgentId, incarnation: Incarnation) {
        self.step(Input::PeerUp { peer, incarnation }, &[]);
    }

    pub(super) fn peer_down(&mut self, peer: AgentId) {
        self.step(Input::PeerDown { peer }, &[]);
    }

    /// Nanoseconds until the protocol wants to be called; 0 if that time has come.
    pub(super) fn nanos_to_deadline(&self) -> Option<u64> {
        // Most of the time there is none, and the clock need not be asked.
        let deadline = self.node.deadline().filter(|_| !self.waiting)?;
        Some(deadline.0.saturating_sub(self.executor.clock.now().0))
    }

    pub(super) fn report(&self) -> Report {
        #[cfg(test)]
        let allocations = super::tests::allocations::of_this_thread();
        let region_report = |region| {
            let (shared, exclusive) = self.node.pages_by_state(region);
            let (epoch, settled) = (self.node.epoch(region).unwrap_or(0), self.node.settled(region));
            RegionReport { region, shared, exclusive, epoch, settled }
        };
        let in_flight = self.node.in_flight();
        Report {
            regions: self.executor.regions.ids().map(region_report).collect(),
            peers: self.executor.senders.peers().collect(),
            in_flight: in_flight.requests + in_flight.transactions,
            #[cfg(test)]
            allocations,
        }
    }
}

/// The beginning of the kernel's page around an address.
fn kernel_page(address: u64) -> u64 {
    address - address % crate::uffd::KERNEL_PAGE
}
