//! A region is left: the leaver's side.
//!
//! For each home in turn there are two rounds. First the home takes over what the leaver owns; when it answers, the
//! copies that are still here are mere copies, and no update is on its way any more. Then the leaver drops them and says
//! so, and only now does the home forget the leaver. So a home always knows of every copy, and leaving can be
//! cancelled at any moment by doing nothing more about it.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::mutation::Mutation;
use crate::node::{Node, PageState, Step};
use crate::tables::Few;
use crate::{AgentId, AgentSet, Body, Output, PageId, Placement, RegionId, RequestId, Txn, Violation};

/// A region that this node is leaving.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Leaving {
    /// Tells the answers to this attempt from those to an earlier one.
    req: RequestId,
    /// How far it has come with each home, until that has answered for good. Nothing as long as requests are open, which
    /// may still bring pages here.
    homes: Option<Few<AgentId, Stage>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Stage {
    /// The home was asked to take over what this node owns.
    Asked,
    /// This node owns nothing there, and drops its copies, from this page on.
    Dropping(u64),
    /// It has none any more, and has said so.
    Dropped,
}

impl Leaving {
    /// Whether there is something to do that waits for nothing.
    pub(crate) fn has_more_to_do(&self) -> bool {
        self.homes.iter().flat_map(Few::iter).any(|(_, stage)| matches!(stage, Stage::Dropping(_)))
    }
}

fn ask_all(placement: &Placement) -> Few<AgentId, Stage> {
    let mut homes = Few::new();
    let distinct: AgentSet = placement.homes.iter().copied().collect();
    distinct.iter().for_each(|home| homes.insert(home, Stage::Asked));
    homes
}

impl Node {
    /// Nobody here uses the region any more.
    pub(crate) fn on_leave_input(&mut self, step: &mut Step<'_>, region: RegionId) {
        let Some(known) = self.regions.get(&region) else {
            return step.out.push(Output::Left { region });
        };
        if known.placement.homes.contains(&self.me) {
            return step.out.push(Output::Violation { from: self.me, reason: Violation::LeavesHome });
        }
        if self.leaving.get(region).is_none() {
            self.last_req += 1;
            self.leaving.insert(region, Leaving { req: RequestId(self.last_req), homes: None });
        }
    }

    /// Does what can be done now about leaving.
    pub(crate) fn advance_leaving(&mut self, step: &mut Step<'_>) {
        let mut at = 0;
        while let Some((region, _)) = self.leaving.at(at) {
            if self.leave_on(step, region) {
                self.leaving.remove(region);
                step.out.push(Output::Left { region });
            } else {
                at += 1;
            }
        }
    }

    /// Goes on leaving a region. Returns whether it has been left.
    fn leave_on(&mut self, step: &mut Step<'_>, region: RegionId) -> bool {
        let asks = self.requests.iter().any(|(page, _)| page.region == region);
        let placement = &self.region(PageId::of_region(region)).placement;
        let all = ask_all(placement);
        let leaving = self.leaving.get_mut(region).expect("the caller has seen it");
        let Some(homes) = &leaving.homes else {
            if !asks {
                leaving.homes = Some(all);
                self.leave_again(step, PageId::of_region(region));
            }
            return false;
        };
        let dropping = homes.iter().find_map(|(home, stage)| match stage {
            Stage::Dropping(from) => Some((home, *from)),
            Stage::Asked | Stage::Dropped => None,
        });
        if let Some((home, from)) = dropping {
            let stage = match self.drop_copies(step, region, home, from) {
                Some(next) => Stage::Dropping(next),
                None => Stage::Dropped,
            };
            let leaving = self.leaving.get_mut(region).expect("it was there");
            let req = leaving.req;
            leaving.homes.iter_mut().for_each(|homes| homes.insert(home, stage));
            if stage == Stage::Dropped {
                self.send(step, home, PageId::of_region(region), Body::Leave { req, keep: false });
            }
            return false;
        }
        let of_region = |page: PageId| page.region == region;
        homes.is_empty()
            && !self.asides.iter().any(|(page, _)| of_region(page))
            && !self.deferred.iter().any(|(page, _)| of_region(page))
    }

    /// Drops copies of pages of `home`, from page `from` on. Returns where to go on.
    fn drop_copies(
        &mut self,
        step: &mut Step<'_>,
        region: RegionId,
        home: AgentId,
        from: u64,
    ) -> Option<u64> {
        if self.mutated(Mutation::KeepCopies) {
            return None;
        }
        let batch = self.tuning.batch.max(1) as usize;
        let known = self.region(PageId::of_region(region));
        let (mut copies, mut next) = (Vec::new(), None);
        for (looked_at, (index, here)) in known.pages.iter_from(from).enumerate() {
            if looked_at == batch {
                next = Some(index);
                break;
            }
            let page = PageId { region, index };
            if here.state != PageState::Invalid && known.placement.home(page) == home {
                copies.push((page, here.state));
            }
        }
        for (page, state) in copies {
            if state == PageState::Exclusive {
                // The home forgets who owns its pages. What was written stays here.
                step.out.push(Output::Violation { from: home, reason: Violation::NotHeld });
            } else {
                step.out.push(Output::Discard { page });
                self.set_state(page, PageState::Invalid);
                // If this node comes back, then the same contents are news.
                self.page_mut(page).version = Txn::NONE;
            }
        }
        next
    }

    /// A home answers.
    pub(crate) fn on_left(&mut self, region: RegionId, from: AgentId, req: RequestId, keep: bool) {
        let leaving = self.leaving.get_mut(region).filter(|leaving| leaving.req == req);
        let Some(homes) = leaving.and_then(|leaving| leaving.homes.as_mut()) else { return };
        match (homes.get(from), keep) {
            (Some(Stage::Asked), true) => homes.insert(from, Stage::Dropping(0)),
            (Some(Stage::Dropped), false) => drop(homes.remove(from)),
            (Some(_) | None, _) => {}
        }
    }

    /// Whether this page stands for a region that is being left.
    pub(crate) fn is_leaving_by(&self, page: PageId) -> bool {
        page == PageId::of_region(page.region) && self.leaving.get(page.region).is_some()
    }

    /// Says again what homes have not answered, if this page stands for the region.
    pub(crate) fn leave_again(&mut self, step: &mut Step<'_>, page: PageId) {
        if !self.is_leaving_by(page) {
            return;
        }
        let leaving = self.leaving.get(page.region).cloned();
        let Some(Leaving { req, homes: Some(homes) }) = leaving else { return };
        for (home, stage) in homes.iter() {
            match stage {
                Stage::Asked => self.send(step, home, page, Body::Leave { req, keep: true }),
                Stage::Dropped => self.send(step, home, page, Body::Leave { req, keep: false }),
                Stage::Dropping(_) => {}
            }
        }
    }

    /// The homes have changed: those who leave begin anew with the new ones.
    pub(crate) fn leave_other_homes(&mut self, region: RegionId) {
        self.leavers.retain(|(of, _), _| of != region);
        let placement = &self.region(PageId::of_region(region)).placement;
        let (is_home, all) = (placement.homes.contains(&self.me), ask_all(placement));
        if is_home {
            self.leaving.remove(region);
        } else if let Some(Leaving { homes: Some(homes), .. }) = self.leaving.get_mut(region) {
            *homes = all;
        }
    }
}
