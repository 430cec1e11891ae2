//! What changes under the protocol's feet: connections, placements, epochs.
//!
//! There is one rule. Whatever this node has under way for a page can be sent again at any time (a request, a home's
//! transaction, an aside), and is, when it may have been lost: when a peer says that it has come over to a new
//! connection, when an epoch begins, some time after a refusal. Every message that matters has the requester or the
//! home at one end, and both keep what they have under way until they know that it took effect; so nothing else is
//! needed, and nothing times out.
//!
//! Why not when the connection comes up here: until the *peer* has come over too, what it sends goes into the old
//! connection. Its [`Body::Resumed`] is the first message that tells.

use crate::mutation::Mutation;
use crate::node::{Node, Region, Step};
use crate::tables::PerPage;
use crate::{
    AgentId, Body, Incarnation, Message, Output, PageId, Payload, Placement, RegionConfig, RegionId, Time,
    Violation,
};

impl Node {
    /// A region is declared, or its placement or configuration changes.
    pub(crate) fn on_region(
        &mut self,
        step: &mut Step<'_>,
        region: RegionId,
        config: RegionConfig,
        placement: Placement,
    ) {
        let violation = |reason| Output::Violation { from: self.me, reason };
        if placement.homes.is_empty() {
            return step.out.push(violation(Violation::NoHomes));
        }
        if placement.homes.iter().any(|h| h.0 >= AgentId::LIMIT) {
            return step.out.push(violation(Violation::BadAgent));
        }
        let Some(known) = self.regions.get_mut(&region) else {
            let (pages, directory) = (PerPage::new(), PerPage::new());
            let new = Region { config, placement, pages, directory, shared: 0, exclusive: 0 };
            self.regions.insert(region, new);
            return;
        };
        if known.placement.homes != placement.homes {
            return step.out.push(violation(Violation::HomesMoved));
        }
        if placement.epoch > known.placement.epoch {
            known.config = config;
            known.placement = placement;
            self.recover_where(step, |page| page.region == region);
        }
    }

    /// A connection was made: all that went over an earlier one may have been lost.
    pub(crate) fn on_peer_up(&mut self, step: &mut Step<'_>, peer: AgentId, incarnation: Incarnation) {
        if peer.0 >= AgentId::LIMIT || peer == self.me {
            return step.out.push(Output::RefusePeer { peer, reason: Violation::BadAgent });
        }
        if *self.incarnations.entry(peer).or_insert(incarnation) != incarnation {
            self.connected.remove(peer);
            return step.out.push(Output::RefusePeer { peer, reason: Violation::OtherIncarnation });
        }
        self.connected.insert(peer);
        let page = PageId { region: RegionId(0), index: 0 };
        let message = Message { page, epoch: 0, body: Body::Resumed };
        self.send_with(step, peer, message, Payload::None);
    }

    /// The receiver of something about this page is in another epoch: try again when it may have caught up.
    pub(crate) fn on_refused(&mut self, now: Time, page: PageId) {
        if self.has_under_way(page) {
            self.retries.insert(page, now.after(self.tuning.retry_nanos));
        }
    }

    fn has_under_way(&self, page: PageId) -> bool {
        self.requests.get(page).is_some() || self.work.get(page).is_some() || self.asides.get(page).is_some()
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
    }

    /// Recovers every page that has something under way. Sending changes none of the tables, so that positions in
    /// them stay valid; a page that is in two of them is sent twice, which does no harm.
    pub(crate) fn recover_where(&mut self, step: &mut Step<'_>, chosen: impl Fn(PageId) -> bool) {
        let tables: [fn(&Node, usize) -> Option<PageId>; 3] = [
            |node, at| node.requests.at(at).map(|(page, _)| page),
            |node, at| node.work.at(at).map(|(page, _)| page),
            |node, at| node.asides.at(at).map(|(page, _)| page),
        ];
        for page_at in tables {
            let mut at = 0;
            while let Some(page) = page_at(self, at) {
                if chosen(page) {
                    self.recover(step, page);
                }
                at += 1;
            }
        }
    }
}
