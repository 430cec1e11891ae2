//! The oracle: what must hold at any time, and what when nothing more can happen.

use std::hash::{Hash, Hasher};

use pagemesh_protocol::{Access, PageId};

use super::machine::Value;
use super::{Objection, World, page};

/// Counts what the oracle has looked at. All values are equal and hash alike, so that they do not tell states apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged {
    pub loads: u64,
    pub stores: u64,
    pub messages: u64,
    pub faults: u64,
    pub moves: u64,
    pub leaves: u64,
    pub restarts: u64,
    pub refusals: u64,
    pub hauntings: u64,
}

impl std::ops::AddAssign for Judged {
    fn add_assign(&mut self, more: Judged) {
        self.loads += more.loads;
        self.stores += more.stores;
        self.messages += more.messages;
        self.faults += more.faults;
        self.moves += more.moves;
        self.leaves += more.leaves;
        self.restarts += more.restarts;
        self.refusals += more.refusals;
        self.hauntings += more.hauntings;
    }
}

impl PartialEq for Judged {
    fn eq(&self, _: &Judged) -> bool {
        true
    }
}

impl Eq for Judged {}

impl Hash for Judged {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl World {
    pub(super) fn judge_load(&self, seen: Value, page: PageId) -> Result<(), Objection> {
        let last = self.last.get(&page).copied().unwrap_or(0);
        if seen == last {
            Ok(())
        } else {
            Err(format!("a program loads {seen} from p{}, the last store stored {last}", page.index))
        }
    }

    /// Programs of agents that have crashed make an access, if they have the page mapped for it.
    pub fn haunt(&mut self, page: PageId, access: Access) -> Result<(), Objection> {
        for at in 0..self.ghosts.len() {
            if self.ghosts[at].mapped(page).is_none_or(|has| has < access) {
                continue;
            }
            self.judge_load(self.ghosts[at].load(page)?, page)?;
            if access == Access::Write {
                self.last_value += 1;
                self.ghosts[at].store(page, self.last_value)?;
                self.last.insert(page, self.last_value);
            }
            self.judged.hauntings += 1;
        }
        Ok(())
    }

    /// Single writer or many readers, and every reader sees the last store.
    pub(super) fn judge(&self, page: PageId) -> Result<(), Objection> {
        let last = self.last.get(&page).copied().unwrap_or(0);
        let all = || self.machines.iter().chain(&self.ghosts).enumerate();
        let mut mapped = 0;
        let mut written = false;
        for (n, machine) in all() {
            let Some(access) = machine.mapped(page) else { continue };
            (mapped, written) = (mapped + 1, written || access == Access::Write);
            let seen = machine.load(page)?;
            if seen != last {
                return Err(format!("n{n} maps {seen} at p{}, the last store stored {last}", page.index));
            }
        }
        if mapped > 1 && written {
            let who: Vec<_> = all().filter_map(|(n, m)| Some((n, m.mapped(page)?))).collect();
            return Err(format!("p{} is writable and mapped elsewhere: {who:?}", page.index));
        }
        Ok(())
    }

    /// What must hold when nothing more can happen: all accesses are done and nothing is left over.
    pub fn judge_rest(&self) -> Result<(), Objection> {
        for (n, (node, machine)) in self.nodes.iter().zip(&self.machines).enumerate() {
            if let Some(program) = machine.unfinished() {
                return Err(format!(
                    "nothing more can happen, but program {program} of n{n} waits:\n{}",
                    self.print()
                ));
            }
            if !node.in_flight().is_idle() || machine.has_asides() {
                return Err(format!(
                    "n{n} has something left over: {:?}\n{}",
                    node.in_flight(),
                    self.print()
                ));
            }
        }
        let all_know = (0..self.nodes.len()).all(|n| !self.control.is_behind(n));
        if all_know && self.control.newest().is_some() && !self.homes_are_settled() {
            return Err(format!("nothing more can happen, but not all homes are settled:\n{}", self.print()));
        }
        Ok(())
    }

    /// What must hold when an agent has left: it has nothing, and nobody's directory mentions it.
    pub(super) fn judge_left(&mut self, node: usize) -> Result<(), Objection> {
        self.judged.leaves += 1;
        if !self.machines[node].is_empty() {
            return Err(format!("n{node} has left and still has pages:\n{}", self.print()));
        }
        let me = self.agents[node];
        let pages = self.control.newest().map_or(0, |(config, _)| config.pages);
        for (n, other) in self.nodes.iter().enumerate() {
            if !self.control.may_attach(n) {
                continue; // It speaks of a region that has been deleted.
            }
            for index in 0..pages {
                let Some(home) = other.view(page(index)).and_then(|view| view.home) else { continue };
                let mut mentioned = home.sharers.iter().chain(&home.subscribers).chain(&home.queue);
                let active = home.active.is_some_and(|(.., requester)| requester == me);
                if home.owner == Some(me) || active || mentioned.any(|agent| *agent == me) {
                    return Err(format!("n{node} has left, and n{n} mentions it:\n{}", self.print()));
                }
            }
        }
        Ok(())
    }
}
