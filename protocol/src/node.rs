//! The state of one agent and its one entrance, [`Node::step`].

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::arrival::Arriving;
use crate::departure::Departed;
use crate::home::{Entry, HomeWork};
use crate::leavers::Leaver;
use crate::leaving::Leaving;
use crate::mutation::Mutation;
use crate::requester::Request;
use crate::tables::{Few, PerPage};
use crate::{
    Access, AgentId, AgentSet, Body, Coherence, Incarnation, Input, Message, Output, PageId, Payload,
    Placement, RegionConfig, RegionId, RequestId, Time, Txn,
};

/// The times and counts that a mesh may tune. Agents of one mesh need not agree on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tuning {
    /// How long an agent keeps a page that it has just got, in nanoseconds: long enough for the program that faulted
    /// to run and use it, so that two writers make progress instead of passing the page back and forth.
    pub turn_nanos: u64,
    /// `WriteUpdate`: how long a writer may gather writes before they go to those who held the page.
    pub update_turn_nanos: u64,
    /// When to try again after a message was refused for its epoch.
    pub retry_nanos: u64,
    /// `WriteUpdate`: an agent whose programs did not touch a page for so many updates leaves its subscribers.
    pub updates_untouched_max: u8,
    /// How much is done in one step when homes change or agents leave, so that nothing else waits for long: messages that
    /// answer a claim, entries looked through, copies dropped.
    pub batch: u32,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            turn_nanos: 50_000,
            update_turn_nanos: 1_000_000,
            retry_nanos: 5_000_000,
            updates_untouched_max: 16,
            batch: 512,
        }
    }
}

/// Of [`Tuning::updates_untouched_max`], the last updates that are stored without being mapped, so that a program
/// that does read the page faults locally, and is seen to.
pub(crate) const UPDATES_UNMAPPED: u8 = 4;

/// What this node may do with a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PageState {
    /// Nothing: there is no page in the region file.
    #[default]
    Invalid,
    /// Read it.
    Shared,
    /// Read and write it; no other node has a copy.
    Exclusive,
}

/// What every node keeps for every page that it ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) state: PageState,
    /// Version of the copy; when `Invalid`, of the last one.
    pub(crate) version: Txn,
    /// Until when the page stays here whoever asks.
    pub(crate) turn_ends: Time,
    /// Updates since a program last faulted on the page.
    pub(crate) untouched: u8,
}

impl Default for Page {
    fn default() -> Page {
        Page { state: PageState::Invalid, version: Txn::NONE, turn_ends: Time(0), untouched: 0 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Region {
    pub(crate) config: RegionConfig,
    pub(crate) placement: Placement,
    /// It was another life of this agent that the placement names as a previous home: this one has no entries.
    pub(crate) in_former_life: bool,
    pub(crate) pages: PerPage<Page>,
    pub(crate) directory: PerPage<Entry>,
    pub(crate) shared: u64,
    pub(crate) exclusive: u64,
}

/// A demand for a page that waits for the turn to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Deferred {
    pub(crate) until: Time,
    pub(crate) message: Message,
}

/// The time of a step and where its outputs go.
pub(crate) struct Step<'a> {
    pub(crate) now: Time,
    pub(crate) out: &'a mut Vec<Output>,
}

/// One agent's (one shard's) part of the protocol.
///
/// What is kept by role: `requester.rs` asks for pages, `holder.rs` gives them up, `home.rs` orders everybody's
/// accesses to the pages homed here, `recovery.rs` repeats what may have been lost. When homes change, `departure.rs`
/// hands directory entries over and `arrival.rs` takes them up; when an agent leaves a region, `leaving.rs` is its side
/// and `leavers.rs` its homes'. All talk by messages even within one node (`local`), so that a home treats its own
/// programs as it treats everybody else's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Node {
    pub(crate) me: AgentId,
    pub(crate) tuning: Tuning,
    pub(crate) regions: BTreeMap<RegionId, Region>,
    pub(crate) connected: AgentSet,
    pub(crate) incarnations: BTreeMap<AgentId, Incarnation>,
    /// Agents that directory entries mention in more than one life.
    pub(crate) torn: AgentSet,
    pub(crate) last_req: u64,
    pub(crate) last_txn: u64,
    /// Pages that this node has asked for.
    pub(crate) requests: Few<PageId, Request>,
    /// Pages given away whose copy is kept until the new owner is known to have it.
    pub(crate) asides: Few<PageId, Txn>,
    /// Demands that wait for a turn to end.
    pub(crate) deferred: Few<PageId, Deferred>,
    /// Pages written under `WriteUpdate` whose contents are due at the home.
    pub(crate) turn_overs: Few<PageId, Time>,
    /// Pages homed here with a transaction under way.
    pub(crate) work: Few<PageId, HomeWork>,
    /// Pages whose messages were refused, and when to send them again.
    pub(crate) retries: Few<PageId, Time>,
    /// Regions with pages homed here whose directory entries are still to come.
    pub(crate) arriving: Few<RegionId, Arriving>,
    /// Directory entries that other homes are to take up, or may not have got yet.
    pub(crate) departed: Few<(RegionId, AgentId), Departed>,
    /// Regions that this node is leaving.
    pub(crate) leaving: Few<RegionId, Leaving>,
    /// Agents that are leaving a region which this node homes.
    pub(crate) leavers: Few<(RegionId, AgentId), Leaver>,
    /// Where something was found to refer to the life before of an agent that was refused for it: looked at first when it
    /// comes again.
    pub(crate) references: Few<AgentId, PageId>,
    /// Messages of this node to itself: taken up before the step ends.
    pub(crate) local: VecDeque<Message>,
    #[cfg(feature = "mutations")]
    #[serde(skip)]
    pub(crate) mutation: Option<Mutation>,
}

impl Node {
    /// A node that knows no region and no peer.
    ///
    /// # Panics
    /// If `me` is not below [`AgentId::LIMIT`].
    #[must_use]
    pub fn new(me: AgentId, incarnation: Incarnation, tuning: Tuning) -> Node {
        assert!(me.0 < AgentId::LIMIT, "agent {} is not below the limit of {}", me.0, AgentId::LIMIT);
        Node {
            me,
            tuning,
            regions: BTreeMap::new(),
            connected: AgentSet::default(),
            incarnations: BTreeMap::from([(me, incarnation)]),
            torn: AgentSet::default(),
            // A number that is used in one life of an agent must not be used in another one. The incarnation is random.
            last_req: RequestId::NONE.0 + incarnation.0 / 2,
            last_txn: Txn::NEVER_WRITTEN.0,
            requests: Few::new(),
            asides: Few::new(),
            deferred: Few::new(),
            turn_overs: Few::new(),
            work: Few::new(),
            retries: Few::new(),
            arriving: Few::new(),
            departed: Few::new(),
            leaving: Few::new(),
            leavers: Few::new(),
            references: Few::new(),
            local: VecDeque::new(),
            #[cfg(feature = "mutations")]
            mutation: None,
        }
    }

    /// Takes in one thing that happened and says what to do about it. The caller carries the outputs out in order
    /// before the next step. `now` must not go backwards.
    pub fn step(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        let mut step = Step { now, out };
        match input {
            Input::Region { region, config, placement } => {
                self.on_region(&mut step, region, config, placement)
            }
            Input::Leave { region } => self.on_leave_input(&mut step, region),
            Input::Drop { region } => self.on_drop(&mut step, region),
            Input::Fault { page, access } => self.on_fault(&mut step, page, access),
            Input::Message { from, message } => self.on_message(&mut step, from, message),
            Input::PeerUp { peer, incarnation } => self.on_peer_up(&mut step, peer, incarnation),
            Input::PeerDown { peer } => self.connected.remove(peer),
            Input::Tick => self.on_tick(&mut step),
        }
        loop {
            while let Some(message) = self.local.pop_front() {
                self.take(&mut step, self.me, message);
            }
            if self.leaving.is_empty() && self.leavers.is_empty() {
                return;
            }
            self.advance_leaving(&mut step);
            self.advance_leavers(&mut step);
            if self.local.is_empty() {
                return;
            }
        }
    }

    /// When to step with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let deferred = self.deferred.iter().map(|(_, d)| d.until);
        deferred
            .chain(self.turn_overs.iter().map(|(_, t)| *t))
            .chain(self.retries.iter().map(|(_, t)| *t))
            .chain(self.leaving.iter().filter(|(_, l)| l.has_more_to_do()).map(|_| Time(0)))
            .chain(self.leavers.iter().filter(|(_, l)| l.has_more_to_do()).map(|_| Time(0)))
            .min()
    }

    /// Makes `now` the origin of time; what is past becomes 0. Only differences of times matter, so that this changes
    /// nothing, but states that differ in nothing else become equal: for explorations.
    pub fn rebase(&mut self, now: Time) {
        let rebase = |time: &mut Time| time.0 = time.0.saturating_sub(now.0);
        for region in self.regions.values_mut() {
            region.pages.iter_mut_from(0).for_each(|(_, page)| rebase(&mut page.turn_ends));
        }
        self.deferred.values_mut().for_each(|deferred| rebase(&mut deferred.until));
        self.turn_overs.values_mut().for_each(rebase);
        self.retries.values_mut().for_each(rebase);
    }

    /// Hands a message that passed the door to the role that it is for.
    pub(crate) fn take(&mut self, step: &mut Step<'_>, from: AgentId, message: Message) {
        let page = message.page;
        if !self.arriving.is_empty() && self.is_early(message) {
            return self.on_early(step, from, message);
        }
        match message.body {
            Body::Get { req, access, have } => self.on_get(step, page, from, req, access, have),
            Body::Fetch { .. } => self.on_fetch(step, message),
            Body::Invalidate { .. } => self.on_invalidate(step, message),
            Body::Data { .. } => self.on_data(step, from, message),
            Body::Ack { req, .. } => self.on_ack(step, page, from, req),
            Body::Grant { .. } => self.on_grant(step, from, message),
            Body::Done { txn, req } => self.on_done(step, page, from, txn, req),
            Body::Probe { txn, req } => self.on_probe(step, page, txn, req),
            Body::Release { txn } => self.release_up_to(step, page, txn),
            Body::Holding { txn } => self.on_holding(step, page, from, txn),
            Body::TurnOver { version } => self.on_turn_over(step, page, from, version),
            Body::Update { .. } => self.on_update(step, message),
            Body::Unsubscribe => self.entry(page).subscribers.remove(from),
            Body::Refused => self.on_refused(step.now, page),
            Body::Resumed => self.recover_where(step, |_| true),
            Body::Claim { exact } => self.on_claim(step, page, from, exact),
            Body::Entry { version, open } => self.on_entry(page, version, open),
            Body::Member { agent, incarnation, roles } => {
                self.on_member(step, page, agent, incarnation, roles)
            }
            Body::Claimed { exact, to, last } => self.on_claimed(step, page, from, exact, to, last),
            Body::Settled => drop(self.departed.remove((page.region, from))),
            Body::Leave { req, keep } => self.on_leave(page.region, from, req, keep),
            Body::Left { req, keep } => self.on_left(page.region, from, req, keep),
        }
    }

    /// Time passed: turns end, refused messages are tried again.
    fn on_tick(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        while let Some((page, Deferred { message, .. })) = self.deferred.take_where(|d| d.until <= now) {
            // Of another epoch by now: its home has sent it again.
            let current = message.epoch == self.region(page).placement.epoch;
            if current && !self.mutated(Mutation::ForgetDeferred) {
                self.take(step, self.home(page), message);
            }
        }
        while let Some((page, _)) = self.turn_overs.take_where(|due| *due <= now) {
            let Page { state, version, .. } = self.page(page);
            if state == PageState::Exclusive {
                self.send(step, self.home(page), page, Body::TurnOver { version });
            }
        }
        while let Some((page, _)) = self.retries.take_where(|due| *due <= now) {
            self.recover(step, page);
        }
    }

    pub(crate) fn send(&mut self, step: &mut Step<'_>, to: AgentId, page: PageId, body: Body) {
        let epoch = self.region(page).placement.epoch;
        self.send_in_epoch(step, to, page, epoch, body);
    }

    pub(crate) fn send_in_epoch(
        &mut self,
        step: &mut Step<'_>,
        to: AgentId,
        page: PageId,
        epoch: u64,
        body: Body,
    ) {
        let payload = if body.has_payload() { Payload::Page } else { Payload::None };
        self.send_with(step, to, Message { page, epoch, body }, payload);
    }

    pub(crate) fn send_with(&mut self, step: &mut Step<'_>, to: AgentId, message: Message, payload: Payload) {
        if to == self.me {
            assert!(payload == Payload::None, "contents do not travel within a node: {message:?}");
            self.local.push_back(message);
        } else if self.connected.contains(to) {
            step.out.push(Output::Send { to, message, payload });
        }
        // To an agent that is not connected nothing is sent: `recover` repeats what matters once it is.
    }

    pub(crate) fn region(&self, page: PageId) -> &Region {
        self.regions.get(&page.region).expect("the door lets only known regions in")
    }

    pub(crate) fn home(&self, page: PageId) -> AgentId {
        self.region(page).placement.home(page)
    }

    pub(crate) fn updates(&self, page: PageId) -> bool {
        self.region(page).config.coherence == Coherence::WriteUpdate
    }

    /// What this node has of a page. Looking makes no entry for one that was never here.
    pub(crate) fn page(&self, page: PageId) -> Page {
        self.region(page).pages.get(page.index).copied().unwrap_or_default()
    }

    pub(crate) fn page_mut(&mut self, page: PageId) -> &mut Page {
        self.regions
            .get_mut(&page.region)
            .expect("the door lets only known regions in")
            .pages
            .get_mut(page.index)
    }

    pub(crate) fn entry(&mut self, page: PageId) -> &mut Entry {
        let region = self.regions.get_mut(&page.region).expect("the door lets only known regions in");
        region.directory.get_mut(page.index)
    }

    pub(crate) fn set_state(&mut self, page: PageId, state: PageState) {
        let region = self.regions.get_mut(&page.region).expect("the door lets only known regions in");
        let was = core::mem::replace(&mut region.pages.get_mut(page.index).state, state);
        for (which, delta) in [(was, -1), (state, 1)] {
            match which {
                PageState::Invalid => {}
                PageState::Shared => region.shared = region.shared.wrapping_add_signed(delta),
                PageState::Exclusive => region.exclusive = region.exclusive.wrapping_add_signed(delta),
            }
        }
    }

    /// Whether a test asked for this mistake. Always `false` without the feature `mutations`.
    pub(crate) fn mutated(&self, mutation: Mutation) -> bool {
        #[cfg(feature = "mutations")]
        return self.mutation == Some(mutation);
        #[cfg(not(feature = "mutations"))]
        {
            let _ = mutation;
            false
        }
    }
}

/// What a fault needs, as a page state.
pub(crate) fn enough(state: PageState, access: Access) -> bool {
    match access {
        Access::Read => state != PageState::Invalid,
        Access::Write => state == PageState::Exclusive,
    }
}
