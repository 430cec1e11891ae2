//! Connections, and who is at their other ends.

use crate::mutation::Mutation;
use crate::node::{Node, Step};
use crate::{AgentId, Body, Incarnation, Message, Output, PageId, Payload, Placement, RegionId, Violation};

impl Node {
    /// A connection was made: all that went over an earlier one may have been lost.
    ///
    /// An agent that comes back without its memory is another agent of the same number. It is let in only when nothing
    /// here refers to the one before: programs on its node may still read copies that they have mapped, of which the
    /// new agent knows nothing. Only a copy that was given back is gone.
    ///
    /// A placement does not count. It does not tell which life it means: an agent may be a home in its second life
    /// before this node has met it, and would never be let in. If it means the one before, no harm is done: an agent does
    /// not declare a placement that names a former life of it as a home, and so refuses all that is said under it.
    pub(crate) fn on_peer_up(&mut self, step: &mut Step<'_>, peer: AgentId, incarnation: Incarnation) {
        if peer.0 >= AgentId::LIMIT || peer == self.me {
            return step.out.push(Output::RefusePeer { peer, reason: Violation::BadAgent });
        }
        let known = *self.incarnations.entry(peer).or_insert(incarnation);
        if known != incarnation || self.torn.contains(peer) {
            if self.refers_to(peer) && !self.mutated(Mutation::AcceptAnyLife) {
                self.connected.remove(peer);
                return step.out.push(Output::RefusePeer { peer, reason: Violation::OtherIncarnation });
            }
            self.incarnations.insert(peer, incarnation);
            self.torn.remove(peer);
            self.leavers.retain(|(_, leaver), _| leaver != peer);
        }
        self.connected.insert(peer);
        let message = Message { page: PageId::of_region(RegionId(0)), epoch: 0, body: Body::Resumed };
        self.send_with(step, peer, message, Payload::None);
    }

    /// A directory entry from another home mentions this life of an agent. If it is not the one that is known here, then
    /// from now on entries here mention two lives of it, and the one that lives must not be taken for the other: what it
    /// asked for is dropped, and it is let in again only when nothing refers to either.
    pub(crate) fn believe(&mut self, step: &mut Step<'_>, agent: AgentId, incarnation: Incarnation) {
        let known = *self.incarnations.entry(agent).or_insert(incarnation);
        if known != incarnation && agent != self.me {
            self.torn.insert(agent);
            self.connected.remove(agent);
            // It must not be taken for the one that has copies.
            self.work.values_mut().for_each(|work| work.queue.retain(|waiting| waiting.from != agent));
            step.out.push(Output::RefusePeer { peer: agent, reason: Violation::OtherIncarnation });
        }
    }

    /// Which life of an agent is meant by what the directory says of it.
    pub(crate) fn life_of(&self, agent: AgentId) -> Incarnation {
        let one = self.incarnations.get(&agent).filter(|_| !self.torn.contains(agent));
        one.copied().unwrap_or(Incarnation::NO_ONE)
    }

    /// Whether anything here speaks of `peer`: an entry, or something under way. As long as entries are on their way
    /// here, they may; but those who send them, and in turn wait for others, have to be let in.
    fn refers_to(&mut self, peer: AgentId) -> bool {
        let named = |p: &Placement| p.homes.contains(&peer) || p.previous.contains(&peer);
        if !self.arriving.is_empty() && !self.regions.values().any(|r| named(&r.placement)) {
            return true;
        }
        // A peer that is refused comes again and again: do not look through all entries each time.
        if self.references.get(peer).is_some_and(|page| self.mentions(*page, peer)) {
            return true;
        }
        match self.mention_of(peer) {
            Some(page) => self.references.insert(peer, page),
            None => drop(self.references.remove(peer)),
        }
        self.references.get(peer).is_some()
    }

    fn mentions(&self, page: PageId, peer: AgentId) -> bool {
        let entry = self.regions.get(&page.region).and_then(|r| r.directory.get(page.index));
        entry.is_some_and(|e| e.mentions(peer)) || self.work.get(page).is_some_and(|w| w.mentions(peer))
    }

    fn mention_of(&self, peer: AgentId) -> Option<PageId> {
        let entries = self.regions.iter().flat_map(|(&region, r)| {
            r.directory.iter_from(0).map(move |(index, entry)| (PageId { region, index }, entry))
        });
        let entries = entries.filter(|(_, entry)| entry.mentions(peer)).map(|(page, _)| page);
        let work = self.work.iter().filter(|(_, work)| work.mentions(peer)).map(|(page, _)| page);
        let arriving = self
            .arriving
            .iter()
            .filter_map(|(region, arriving)| Some(PageId { region, index: arriving.mention_of(peer)? }));
        let departed = self
            .departed
            .iter()
            .filter_map(|((region, _), departed)| Some(PageId { region, index: departed.mention_of(peer)? }));
        work.chain(arriving).chain(departed).chain(entries).next()
    }
}
