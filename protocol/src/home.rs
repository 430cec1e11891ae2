//! The directory: the home of a page knows who holds it and runs one transaction on it at a time.

use alloc::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::mutation::Mutation;
use crate::node::{Node, PageState, Step};
use crate::{Access, AgentId, AgentSet, Body, Fill, PageId, RequestId, Txn};

/// What the home knows of a page.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The agent that has the contents for certain; none as long as nobody ever wrote the page.
    pub(crate) owner: Option<AgentId>,
    /// The transaction that made the owner the owner: the version of the contents.
    pub(crate) version: Txn,
    /// Agents that may have a read-only copy: at least all that have one.
    pub(crate) sharers: AgentSet,
    /// `WriteUpdate`: agents that want new contents when there are any.
    pub(crate) subscribers: AgentSet,
}

impl Default for Entry {
    fn default() -> Entry {
        Entry {
            owner: None,
            version: Txn::NEVER_WRITTEN,
            sharers: AgentSet::default(),
            subscribers: AgentSet::default(),
        }
    }
}

/// A page's transaction and those who wait for it to end, in order of arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct HomeWork {
    pub(crate) active: Option<Transaction>,
    pub(crate) queue: VecDeque<Waiting>,
}

impl HomeWork {
    pub(crate) fn enqueue(&mut self, waiting: Waiting) {
        match self.queue.iter_mut().find(|w| w.from == waiting.from) {
            Some(earlier) if earlier.req < waiting.req => *earlier = waiting,
            Some(_) => {}
            None => self.queue.push_back(waiting),
        }
    }

    /// Whether `agent` waits here, so that it may come to have the page.
    pub(crate) fn serves(&self, agent: AgentId) -> bool {
        self.active.as_ref().is_some_and(|t| t.requester == agent)
            || self.queue.iter().any(|w| w.from == agent)
    }

    /// Whether `agent` has to do with anything here.
    pub(crate) fn mentions(&self, agent: AgentId) -> bool {
        self.serves(agent) || self.active.as_ref().is_some_and(|t| t.mentions(agent))
    }
}

impl Entry {
    pub(crate) fn mentions(&self, agent: AgentId) -> bool {
        self.owner == Some(agent) || self.sharers.contains(agent) || self.subscribers.contains(agent)
    }
}

impl Transaction {
    pub(crate) fn mentions(&self, agent: AgentId) -> bool {
        let in_kind = match &self.kind {
            Kind::Read { source } | Kind::Collect { source } => *source == agent,
            Kind::Write { source, invalidate, .. } => *source == Some(agent) || invalidate.contains(agent),
        };
        self.requester == agent || in_kind
    }
}

/// A request that the home has not begun to serve. At most one for each agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) from: AgentId,
    pub(crate) req: RequestId,
    pub(crate) access: Access,
    pub(crate) have: Txn,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Transaction {
    pub(crate) txn: Txn,
    pub(crate) requester: AgentId,
    pub(crate) req: RequestId,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// `source` sends a copy to the requester.
    Read { source: AgentId },
    /// `source` (else nobody: the requester has the contents, or there are none) gives the page up to the requester;
    /// `invalidate` drop their copies.
    Write { source: Option<AgentId>, fill: Fill, invalidate: AgentSet, push: bool },
    /// `WriteUpdate`: `source` sends a copy to the home, which passes it on to all that wait for it or subscribed.
    Collect { source: AgentId },
}

impl Node {
    /// Somebody needs a page that is homed here.
    pub(crate) fn on_get(
        &mut self,
        step: &mut Step<'_>,
        page: PageId,
        from: AgentId,
        req: RequestId,
        access: Access,
        have: Txn,
    ) {
        if !self.leavers.is_empty() && !self.mutated(Mutation::ForgetReturned) {
            // Whoever asks has changed its mind.
            self.leavers.remove((page.region, from));
        }
        let work = self.work.or_default(page);
        if work.active.as_ref().is_some_and(|t| t.requester == from && t.req == req) {
            return self.send_transaction(step, page);
        }
        let waiting = Waiting { from, req, access, have };
        if work.active.is_none() {
            // The common case, which need not touch the queue: nobody waits where nothing is open.
            if !self.begin(step, page, waiting) {
                self.next(step, page);
            }
            return;
        }
        work.enqueue(waiting);
        if self.mutated(Mutation::ServeWhileOpen) {
            self.next(step, page);
        }
    }

    /// Serves the queue until a transaction has to wait for others, or nobody waits.
    pub(crate) fn next(&mut self, step: &mut Step<'_>, page: PageId) {
        while let Some(waiting) = self.work.or_default(page).queue.pop_front() {
            if self.begin(step, page, waiting) {
                return;
            }
        }
        self.work.remove(page);
    }

    /// Serves a request. Returns whether that has opened a transaction.
    fn begin(&mut self, step: &mut Step<'_>, page: PageId, waiting: Waiting) -> bool {
        let begun = match waiting.access {
            Access::Read => self.begin_read(step, page, waiting),
            Access::Write => Some(self.begin_write(page, waiting)),
        };
        let open = begun.is_some();
        if open {
            self.work.or_default(page).active = begun;
            self.send_transaction(step, page);
        }
        open
    }

    fn new_txn(&mut self) -> Txn {
        if !self.mutated(Mutation::ReuseTransaction) || self.last_txn == Txn::NEVER_WRITTEN.0 {
            self.last_txn += 1;
        }
        Txn(self.last_txn)
    }

    /// A read that the home can answer from what it knows is over at once: connections keep order, so that whatever
    /// the home sends the reader later finds it with its copy.
    fn begin_read(&mut self, step: &mut Step<'_>, page: PageId, waiting: Waiting) -> Option<Transaction> {
        let Waiting { from, req, .. } = waiting;
        let txn = self.new_txn();
        let (me, has_copy, updates) =
            (self.me, self.page(page).state != PageState::Invalid, self.updates(page));
        let entry = self.entry(page);
        let source = entry.owner.map(|owner| if has_copy { me } else { owner });
        let Some(source) = source.filter(|s| *s != from) else {
            // Nobody wrote it, or the reader has it (and asked before it knew).
            let fill =
                if entry.owner.is_none() && !(from == me && has_copy) { Fill::Zero } else { Fill::Keep };
            let version = entry.version;
            entry.sharers.insert(from);
            if updates {
                entry.subscribers.insert(from);
            }
            let body = Body::Grant { txn, req, access: Access::Read, fill, acks: 0, version, push: false };
            self.send(step, from, page, body);
            return None;
        };
        if updates {
            self.work.or_default(page).queue.push_front(waiting);
            return Some(Transaction {
                txn,
                requester: me,
                req: RequestId::NONE,
                kind: Kind::Collect { source },
            });
        }
        Some(Transaction { txn, requester: from, req, kind: Kind::Read { source } })
    }

    fn begin_write(&mut self, page: PageId, waiting: Waiting) -> Transaction {
        let Waiting { from, req, have, .. } = waiting;
        let txn = self.new_txn();
        let (me, updates) = (self.me, self.updates(page));
        let skip = self.mutated(Mutation::SkipSharer);
        let guess = self.mutated(Mutation::IgnoreVersion);
        let entry = self.entry(page);
        let mut invalidate = entry.sharers.clone();
        invalidate.extend(&entry.owner.into_iter().collect());
        let current = have == entry.version || entry.owner == Some(from);
        let current = current || (guess && invalidate.contains(from));
        invalidate.remove(from);
        let (source, fill) = match entry.owner {
            // The version says that the requester's copy is the newest there is. That it is on the list of sharers
            // would not: it may have been put there for contents that were lost on their way.
            _ if current => (None, Fill::Keep),
            None => (None, Fill::Zero),
            Some(owner) => {
                invalidate.remove(owner);
                (Some(owner), Fill::Zero)
            }
        };
        if skip {
            let first = invalidate.iter().next();
            first.into_iter().for_each(|sharer| invalidate.remove(sharer));
        }
        let others = entry.subscribers.iter().any(|s| s != from && s != me);
        let kind = Kind::Write { source, fill, invalidate, push: updates && others };
        Transaction { txn, requester: from, req, kind }
    }

    /// Sends all messages of the page's transaction. Every one of them may be repeated: until the transaction ends,
    /// whoever gets one a second time answers as the first time.
    pub(crate) fn send_transaction(&mut self, step: &mut Step<'_>, page: PageId) {
        let Some(Transaction { txn, requester, req, kind }) =
            self.work.get(page).and_then(|w| w.active.clone())
        else {
            return;
        };
        match kind {
            Kind::Read { source } | Kind::Collect { source } => {
                let body = Body::Fetch { txn, req, requester, access: Access::Read, acks: 0, push: false };
                self.send(step, source, page, body);
            }
            Kind::Write { source, fill, invalidate, push } => {
                for sharer in invalidate.iter() {
                    self.send(step, sharer, page, Body::Invalidate { txn, req, requester });
                }
                let (access, acks) = (Access::Write, invalidate.len());
                let (to, body) = match source {
                    Some(source) => (source, Body::Fetch { txn, req, requester, access, acks, push }),
                    None => (requester, Body::Grant { txn, req, access, fill, acks, version: txn, push }),
                };
                self.send(step, to, page, body);
            }
        }
    }

    /// Asks the requester of an open transaction whether it has been served: its `Done` may have been lost, and
    /// whoever would serve it once more may not be able to reach it.
    pub(crate) fn send_probe(&mut self, step: &mut Step<'_>, page: PageId) {
        if let Some(t) =
            self.work.get(page).and_then(|w| w.active.as_ref()).filter(|t| t.req != RequestId::NONE)
        {
            let (to, body) = (t.requester, Body::Probe { txn: t.txn, req: t.req });
            self.send(step, to, page, body);
        }
    }

    /// The requester has what it asked for. Under another transaction than the open one: then a repetition of a read
    /// was taken for a new request when the home had answered the first one and forgotten it.
    pub(crate) fn on_done(
        &mut self,
        step: &mut Step<'_>,
        page: PageId,
        from: AgentId,
        txn: Txn,
        req: RequestId,
    ) {
        let Some(work) = self.work.get_mut(page) else { return };
        work.queue.retain(|w| (w.from, w.req) != (from, req));
        let served = |t: &mut Transaction| {
            let read = matches!(t.kind, Kind::Read { .. });
            (t.requester, t.req) == (from, req) && (t.txn == txn || read)
        };
        let Some(transaction) = work.active.take_if(served) else { return };
        let updates = self.updates(page);
        let entry = self.entry(page);
        if updates {
            entry.subscribers.insert(from);
        }
        match transaction.kind {
            Kind::Read { .. } | Kind::Collect { .. } => entry.sharers.insert(from),
            Kind::Write { source, .. } => {
                (entry.owner, entry.version) = (Some(from), txn);
                entry.sharers.clear();
                if let Some(source) = source {
                    self.send(step, source, page, Body::Release { txn });
                }
            }
        }
        self.next(step, page);
    }

    /// This home's own copy went to the reader, over the connection that keeps order: the transaction is over.
    pub(crate) fn read_served(&mut self, step: &mut Step<'_>, page: PageId, txn: Txn) {
        if let Some(t) = self.work.get(page).and_then(|w| w.active.as_ref()) {
            let (requester, req) = (t.requester, t.req);
            self.on_done(step, page, requester, txn, req);
        }
    }

    /// A former holder asks whether its aside is still needed.
    pub(crate) fn on_holding(&mut self, step: &mut Step<'_>, page: PageId, from: AgentId, txn: Txn) {
        let open = self.work.get(page).and_then(|w| w.active.as_ref()).is_some_and(|t| t.txn == txn);
        if !open {
            self.send(step, from, page, Body::Release { txn });
        }
    }

    /// `WriteUpdate`: a writer has gathered enough.
    pub(crate) fn on_turn_over(&mut self, step: &mut Step<'_>, page: PageId, from: AgentId, version: Txn) {
        let busy = self.work.get(page).is_some();
        let entry = self.entry(page);
        if busy || entry.owner != Some(from) || entry.version != version {
            return; // The page is moving already, and its contents with it.
        }
        let (txn, requester, req) = (self.new_txn(), self.me, RequestId::NONE);
        let kind = Kind::Collect { source: from };
        self.work.or_default(page).active = Some(Transaction { txn, requester, req, kind });
        self.send_transaction(step, page);
    }

    /// `WriteUpdate`: the contents for transaction `txn` are here; with a `version` if they came from elsewhere.
    /// They go to all that wait for them or subscribed, at once.
    pub(crate) fn on_collected(&mut self, step: &mut Step<'_>, page: PageId, txn: Txn, version: Option<Txn>) {
        let is_it = |t: &mut Transaction| t.txn == txn && matches!(t.kind, Kind::Collect { .. });
        if self.work.get_mut(page).and_then(|w| w.active.take_if(is_it)).is_none() {
            return;
        }
        if let Some(version) = version {
            self.release_up_to(step, page, txn);
            step.out.push(crate::Output::Store { page });
            self.arrived(step, page, PageState::Shared, version);
        }
        let (me, forget) = (self.me, self.mutated(Mutation::ForgetTargets));
        let mut readers = core::mem::take(&mut self.work.or_default(page).queue);
        let entry = self.entry(page);
        let version = entry.version;
        let mut targets = entry.subscribers.clone();
        targets.subtract(&entry.sharers);
        targets.extend(&readers.iter().filter(|w| w.access == Access::Read).map(|w| w.from).collect());
        entry.owner.into_iter().chain([me]).for_each(|has_it| targets.remove(has_it));
        if !forget {
            entry.sharers.extend(&targets);
        }
        entry.sharers.insert(me);
        entry.subscribers.extend(&targets);
        for to in targets.iter() {
            let waiting = readers.iter().find(|w| w.from == to && w.access == Access::Read);
            let req = waiting.map_or(RequestId::NONE, |w| w.req);
            self.send(step, to, page, Body::Update { txn, req, version });
        }
        if let Some(own) = readers.iter().find(|w| w.from == me && w.access == Access::Read) {
            let (req, access, fill) = (own.req, Access::Read, Fill::Keep);
            // The contents are in the region file already, but the page was not ours to read before this.
            self.send(step, me, page, Body::Grant { txn, req, access, fill, acks: 0, version, push: false });
        }
        readers.retain(|w| w.access == Access::Write);
        self.work.or_default(page).queue = readers;
        self.next(step, page);
    }
}
