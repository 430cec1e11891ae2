//! The names of things: agents, regions, pages, transactions, points in time.

use serde::{Deserialize, Serialize};

/// Number of an agent in its mesh. Small and dense, so that a set of agents is a bit set ([`crate::AgentSet`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentId(pub u16);

impl AgentId {
    /// Agents that one mesh may have. Ids are below this; the shell checks it at the door.
    pub const LIMIT: u16 = 1024;
}

/// Identity of a region in the whole mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RegionId(pub u64);

/// One page of one region: the unit of coherence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PageId {
    /// The region.
    pub region: RegionId,
    /// Position in the region, in pages.
    pub index: u64,
}

impl PageId {
    /// The page in the name of which the region as a whole is spoken of.
    pub(crate) fn of_region(region: RegionId) -> PageId {
        PageId { region, index: 0 }
    }
}

/// Number of a transaction on a page. A home hands them out in rising order and never twice, so the number of the
/// transaction that last made a page writable also names the page's contents: it is their *version*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Txn(pub u64);

impl Txn {
    /// Version of a copy that does not exist.
    pub const NONE: Txn = Txn(0);
    /// Version of a page that nobody ever wrote: all zeros.
    pub const NEVER_WRITTEN: Txn = Txn(1);
    /// Beyond what any home reaches, so that a peer cannot make a home run out of numbers.
    pub(crate) const LIMIT: Txn = Txn(1 << 63);
}

/// Number of a request. An agent hands them out in rising order and never twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

impl RequestId {
    /// No request: what is sent was not asked for.
    pub const NONE: RequestId = RequestId(0);
}

/// What distinguishes two lives of an agent: one that comes back without its memory has another incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// Of an agent more than one life is spoken of. No life is this one.
    pub(crate) const NO_ONE: Incarnation = Incarnation(0);
}

/// Nanoseconds since any fixed origin. Only differences and order matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// This time and `nanos` more.
    #[must_use]
    pub fn after(self, nanos: u64) -> Time {
        Time(self.0.saturating_add(nanos))
    }
}

/// What a fault wants, and what a grant gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Access {
    /// A read-only copy.
    Read,
    /// The one writable copy.
    Write,
}
