//! Regions come, change and go.

use alloc::vec::Vec;

use crate::node::{Node, Region, Step};
use crate::tables::PerPage;
use crate::{AgentId, Output, PageId, Placement, RegionConfig, RegionId, Violation};

impl Node {
    /// A region is declared, or its placement or configuration changes.
    pub(crate) fn on_region(
        &mut self,
        step: &mut Step<'_>,
        region: RegionId,
        config: RegionConfig,
        placement: Placement,
    ) {
        let known = self.regions.get(&region);
        if known.is_some_and(|known| placement.epoch <= known.placement.epoch) {
            return;
        }
        if let Some(reason) = self.wrong_placement(region, config, &placement) {
            return step.out.push(Output::Violation { from: self.me, reason });
        }
        let moved = match self.regions.get_mut(&region) {
            Some(known) => {
                known.config = config;
                known.in_former_life &= placement.previous == known.placement.previous;
                let before = core::mem::replace(&mut known.placement, placement);
                let now = &known.placement;
                (&before.homes, &before.previous) != (&now.homes, &now.previous)
            }
            None => {
                let in_former_life = placement.previous.contains(&self.me);
                let (pages, directory) = (PerPage::default(), PerPage::default());
                let (shared, exclusive) = (0, 0);
                let new = Region { config, placement, in_former_life, pages, directory, shared, exclusive };
                self.regions.insert(region, new);
                true
            }
        };
        if moved {
            let mut departed = self.depart(region);
            self.arrive(region);
            self.leave_other_homes(region);
            self.recover_where(step, |page| page.region == region);
            // Not before: there is nothing to repeat yet.
            while let Some((home, departed)) = departed.take_first(|_| true) {
                self.departed.insert((region, home), departed);
            }
        } else {
            self.recover_where(step, |page| page.region == region);
        }
    }

    /// What cannot be, or would lose directory entries: homes may change only when all entries have arrived where they
    /// belong, and the homes that are to be asked for them must have them.
    fn wrong_placement(
        &self,
        region: RegionId,
        config: RegionConfig,
        placement: &Placement,
    ) -> Option<Violation> {
        let Placement { homes, previous, .. } = placement;
        if homes.is_empty() {
            return Some(Violation::NoHomes);
        }
        if homes.iter().chain(previous).any(|h| h.0 >= AgentId::LIMIT) {
            return Some(Violation::BadAgent);
        }
        let is_home = |homes: &Vec<AgentId>| homes.contains(&self.me);
        let Some(known) = self.regions.get(&region) else {
            return (is_home(homes) && is_home(previous)).then_some(Violation::HomesMoved);
        };
        if config.pages < known.config.pages {
            return Some(Violation::Shrunk);
        }
        let same_homes = *homes == known.placement.homes;
        let same_move = same_homes && *previous == known.placement.previous;
        let follows = if self.arriving.get(region).is_some() {
            same_move
        } else {
            // It is the same, or has ended, or begins here; or this node has missed some and had no part in them.
            let ended = same_homes && previous.is_empty();
            let begins = *previous == known.placement.homes;
            let missed = !known.placement.homes_any(self.me, region, known.config.pages)
                && if previous.is_empty() { !is_home(homes) } else { !is_home(previous) };
            same_move || ended || begins || missed
        };
        (!follows).then_some(Violation::HomesMoved)
    }

    /// A region is gone.
    pub(crate) fn on_drop(&mut self, step: &mut Step<'_>, region: RegionId) {
        self.regions.remove(&region);
        while let Some((page, _)) = self.asides.take_first(|page| page.region == region) {
            step.out.push(Output::Forget { page });
        }
        let other = |page: PageId| page.region != region;
        self.requests.retain(|page, _| other(page));
        self.deferred.retain(|page, _| other(page));
        self.turn_overs.retain(|page, _| other(page));
        self.work.retain(|page, _| other(page));
        self.retries.retain(|page, _| other(page));
        self.arriving.remove(region);
        self.departed.retain(|(of, _), _| of != region);
        self.leaving.remove(region);
        self.leavers.retain(|(of, _), _| of != region);
    }
}
