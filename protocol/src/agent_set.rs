//! Sets of agents, as bit sets.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::AgentId;

/// A set of agents, iterated in order of id. The first 64 agents need no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AgentSet {
    low: u64,
    /// Words for agents 64 and up; never ends in a zero word, so that equal sets are equal values.
    high: Vec<u64>,
}

impl AgentSet {
    /// Adds `agent`.
    pub fn insert(&mut self, agent: AgentId) {
        let (word, bit) = place(agent);
        if word == 0 {
            self.low |= bit;
            return;
        }
        if self.high.len() < word {
            self.high.resize(word, 0);
        }
        self.high[word - 1] |= bit;
    }

    /// Takes `agent` out.
    pub fn remove(&mut self, agent: AgentId) {
        let (word, bit) = place(agent);
        if word == 0 {
            self.low &= !bit;
        } else if let Some(high) = self.high.get_mut(word - 1) {
            *high &= !bit;
        }
        self.trim();
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &AgentSet) {
        self.low |= other.low;
        if self.high.len() < other.high.len() {
            self.high.resize(other.high.len(), 0);
        }
        for (mine, theirs) in self.high.iter_mut().zip(&other.high) {
            *mine |= theirs;
        }
    }

    /// Takes all of `other` out.
    pub fn subtract(&mut self, other: &AgentSet) {
        self.low &= !other.low;
        for (mine, theirs) in self.high.iter_mut().zip(&other.high) {
            *mine &= !theirs;
        }
        self.trim();
    }

    /// Makes it empty.
    pub fn clear(&mut self) {
        self.low = 0;
        self.high.clear();
    }

    /// Whether `agent` is in it.
    #[must_use]
    pub fn contains(&self, agent: AgentId) -> bool {
        let (word, bit) = place(agent);
        self.word(word) & bit != 0
    }

    /// Number of agents in it.
    #[must_use]
    pub fn len(&self) -> u16 {
        let bits: u32 = self.high.iter().map(|w| w.count_ones()).sum::<u32>() + self.low.count_ones();
        bits as u16
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.low == 0 && self.high.is_empty()
    }

    /// The agents, lowest id first.
    pub fn iter(&self) -> impl Iterator<Item = AgentId> + '_ {
        (0..=self.high.len()).flat_map(move |word| {
            let mut bits = self.word(word);
            core::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros())?;
                bits &= bits - 1;
                Some(AgentId((word as u32 * 64 + bit) as u16))
            })
        })
    }

    fn word(&self, word: usize) -> u64 {
        if word == 0 { self.low } else { self.high.get(word - 1).copied().unwrap_or(0) }
    }

    fn trim(&mut self) {
        while self.high.last() == Some(&0) {
            self.high.pop();
        }
    }
}

impl FromIterator<AgentId> for AgentSet {
    fn from_iter<I: IntoIterator<Item = AgentId>>(agents: I) -> AgentSet {
        let mut set = AgentSet::default();
        agents.into_iter().for_each(|agent| set.insert(agent));
        set
    }
}

fn place(agent: AgentId) -> (usize, u64) {
    assert!(agent.0 < AgentId::LIMIT, "agent ids are checked at the door");
    (agent.0 as usize / 64, 1 << (agent.0 % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u16]) -> AgentSet {
        ids.iter().map(|&id| AgentId(id)).collect()
    }

    #[test]
    fn holds_what_was_inserted_in_order() {
        let ids: Vec<u16> = set(&[1023, 0, 63, 64, 500, 3]).iter().map(|a| a.0).collect();
        assert_eq!(ids, [0, 3, 63, 64, 500, 1023]);
        assert_eq!(set(&[1023, 0, 64]).len(), 3);
    }

    #[test]
    fn equal_sets_are_equal_however_they_came_about() {
        let mut a = set(&[1, 200]);
        a.remove(AgentId(200));
        assert_eq!(a, set(&[1]));
        let mut b = set(&[1, 70, 900]);
        b.subtract(&set(&[70, 900]));
        assert_eq!(b, a);
        a.clear();
        assert!(a.is_empty() && a == AgentSet::default());
    }

    #[test]
    fn unites() {
        let mut a = set(&[1]);
        a.extend(&set(&[2, 700]));
        assert_eq!(a, set(&[1, 2, 700]));
        assert!(a.contains(AgentId(700)) && !a.contains(AgentId(699)));
    }
}
