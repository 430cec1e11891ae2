//! The door for messages: everything that a peer could get wrong is looked at here, and nowhere else.

use crate::message::Route;
use crate::mutation::Mutation;
use crate::node::{Node, Region, Step};
use crate::{AgentId, Body, Message, Output, Txn, Violation};

impl Node {
    /// A message arrived from a peer.
    pub(crate) fn on_message(&mut self, step: &mut Step<'_>, from: AgentId, message: Message) {
        let Message { page, body, .. } = message;
        if from.0 >= AgentId::LIMIT || from == self.me {
            // What this node says to itself is not sent.
            return step.out.push(Output::Violation { from, reason: Violation::BadAgent });
        }
        if !self.connected.contains(from) {
            // Left over from a connection that broke or was refused. The peer knows that it may be lost.
            return;
        }
        if body.route() == Route::Link {
            return self.take(step, from, message);
        }
        let epoch = self.regions.get(&page.region).map_or(0, |r| r.placement.epoch);
        if epoch != message.epoch && !self.mutated(Mutation::IgnoreEpoch) {
            return self.send_in_epoch(step, from, page, epoch, Body::Refused);
        }
        let Some(region) = self.regions.get(&page.region) else { return };
        match wrong(self.me, from, region, message) {
            Some(reason) => step.out.push(Output::Violation { from, reason }),
            None => self.take(step, from, message),
        }
    }
}

/// What is wrong with a message to `me` under the placement of both, if anything is.
fn wrong(me: AgentId, from: AgentId, region: &Region, message: Message) -> Option<Violation> {
    let Message { page, body, .. } = message;
    if page.index >= region.config.pages {
        return Some(Violation::NoSuchPage);
    }
    let placement = &region.placement;
    let home = placement.home(page);
    match body.route() {
        Route::ToHome => (home != me).then_some(Violation::NotHome),
        Route::FromHome if home != from => Some(Violation::NotFromHome),
        // A home demands nothing of a requester for itself.
        Route::FromHome => {
            body.requester().filter(|r| r.0 >= AgentId::LIMIT || *r == me).map(|_| Violation::BadAgent)
        }
        Route::ToPreviousHome if home != from => Some(Violation::NotFromHome),
        Route::ToPreviousHome => {
            let had = placement.previous_home(page) == me && !region.in_former_life;
            (!had).then_some(Violation::NotHome)
        }
        Route::FromPreviousHome if home != me => Some(Violation::NotHome),
        Route::FromPreviousHome if placement.previous_home(page) != from => Some(Violation::NotFromHome),
        Route::FromPreviousHome => wrong_in_hand_over(body),
        Route::ToHomes if !placement.homes.contains(&me) => Some(Violation::NotHome),
        Route::ToHomes => placement.homes.contains(&from).then_some(Violation::LeavesHome),
        Route::FromHomes => (!placement.homes.contains(&from)).then_some(Violation::NotFromHome),
        Route::ToRequester | Route::Link => None,
    }
}

fn wrong_in_hand_over(body: Body) -> Option<Violation> {
    let (mut agent, mut txn) = (None, Txn::NONE);
    if let Body::Entry { version, open } = body {
        agent = open.map(|o| o.requester);
        txn = open.map_or(version, |o| version.max(o.txn));
    } else if let Body::Member { agent: member, .. } = body {
        agent = Some(member);
    } else if let Body::Claimed { last, .. } = body {
        txn = last;
    }
    if agent.is_some_and(|a| a.0 >= AgentId::LIMIT) {
        Some(Violation::BadAgent)
    } else if txn >= Txn::LIMIT {
        Some(Violation::BadTransaction)
    } else {
        None
    }
}
