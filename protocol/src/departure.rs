//! Pages move: the previous home hands the directory entries over.
//!
//! From the moment it hears of the new placement it takes no part in those pages' transactions any more, and what it
//! keeps of them does not change. So the new home may ask for an entry any number of times.

use serde::{Deserialize, Serialize};

use crate::home::{Entry, Kind, Transaction};
use crate::mutation::Mutation;
use crate::node::{Node, Step};
use crate::tables::{Few, PerPage};
use crate::{Access, AgentId, AgentSet, Body, Fill, Open, PageId, RegionId, Roles, Txn};

/// What one other home is to take up of a region, and may not have got yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Departed {
    entries: PerPage<Entry>,
    open: Few<u64, Transaction>,
}

impl Default for Departed {
    fn default() -> Departed {
        Departed { entries: PerPage::default(), open: Few::new() }
    }
}

impl Departed {
    /// The pages from `index` on of which there is anything to say.
    fn iter_from(&self, index: u64) -> impl Iterator<Item = (u64, &Entry, Option<&Transaction>)> {
        let all = self.entries.iter_from(index).map(|(at, entry)| (at, entry, self.open.get(at)));
        all.filter(|(_, entry, open)| open.is_some() || **entry != Entry::default())
    }

    fn first(&self) -> Option<u64> {
        self.iter_from(0).next().map(|(index, ..)| index)
    }

    /// A page that has to do with `agent`.
    pub(crate) fn mention_of(&self, agent: AgentId) -> Option<u64> {
        let mentions = |entry: &Entry, open: Option<&Transaction>| {
            entry.mentions(agent) || open.is_some_and(|t| t.mentions(agent))
        };
        self.iter_from(0).find(|(_, entry, open)| mentions(entry, *open)).map(|(index, ..)| index)
    }
}

impl Node {
    /// A placement begins: takes out of the directory what other homes have now, by home.
    pub(crate) fn depart(&mut self, region: RegionId) -> Few<AgentId, Departed> {
        self.departed.retain(|(of, _), _| of != region);
        let mut departed: Few<AgentId, Departed> = Few::new();
        if self.mutated(Mutation::KeepDirectory) {
            return departed;
        }
        let me = self.me;
        let known = self.regions.get_mut(&region).expect("it has just been declared");
        let placement = &known.placement;
        let home = |index| placement.home(PageId { region, index });
        let goes_to = |index| Some(home(index)).filter(|home| *home != me);
        let mut gone = known.directory.distribute(goes_to);
        while let Some((home, entries)) = gone.take_first(|_| true) {
            departed.insert(home, Departed { entries, open: Few::new() });
        }
        // Who waits asks again, and the new home; an update that was under way goes on with the next reader.
        while let Some((page, work)) =
            self.work.take_first(|page| page.region == region && goes_to(page.index).is_some())
        {
            let moves = |t: &Transaction| !matches!(t.kind, Kind::Collect { .. });
            if let Some(transaction) = work.active.filter(moves) {
                departed.or_default(home(page.index)).open.insert(page.index, transaction);
            }
        }
        departed.retain(|_, departed| departed.first().is_some());
        departed
    }

    /// The new home wants entries.
    pub(crate) fn on_claim(&mut self, step: &mut Step<'_>, page: PageId, from: AgentId, exact: bool) {
        let key = (page.region, from);
        let pages = self.region(page).config.pages;
        let mut departed = self.departed.remove(key).unwrap_or_default();
        if !exact {
            // So it has all that comes before.
            departed.entries.forget_before(page.index);
        }
        let batch = self.tuning.batch.max(1) as usize;
        let (mut sent, mut to) = (0, if exact { page.index + 1 } else { pages });
        for (index, entry, open) in departed.iter_from(page.index) {
            if index >= to {
                break;
            }
            if sent >= batch {
                to = index;
                break;
            }
            sent += self.send_entry(step, from, PageId { index, ..page }, entry, open);
        }
        let last = Txn(self.last_txn);
        self.send(step, from, page, Body::Claimed { exact, to, last });
        if departed.first().is_some() {
            self.departed.insert(key, departed);
        }
    }

    /// Says all there is to say of a page. Returns in how many messages.
    fn send_entry(
        &mut self,
        step: &mut Step<'_>,
        to: AgentId,
        page: PageId,
        entry: &Entry,
        transaction: Option<&Transaction>,
    ) -> usize {
        let (source, invalidate) = match transaction.map(|t| &t.kind) {
            Some(Kind::Read { source } | Kind::Collect { source }) => (Some(*source), None),
            Some(Kind::Write { source, invalidate, .. }) => (*source, Some(invalidate)),
            None => (None, None),
        };
        let requester = transaction.map(|t| t.requester);
        let open = transaction.map(open_of).filter(|_| !self.mutated(Mutation::ForgetOpen));
        self.send(step, to, page, Body::Entry { version: entry.version, open });
        let mut agents: AgentSet = [entry.owner, source, requester].into_iter().flatten().collect();
        [Some(&entry.sharers), Some(&entry.subscribers), invalidate]
            .into_iter()
            .flatten()
            .for_each(|set| agents.extend(set));
        let is = |yes: bool, role: Roles| if yes { role } else { Roles::default() };
        for agent in agents.iter() {
            let sharer = entry.sharers.contains(agent) && !self.mutated(Mutation::ForgetSharers);
            let roles = is(entry.owner == Some(agent), Roles::OWNER)
                .and(is(sharer, Roles::SHARER))
                .and(is(entry.subscribers.contains(agent), Roles::SUBSCRIBER))
                .and(is(source == Some(agent), Roles::SOURCE))
                .and(is(invalidate.is_some_and(|set| set.contains(agent)), Roles::INVALIDATED))
                .and(is(requester == Some(agent), Roles::REQUESTER));
            let incarnation = self.life_of(agent);
            self.send(step, to, page, Body::Member { agent, incarnation, roles });
        }
        1 + usize::from(agents.len())
    }

    /// The pages in the name of which other homes are asked whether they have got all.
    pub(crate) fn kept(&self) -> impl Iterator<Item = PageId> + '_ {
        self.departed
            .iter()
            .filter_map(|((region, _), departed)| Some(PageId { region, index: departed.first()? }))
    }

    pub(crate) fn is_keeping(&self, page: PageId) -> bool {
        self.kept().any(|first| first == page)
    }

    /// Asks the new home whether what is kept for it may be forgotten.
    pub(crate) fn ask_to_forget(&mut self, step: &mut Step<'_>, page: PageId) {
        if self.is_keeping(page) {
            let last = Txn(self.last_txn);
            self.send(step, self.home(page), page, Body::Claimed { exact: false, to: page.index, last });
        }
    }

    /// Whether the page's entry is kept for its new home.
    pub(crate) fn keeps(&self, page: PageId) -> bool {
        let departed = self.departed.get((page.region, self.home(page)));
        departed
            .is_some_and(|d| d.iter_from(page.index).next().is_some_and(|(index, ..)| index == page.index))
    }
}

fn open_of(transaction: &Transaction) -> Open {
    let Transaction { txn, requester, req, ref kind } = *transaction;
    let (access, fill, push) = match *kind {
        Kind::Read { .. } | Kind::Collect { .. } => (Access::Read, Fill::Zero, false),
        Kind::Write { fill, push, .. } => (Access::Write, fill, push),
    };
    Open { txn, req, requester, access, fill, push }
}
