//! What makes up for all that changes under the protocol's feet: connections, placements, epochs.
//!
//! There is one rule. Whatever this node has under way for a page can be sent again at any time (a request, a home's
//! transaction, an aside, a claim), and is, when it may have been lost: when a peer says that it has come over to a new
//! connection, when an epoch begins, some time after a refusal. Every message that matters has the requester or the
//! home at one end, and both keep what they have under way until they know that it took effect; so nothing else is
//! needed, and nothing times out.
//!
//! Why not when the connection comes up here: until the *peer* has come over too, what it sends goes into the old
//! connection. Its [`Body::Resumed`] is the first message that tells.

use crate::mutation::Mutation;
use crate::node::{Node, Step};
use crate::{Body, PageId, Time};

impl Node {
    /// The receiver of something about this page is in another epoch: try again when it may have caught up.
    pub(crate) fn on_refused(&mut self, now: Time, page: PageId) {
        if self.has_under_way(page) {
            self.retries.insert(page, now.after(self.tuning.retry_nanos));
        }
    }

    fn has_under_way(&self, page: PageId) -> bool {
        UNDER_WAY.iter().any(|table| (table.has)(self, page))
    }

    /// Sends again whatever is under way for a page.
    pub(crate) fn recover(&mut self, step: &mut Step<'_>, page: PageId) {
        if let Some(request) = self.requests.get_mut(page) {
            request.repeated = true;
            let (req, access) = (request.req, request.access);
            if !self.mutated(Mutation::ForgetRetry) {
                self.send_get(step, page, req, access);
            }
        }
        self.send_transaction(step, page);
        self.send_probe(step, page);
        if let Some(&txn) = self.asides.get(page) {
            self.send(step, self.home(page), page, Body::Holding { txn });
        }
        self.claim_again(step, page);
        self.ask_to_forget(step, page);
        self.leave_again(step, page);
    }

    /// Recovers every page that has something under way, each once. Sending changes none of the tables, so that
    /// positions in them stay valid.
    pub(crate) fn recover_where(&mut self, step: &mut Step<'_>, chosen: impl Fn(PageId) -> bool) {
        for (number, table) in UNDER_WAY.iter().enumerate() {
            let mut at = 0;
            while let Some(page) = (table.page_at)(self, at) {
                let was_in_another = UNDER_WAY[..number].iter().any(|earlier| (earlier.has)(self, page));
                if chosen(page) && !was_in_another {
                    self.recover(step, page);
                }
                at += 1;
            }
        }
    }
}

/// A table of what is under way, by page.
struct Table {
    page_at: fn(&Node, usize) -> Option<PageId>,
    has: fn(&Node, PageId) -> bool,
}

const UNDER_WAY: [Table; 6] = [
    Table {
        page_at: |node, at| node.requests.at(at).map(|(page, _)| page),
        has: |node, page| node.requests.get(page).is_some(),
    },
    Table {
        page_at: |node, at| node.work.at(at).map(|(page, _)| page),
        has: |node, page| node.work.get(page).is_some(),
    },
    Table {
        page_at: |node, at| node.asides.at(at).map(|(page, _)| page),
        has: |node, page| node.asides.get(page).is_some(),
    },
    Table { page_at: |node, at| node.claims().nth(at), has: Node::is_claiming },
    Table { page_at: |node, at| node.kept().nth(at), has: Node::is_keeping },
    Table {
        page_at: |node, at| node.leaving.at(at).map(|(region, _)| PageId::of_region(region)),
        has: Node::is_leaving_by,
    },
];
