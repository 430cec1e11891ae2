//! Where pages live: a page's home is computed, never looked up.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{AgentId, PageId, RegionId};

/// Neighbouring pages that share one home, so that a run of pages is asked for with one message.
pub const CHUNK_PAGES: u64 = 64;

/// A region's epoch and its ordered homes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// Number of this placement; a later one is greater. Never 0.
    pub epoch: u64,
    /// The homes. The order matters: chunk `c` lives at position `(c + region) mod len`, so that replacing one home
    /// in place moves only its own chunks, and small regions do not all start at the same agent.
    pub homes: Vec<AgentId>,
    /// While pages move from one home to another: the homes of the placement before. Empty when nothing moves, which
    /// is so for a new region, and when the homes stay as they are. Homes may change again only when all of them say
    /// that they are [settled](crate::Node::settled); so this is the truth for a node that has missed placements, too.
    pub previous: Vec<AgentId>,
}

impl Placement {
    /// The agent that orders all accesses to `page`.
    #[must_use]
    pub fn home(&self, page: PageId) -> AgentId {
        home_among(&self.homes, page)
    }

    /// Whether `agent` homes any of a region's pages. One of more homes than the region has chunks may home none.
    pub(crate) fn homes_any(&self, agent: AgentId, region: RegionId, pages: u64) -> bool {
        let chunks = pages.div_ceil(CHUNK_PAGES).min(self.homes.len() as u64);
        (0..chunks).any(|chunk| self.home(PageId { region, index: chunk * CHUNK_PAGES }) == agent)
    }

    /// Where the page's directory entry is to be had; its home itself, unless it moves.
    #[must_use]
    pub fn previous_home(&self, page: PageId) -> AgentId {
        if self.previous.is_empty() { self.home(page) } else { home_among(&self.previous, page) }
    }
}

fn home_among(homes: &[AgentId], page: PageId) -> AgentId {
    let len = homes.len() as u64;
    let chunk = page.index / CHUNK_PAGES;
    let at = (chunk % len + page.region.0 % len) % len;
    homes[at as usize]
}

/// How copies are kept coherent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Coherence {
    /// A write first removes every other copy; readers come and fetch.
    WriteInvalidate,
    /// As above, and when the writer's turn ends its contents go to all that held the page before.
    WriteUpdate,
}

/// What the protocol needs to know of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RegionConfig {
    /// Size in pages.
    pub pages: u64,
    /// How copies are kept.
    pub coherence: Coherence,
}
