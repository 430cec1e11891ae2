//! The side that has a page: it shares it, gives it up, and takes updates, each when its turn is over.

use crate::mutation::Mutation;
use crate::node::{Deferred, Node, PageState, Step, UPDATES_UNMAPPED};
use crate::{Access, Body, Message, Output, PageId, Payload, RequestId, Txn, Violation};

impl Node {
    /// The home wants the page's contents for somebody.
    pub(crate) fn on_fetch(&mut self, step: &mut Step<'_>, message: Message) {
        let Body::Fetch { txn, .. } = message.body else { return };
        let page = message.page;
        if self.asides.get(page) == Some(&txn) {
            // Asked again: the contents may have been lost on their way.
            return self.send_contents(step, message, Payload::Aside);
        }
        if self.overtaken(page, txn) {
            return;
        }
        self.release_up_to(step, page, txn);
        if self.page(page).state == PageState::Invalid {
            return step.out.push(Output::Violation { from: self.home(page), reason: Violation::NotHeld });
        }
        if !self.deferred_to_turn_end(step, message) {
            self.give(step, message);
        }
    }

    /// Shares the page or gives it up.
    fn give(&mut self, step: &mut Step<'_>, message: Message) {
        let Body::Fetch { txn, req, requester, access, .. } = message.body else { return };
        let page = message.page;
        self.turn_overs.remove(page);
        match access {
            Access::Read => {
                if self.page(page).state == PageState::Exclusive {
                    if !self.mutated(Mutation::KeepWritable) {
                        step.out.push(Output::Protect { page });
                    }
                    self.set_state(page, PageState::Shared);
                }
                if requester == self.me {
                    // The home collects what it has itself.
                    assert!(req == RequestId::NONE, "a node does not ask itself for a page that it has");
                    return self.on_collected(step, page, txn, None);
                }
                self.send_contents(step, message, Payload::Page);
                if self.home(page) == self.me {
                    self.read_served(step, page, txn);
                }
            }
            Access::Write => {
                step.out.push(Output::Take { page });
                self.set_state(page, PageState::Invalid);
                self.asides.insert(page, txn);
                self.send_contents(step, message, Payload::Aside);
                if self.mutated(Mutation::FreeEarly) {
                    self.release_up_to(step, page, txn);
                }
            }
        }
    }

    /// Answers a fetch. The contents and their version do not change as long as its transaction is open, so that it
    /// may be answered again.
    fn send_contents(&mut self, step: &mut Step<'_>, fetch: Message, payload: Payload) {
        let Body::Fetch { txn, req, requester, access, acks, push } = fetch.body else { return };
        let version = self.page(fetch.page).version;
        let body = Body::Data { txn, req, access, acks, version, push };
        self.send_with(step, requester, Message { body, ..fetch }, payload);
    }

    /// A write elsewhere removes this node's copy.
    pub(crate) fn on_invalidate(&mut self, step: &mut Step<'_>, message: Message) {
        let Body::Invalidate { txn, req, requester } = message.body else { return };
        let page = message.page;
        if self.overtaken(page, txn) {
            return;
        }
        self.release_up_to(step, page, txn);
        match self.page(page).state {
            // It may hold the only copy of what its programs wrote: a home that is in its right mind fetches it.
            PageState::Exclusive => {
                return step
                    .out
                    .push(Output::Violation { from: self.home(page), reason: Violation::NotHeld });
            }
            PageState::Shared => {
                if self.mutated(Mutation::AckBeforeInvalidating) {
                    self.send(step, requester, page, Body::Ack { txn, req });
                }
                if self.deferred_to_turn_end(step, message) {
                    return;
                }
                step.out.push(Output::Discard { page });
                self.set_state(page, PageState::Invalid);
            }
            PageState::Invalid => {}
        }
        self.send(step, requester, page, Body::Ack { txn, req });
    }

    /// Whether a demand is of the past: it was repeated, its first copy was answered, and before the second came from
    /// the home the page came back here from another holder, as the outcome of a later transaction.
    fn overtaken(&mut self, page: PageId, txn: Txn) -> bool {
        let here = self.page(page);
        here.state != PageState::Invalid && here.version >= txn && !self.mutated(Mutation::HeedThePast)
    }

    /// Puts a demand off while the turn lasts. A home makes one demand at a time for a page, so that another one is
    /// the same again.
    fn deferred_to_turn_end(&mut self, step: &mut Step<'_>, message: Message) -> bool {
        let until = self.page(message.page).turn_ends;
        let early = step.now < until;
        if early {
            self.deferred.insert(message.page, Deferred { until, message });
        }
        early
    }

    /// The new owner has what transaction `txn`, or an earlier one, took away from here.
    pub(crate) fn release_up_to(&mut self, step: &mut Step<'_>, page: PageId, txn: Txn) {
        if self.asides.get(page).is_some_and(|aside| *aside <= txn) {
            self.asides.remove(page);
            step.out.push(Output::Forget { page });
        }
    }

    /// `WriteUpdate`: contents that the home passes on.
    pub(crate) fn on_update(&mut self, step: &mut Step<'_>, message: Message) {
        let Body::Update { txn, req, version } = message.body else { return };
        let page = message.page;
        let waiting = self.requests.get(page).is_some();
        let (untouched_max, now) = (self.tuning.updates_untouched_max, step.now);
        let here = self.page_mut(page);
        // A reader that the last update has reached already is told again. No update comes too late: until the home
        // has dropped its copy, and said so behind the update, nobody writes.
        let news = here.state == PageState::Invalid && here.version < version;
        if news {
            here.untouched = if waiting { 0 } else { here.untouched.saturating_add(1) };
            let untouched = here.untouched;
            if untouched >= untouched_max.max(1) {
                return self.send(step, self.home(page), page, Body::Unsubscribe);
            }
            step.out.push(Output::Store { page });
            self.arrived(step, page, PageState::Shared, version);
            let here = self.page_mut(page);
            here.untouched = untouched;
            if waiting {
                step.out.push(Output::Map { page, access: Access::Read });
            } else {
                // Nobody waits for it, so that nobody needs a turn.
                here.turn_ends = now;
                if untouched.saturating_add(UPDATES_UNMAPPED) < untouched_max {
                    step.out.push(Output::Premap { page });
                }
            }
        }
        if self.page(page).state != PageState::Invalid {
            self.answered_by_update(step, page, txn, req);
        }
    }
}
