//! Pages move: the new home takes the directory entries up.
//!
//! A page's identity at its home is its entry, the transaction that is open, and the fact that transactions are numbered
//! in rising order; nothing else need move. Who waits for a page asks again, since the epoch has changed for it, too;
//! and a transaction goes on when its new home repeats its messages, as it does after a lost connection.
//!
//! For each previous home there is a cursor: the entries of all pages before it are here. The new home claims from
//! there, and gets as many entries as the previous home sends at a time. A page that somebody waits for is claimed at
//! once, ahead of the cursor. As long as the entry of a page is not here, the home says nothing of the page.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::home::{Entry, Kind, Transaction, Waiting};
use crate::message::Route;
use crate::mutation::Mutation;
use crate::node::{Node, Region, Step};
use crate::tables::Few;
use crate::{
    Access, AgentId, AgentSet, Body, CHUNK_PAGES, Incarnation, Message, Open, PageId, RegionId, Roles, Txn,
};

/// What is still to come of a region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Arriving {
    /// By previous home: the first page whose entry is not here.
    cursors: Few<AgentId, u64>,
    /// Pages behind a cursor whose entries are here.
    ahead: BTreeSet<u64>,
    /// Transactions of pages whose entries are not all here.
    open: Few<u64, Arrival>,
}

/// A transaction on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Arrival {
    open: Open,
    source: Option<AgentId>,
    invalidate: AgentSet,
}

impl Arrival {
    fn into_transaction(self) -> Option<Transaction> {
        let Open { txn, req, requester, access, fill, push } = self.open;
        let kind = match access {
            Access::Read => Kind::Read { source: self.source? },
            Access::Write => Kind::Write { source: self.source, fill, invalidate: self.invalidate, push },
        };
        Some(Transaction { txn, requester, req, kind })
    }
}

impl Arriving {
    /// A page whose transaction has to do with `agent`, of those that are on their way.
    pub(crate) fn mention_of(&self, agent: AgentId) -> Option<u64> {
        let mentions = |arrival: &Arrival| {
            arrival.open.requester == agent
                || arrival.source == Some(agent)
                || arrival.invalidate.contains(agent)
        };
        self.open.iter().find(|(_, arrival)| mentions(arrival)).map(|(index, _)| index)
    }
}

impl Region {
    /// The first page from `index` on that moves from `from` to `me`.
    fn next_arrival(&self, region: RegionId, me: AgentId, from: AgentId, index: u64) -> Option<u64> {
        let (homes, previous) = (self.placement.homes.len() as u64, self.placement.previous.len() as u64);
        let first = index / CHUNK_PAGES;
        // Where homes and previous homes meet repeats itself.
        let chunks = self.config.pages.div_ceil(CHUNK_PAGES).min(first.saturating_add(homes * previous));
        let moves = |at: &u64| {
            let page = PageId { region, index: *at };
            self.placement.home(page) == me && self.placement.previous_home(page) == from
        };
        let at = (first..chunks).map(|chunk| chunk * CHUNK_PAGES).find(moves)?.max(index);
        (at < self.config.pages).then_some(at)
    }
}

impl Node {
    /// A placement begins: claims what comes here by it.
    pub(crate) fn arrive(&mut self, region: RegionId) {
        self.arriving.remove(region);
        let known = self.regions.get(&region).expect("it has just been declared");
        let mut cursors = Few::new();
        let previous: AgentSet = known.placement.previous.iter().copied().collect();
        for from in previous.iter().filter(|from| *from != self.me) {
            if let Some(first) = known.next_arrival(region, self.me, from, 0) {
                cursors.insert(from, first);
            }
        }
        if !cursors.is_empty() {
            self.arriving.insert(region, Arriving { cursors, ahead: BTreeSet::new(), open: Few::new() });
        }
    }

    /// Whether the entry of a page that is homed here is here.
    pub(crate) fn is_here(&self, page: PageId) -> bool {
        let Some(arriving) = self.arriving.get(page.region) else { return true };
        let from = self.region(page).placement.previous_home(page);
        let cursor = arriving.cursors.get(from);
        cursor.is_none_or(|next| page.index < *next || arriving.ahead.contains(&page.index))
    }

    /// Whether a message asks the home of a page for what it cannot say yet.
    pub(crate) fn is_early(&self, message: Message) -> bool {
        message.body.route() == Route::ToHome
            && !self.is_here(message.page)
            && !self.mutated(Mutation::ServeUnknown)
    }

    /// Requests wait for the entry. All else is to be said again, or does not matter.
    pub(crate) fn on_early(&mut self, step: &mut Step<'_>, from: AgentId, message: Message) {
        let page = message.page;
        let Body::Get { req, access, have } = message.body else {
            return self.send(step, from, page, Body::Refused);
        };
        self.leavers.remove((page.region, from));
        let first = self.work.get(page).is_none();
        self.work.or_default(page).enqueue(Waiting { from, req, access, have });
        // The entry at a cursor is on its way already.
        if first && !self.is_claiming(page) {
            self.send_claim(step, page, true);
        }
    }

    fn send_claim(&mut self, step: &mut Step<'_>, page: PageId, exact: bool) {
        let from = self.region(page).placement.previous_home(page);
        self.send(step, from, page, Body::Claim { exact });
    }

    /// The pages from which on entries are claimed.
    pub(crate) fn claims(&self) -> impl Iterator<Item = PageId> + '_ {
        self.arriving.iter().flat_map(|(region, arriving)| {
            arriving.cursors.iter().map(move |(_, &index)| PageId { region, index })
        })
    }

    pub(crate) fn is_claiming(&self, page: PageId) -> bool {
        self.claims().any(|at| at == page)
    }

    /// Claims again what was claimed in the name of this page.
    pub(crate) fn claim_again(&mut self, step: &mut Step<'_>, page: PageId) {
        if self.is_claiming(page) {
            self.send_claim(step, page, false);
        } else if self.work.get(page).is_some() && !self.is_here(page) {
            self.send_claim(step, page, true);
        }
    }

    /// An entry comes. As long as the page is not known, nobody looks at what has come of it, and it may come again.
    pub(crate) fn on_entry(&mut self, page: PageId, version: Txn, open: Option<Open>) {
        if self.is_here(page) {
            return;
        }
        *self.entry(page) = Entry { version, ..Entry::default() };
        let arriving = self.arriving.get_mut(page.region).expect("the page is not here");
        arriving.open.remove(page.index);
        if let Some(open) = open {
            let arrival = Arrival { open, source: None, invalidate: AgentSet::default() };
            arriving.open.insert(page.index, arrival);
        }
    }

    /// An agent that the entry mentions.
    pub(crate) fn on_member(
        &mut self,
        step: &mut Step<'_>,
        page: PageId,
        agent: AgentId,
        incarnation: Incarnation,
        roles: Roles,
    ) {
        if self.is_here(page) {
            return;
        }
        self.believe(step, agent, incarnation);
        let entry = self.entry(page);
        if roles.has(Roles::OWNER) {
            entry.owner = Some(agent);
        }
        if roles.has(Roles::SHARER) {
            entry.sharers.insert(agent);
        }
        if roles.has(Roles::SUBSCRIBER) {
            entry.subscribers.insert(agent);
        }
        let arriving = self.arriving.get_mut(page.region).expect("the page is not here");
        // Nobody takes from a requester what it asks for.
        let open = arriving.open.get_mut(page.index).filter(|o| o.open.requester != agent);
        let Some(arrival) = open else { return };
        if roles.has(Roles::SOURCE) {
            arrival.source = Some(agent);
        }
        if roles.has(Roles::INVALIDATED) {
            arrival.invalidate.insert(agent);
        }
    }

    /// All that was claimed from `page` on has come, up to `to`.
    pub(crate) fn on_claimed(
        &mut self,
        step: &mut Step<'_>,
        page: PageId,
        from: AgentId,
        exact: bool,
        to: u64,
        last: Txn,
    ) {
        let raise = !self.mutated(Mutation::KeepCounting);
        let Some(arriving) = self.arriving.get_mut(page.region).filter(|a| a.cursors.get(from).is_some())
        else {
            if !exact {
                self.send(step, from, page, Body::Settled);
            }
            return;
        };
        if raise {
            self.last_txn = self.last_txn.max(last.0);
        }
        // Sorted, and most often there is nothing to be taken up at all.
        let open = arriving.open.iter().map(|(index, _)| index);
        let work = self.work.iter().map(|(page, _)| page).filter(|p| p.region == page.region);
        let mut waiting: Vec<u64> = open.chain(work.map(|p| p.index)).collect();
        waiting.sort_unstable();
        waiting.dedup();
        waiting.retain(|&index| !self.is_here(PageId { index, ..page }));
        self.advance_cursor(step, page, from, exact, to);
        for index in waiting {
            self.take_up(step, PageId { index, ..page });
        }
        if self.arriving.get(page.region).is_some_and(|a| a.cursors.is_empty()) {
            self.arriving.remove(page.region);
        }
    }

    /// Notes down which entries are here, and claims the next.
    fn advance_cursor(&mut self, step: &mut Step<'_>, page: PageId, from: AgentId, exact: bool, to: u64) {
        let at = |index| PageId { index, ..page };
        let known = self.regions.get(&page.region).expect("the door lets only known regions in");
        let Some(arriving) = self.arriving.get_mut(page.region) else { return };
        let Some(&cursor) = arriving.cursors.get(from) else { return };
        if exact {
            if page.index >= cursor {
                arriving.ahead.insert(page.index);
            }
            return;
        }
        if to <= page.index || cursor != page.index {
            return; // It was asked for an earlier time, or not at all.
        }
        let next = known.next_arrival(page.region, self.me, from, to);
        let passed =
            |index| next.is_none_or(|next| index < next) && known.placement.previous_home(at(index)) == from;
        arriving.ahead.retain(|&index| !passed(index));
        if let Some(next) = next {
            arriving.cursors.insert(from, next);
            self.send_claim(step, at(next), false);
        } else {
            arriving.cursors.remove(from);
            if !self.mutated(Mutation::ForgetSettled) {
                self.send(step, from, page, Body::Settled);
            }
        }
    }

    /// Goes on with a page if its entry is here: with the transaction that is open, else with who waits.
    fn take_up(&mut self, step: &mut Step<'_>, page: PageId) {
        if !self.is_here(page) {
            return;
        }
        let arrival = self.arriving.get_mut(page.region).and_then(|a| a.open.remove(page.index));
        let Some(transaction) = arrival.and_then(Arrival::into_transaction) else {
            return self.next(step, page);
        };
        let served = (transaction.requester, transaction.req);
        let work = self.work.or_default(page);
        work.queue.retain(|w| (w.from, w.req) != served);
        work.active = Some(transaction);
        self.send_transaction(step, page);
        self.send_probe(step, page);
    }
}
