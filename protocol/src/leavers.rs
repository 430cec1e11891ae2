//! A region is left: the side of a home, which lets nothing of its directory mention the leaver in the end.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::home::Kind;
use crate::mutation::Mutation;
use crate::node::{Node, Step};
use crate::{Access, AgentId, Body, PageId, RegionId, RequestId};

/// So many pages at most are being taken over from one leaver at a time.
const TAKING_MAX: usize = 64;

/// An agent that leaves a region which this node homes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Leaver {
    /// The leaver's number for its attempt.
    req: RequestId,
    /// It still has copies: it is not to be forgotten yet, only to own nothing.
    keep: bool,
    /// Where to go on looking through the directory; nowhere when that is done.
    next: Option<u64>,
    /// Pages that it owns and this home is taking over.
    taking: Vec<u64>,
    /// There was too much to look at for one step.
    more: bool,
}

impl Leaver {
    /// Whether there is something to do that waits for nothing.
    pub(crate) fn has_more_to_do(&self) -> bool {
        self.more
    }
}

impl Node {
    /// An agent leaves, or says so again.
    pub(crate) fn on_leave(&mut self, region: RegionId, from: AgentId, req: RequestId, keep: bool) {
        let known = self.leavers.get((region, from));
        if known.is_none_or(|known| (known.req, known.keep) != (req, keep)) {
            let leaver = Leaver { req, keep, next: Some(0), taking: Vec::new(), more: false };
            self.leavers.insert((region, from), leaver);
        }
    }

    /// Does what can be done now for those who leave.
    pub(crate) fn advance_leavers(&mut self, step: &mut Step<'_>) {
        let mut at = 0;
        while let Some((key @ (region, agent), _)) = self.leavers.at(at) {
            let mut leaver = self.leavers.remove(key).expect("it has just been seen");
            leaver.more = false;
            if self.let_go(step, region, agent, &mut leaver) {
                let Leaver { req, keep, .. } = leaver;
                self.send(step, agent, PageId::of_region(region), Body::Left { req, keep });
            } else {
                self.leavers.insert(key, leaver);
                at += 1;
            }
        }
    }

    /// Goes on with one that leaves. Returns whether all that it asked for is done.
    fn let_go(&mut self, step: &mut Step<'_>, region: RegionId, agent: AgentId, leaver: &mut Leaver) -> bool {
        let of_region = |page: PageId| page.region == region;
        // As long as it may get pages, there is no use in looking who has them.
        if self.arriving.get(region).is_some()
            || self.work.iter().any(|(page, work)| of_region(page) && work.serves(agent))
        {
            return false;
        }
        self.look_through(region, agent, leaver);
        if self.mutated(Mutation::LetGoEarly) {
            return true;
        }
        let owned = |node: &mut Node, index| node.entry(PageId { region, index }).owner == Some(agent);
        leaver.taking.retain(|&index| owned(self, index));
        for &index in &leaver.taking {
            self.take_over(step, PageId { region, index });
        }
        leaver.next.is_none()
            && leaver.taking.is_empty()
            && !self.work.iter().any(|(page, work)| of_region(page) && work.mentions(agent))
    }

    /// Takes the leaver out of the entries and notes what it owns.
    fn look_through(&mut self, region: RegionId, agent: AgentId, leaver: &mut Leaver) {
        let Some(from) = leaver.next.take() else { return };
        let batch = self.tuning.batch.max(1) as usize;
        let known = self.regions.get_mut(&region).expect("the door lets only known regions in");
        for (looked_at, (index, entry)) in known.directory.iter_mut_from(from).enumerate() {
            leaver.more = looked_at == batch;
            if leaver.more || leaver.taking.len() == TAKING_MAX {
                leaver.next = Some(index);
                return;
            }
            // It gets no updates any more: behind the answer there must be none on its way.
            entry.subscribers.remove(agent);
            if !leaver.keep {
                entry.sharers.remove(agent);
            }
            if entry.owner == Some(agent) {
                leaver.taking.push(index);
            }
        }
    }

    /// Asks for a page as a program of this node would, unless another agent is taking it over anyway.
    fn take_over(&mut self, step: &mut Step<'_>, page: PageId) {
        let open = self.work.get(page).and_then(|work| work.active.as_ref());
        if open.is_some_and(|t| matches!(t.kind, Kind::Write { .. })) {
            return;
        }
        match self.requests.get_mut(page) {
            Some(request) => request.wants_write = true,
            None => self.request(step, page, Access::Write),
        }
    }
}
