//! The side that wants a page: faults, the request that they cause, and its completion.

use serde::{Deserialize, Serialize};

use crate::mutation::Mutation;
use crate::node::{Node, Page, PageState, Step, enough};
use crate::{Access, AgentId, AgentSet, Body, Fill, Message, Output, PageId, RequestId, Txn, Violation};

/// A page that this node has asked its home for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) req: RequestId,
    pub(crate) access: Access,
    /// A store waits too: ask again for `Write` when `Read` has come.
    pub(crate) wants_write: bool,
    /// The answer, once it is here; contents are in the region file from then on.
    answer: Option<Answer>,
    /// The request was sent more than once, so that the home may take one of them for a new one later.
    pub(crate) repeated: bool,
    /// Who acknowledged. A set, since an acknowledgement may come twice.
    acked: AgentSet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Answer {
    txn: Txn,
    access: Access,
    acks: u16,
    version: Txn,
    push: bool,
    /// The home answered a read itself and has forgotten it: it awaits no `Done`.
    closed: bool,
}

impl Node {
    /// A program touched a page.
    pub(crate) fn on_fault(&mut self, step: &mut Step<'_>, page: PageId, access: Access) {
        if self.regions.get(&page.region).is_none_or(|r| page.index >= r.config.pages) {
            return step.out.push(Output::Violation { from: self.me, reason: Violation::NoSuchPage });
        }
        if !self.leaving.is_empty() {
            // The copies that are still here are as good as ever: a home forgets them only when they are gone.
            self.leaving.remove(page.region);
        }
        let state = self.page(page).state;
        if enough(state, access) {
            self.page_mut(page).untouched = 0;
            // As much as the node has: a load that maps a page writable saves the store its fault.
            let access = if state == PageState::Exclusive { Access::Write } else { Access::Read };
            return step.out.push(Output::Map { page, access });
        }
        match self.requests.get_mut(page) {
            Some(request) => request.wants_write |= access == Access::Write,
            None => self.request(step, page, access),
        }
    }

    /// Asks the home for a page.
    pub(crate) fn request(&mut self, step: &mut Step<'_>, page: PageId, access: Access) {
        self.last_req += 1;
        let req = RequestId(self.last_req);
        let wants_write = access == Access::Write;
        self.requests.insert(
            page,
            Request { req, access, wants_write, answer: None, repeated: false, acked: AgentSet::default() },
        );
        self.send_get(step, page, req, access);
    }

    /// Says what is wanted and what is here. Safe to repeat at any time.
    pub(crate) fn send_get(&mut self, step: &mut Step<'_>, page: PageId, req: RequestId, access: Access) {
        let Page { state, version, .. } = self.page(page);
        let have = if state == PageState::Invalid { Txn::NONE } else { version };
        self.send(step, self.home(page), page, Body::Get { req, access, have });
    }

    /// Contents arrived.
    pub(crate) fn on_data(&mut self, step: &mut Step<'_>, from: AgentId, message: Message) {
        let Body::Data { txn, req, access, acks, version, push } = message.body else { return };
        let page = message.page;
        if req == RequestId::NONE {
            return self.on_collected(step, page, txn, Some(version));
        }
        let closed = access == Access::Read && from == self.home(page);
        let answer = Answer { txn, access, acks, version, push, closed };
        if !self.awaits_answer(step, page, req, answer) {
            return;
        }
        let here = self.page(page);
        // Under WriteUpdate the same contents may have come by an update.
        if !(here.state == PageState::Shared && here.version == version) {
            step.out.push(Output::Store { page });
        }
        self.answered(step, page, answer);
    }

    /// The home answers without contents.
    pub(crate) fn on_grant(&mut self, step: &mut Step<'_>, from: AgentId, message: Message) {
        let Body::Grant { txn, req, access, fill, acks, version, push } = message.body else { return };
        let page = message.page;
        let closed = access == Access::Read;
        let answer = Answer { txn, access, acks, version, push, closed };
        if !self.awaits_answer(step, page, req, answer) {
            return;
        }
        let state = self.page(page).state;
        match fill {
            Fill::Zero if state == PageState::Invalid => step.out.push(Output::Zero { page }),
            Fill::Keep if state == PageState::Invalid => {
                return step.out.push(Output::Violation { from, reason: Violation::NotHeld });
            }
            Fill::Zero | Fill::Keep => {}
        }
        self.answered(step, page, answer);
    }

    /// Whether request `req` is still open and has no answer yet. If it was completed before, then the home has missed
    /// the news and is told again. That is all the memory of completed requests that is needed, since no number is
    /// used twice.
    fn awaits_answer(&mut self, step: &mut Step<'_>, page: PageId, req: RequestId, answer: Answer) -> bool {
        match self.requests.get(page) {
            Some(request) if request.req == req => request.answer.is_none(),
            Some(_) | None => {
                if !answer.closed && !self.mutated(Mutation::ForgetDone) {
                    self.send(step, self.home(page), page, Body::Done { txn: answer.txn, req });
                }
                false
            }
        }
    }

    fn answered(&mut self, step: &mut Step<'_>, page: PageId, answer: Answer) {
        if let Some(request) = self.requests.get_mut(page) {
            request.answer = Some(answer);
        }
        self.complete_if_ready(step, page);
    }

    /// A former sharer has dropped its copy.
    pub(crate) fn on_ack(&mut self, step: &mut Step<'_>, page: PageId, from: AgentId, req: RequestId) {
        if let Some(request) = self.requests.get_mut(page).filter(|r| r.req == req) {
            request.acked.insert(from);
            self.complete_if_ready(step, page);
        }
    }

    fn complete_if_ready(&mut self, step: &mut Step<'_>, page: PageId) {
        let Some(request) = self.requests.get(page) else { return };
        let Some(answer) = request.answer else { return };
        if request.acked.len() < answer.acks && !self.mutated(Mutation::GrantBeforeAcks) {
            return;
        }
        let again = request.wants_write && answer.access == Access::Read;
        let (req, repeated) = (request.req, request.repeated);
        self.requests.remove(page);
        // A later transaction than the one that took the page away: its home had no more need of our aside.
        self.release_up_to(step, page, answer.txn);
        let (state, version) = match answer.access {
            Access::Read => (PageState::Shared, answer.version),
            Access::Write => (PageState::Exclusive, answer.txn),
        };
        self.arrived(step, page, state, version);
        step.out.push(Output::Map { page, access: answer.access });
        if answer.push && answer.access == Access::Write {
            self.turn_overs.insert(page, step.now.after(self.tuning.update_turn_nanos));
        }
        if repeated || !answer.closed {
            self.send(step, self.home(page), page, Body::Done { txn: answer.txn, req });
        }
        if again {
            self.request(step, page, Access::Write);
        }
    }

    /// A page is here for a turn.
    pub(crate) fn arrived(&mut self, step: &mut Step<'_>, page: PageId, state: PageState, version: Txn) {
        self.set_state(page, state);
        let turn_ends = step.now.after(self.tuning.turn_nanos);
        let here = self.page_mut(page);
        (here.version, here.turn_ends, here.untouched) = (version, turn_ends, 0);
    }

    /// An update answered read request `req`, if it is still open.
    pub(crate) fn answered_by_update(&mut self, step: &mut Step<'_>, page: PageId, txn: Txn, req: RequestId) {
        let Some(request) = self.requests.get(page).filter(|r| r.req == req) else { return };
        let (again, repeated) = (request.wants_write, request.repeated);
        self.requests.remove(page);
        if repeated {
            self.send(step, self.home(page), page, Body::Done { txn, req });
        }
        if again {
            self.request(step, page, Access::Write);
        }
    }

    /// The home asks whether it waits in vain for request `req` to be done.
    pub(crate) fn on_probe(&mut self, step: &mut Step<'_>, page: PageId, txn: Txn, req: RequestId) {
        let open = self.requests.get(page).is_some_and(|r| r.req == req);
        if !open && !self.mutated(Mutation::IgnoreProbe) {
            self.send(step, self.home(page), page, Body::Done { txn, req });
        }
    }
}
