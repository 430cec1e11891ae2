//! A look inside a [`Node`], for metrics, tests and people. Nothing here changes anything.

use alloc::vec::Vec;

use crate::home::Kind;
use crate::node::{Node, Page, PageState};
use crate::{Access, AgentId, PageId, RegionId, RequestId, Txn};

/// Everything that a node knows of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageView {
    /// What its programs may do.
    pub state: PageState,
    /// Version of its copy, or of the last one.
    pub version: Txn,
    /// The request under way.
    pub request: Option<(RequestId, Access)>,
    /// The transaction that took the page away, if a copy is still kept for it.
    pub aside: Option<Txn>,
    /// Whether a demand waits for the turn to end.
    pub deferred: bool,
    /// Whether this node was the page's home before, and keeps the directory entry for the new one.
    pub departed: bool,
    /// What the directory says, at the page's home.
    pub home: Option<HomeView>,
}

/// What the home knows of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeView {
    /// Whether the directory entry is here. If not, the page has just moved here, and the rest does not count.
    pub known: bool,
    /// Who has the contents for certain.
    pub owner: Option<AgentId>,
    /// Their version.
    pub version: Txn,
    /// Who may have a read-only copy.
    pub sharers: Vec<AgentId>,
    /// Who gets updates.
    pub subscribers: Vec<AgentId>,
    /// The open transaction: its number, its name (`read`, `write`, `collect`) and for whom.
    pub active: Option<(Txn, &'static str, AgentId)>,
    /// Who waits, first come first.
    pub queue: Vec<AgentId>,
}

/// How much is under way: all zero when every fault has been served and all is settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// Requests of this node.
    pub requests: usize,
    /// Pages homed here with an open transaction.
    pub transactions: usize,
    /// Copies kept until their new owner has them.
    pub asides: usize,
    /// Demands that wait for a turn to end.
    pub deferred: usize,
    /// Pages to be sent again.
    pub retries: usize,
    /// Previous homes, of all regions, that still have directory entries for this node.
    pub claims: usize,
    /// Other homes, of all regions, that may not have got all directory entries that this node has for them.
    pub handing_over: usize,
    /// Regions that this node is leaving.
    pub leaving: usize,
    /// Agents that are leaving a region which this node homes.
    pub leavers: usize,
}

impl InFlight {
    /// Whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self == InFlight::default()
    }
}

impl Node {
    /// This node's number.
    #[must_use]
    pub fn id(&self) -> AgentId {
        self.me
    }

    /// Everything about one page; `None` if the region is not known.
    #[must_use]
    pub fn view(&self, page: PageId) -> Option<PageView> {
        let region = self.regions.get(&page.region)?;
        let here = region.pages.get(page.index).copied().unwrap_or_else(Page::default);
        let home = (region.placement.home(page) == self.me).then(|| {
            let entry = region.directory.get(page.index).cloned().unwrap_or_default();
            let work = self.work.get(page);
            let active = work.and_then(|w| w.active.as_ref()).map(|t| {
                let name = match t.kind {
                    Kind::Read { .. } => "read",
                    Kind::Write { .. } => "write",
                    Kind::Collect { .. } => "collect",
                };
                (t.txn, name, t.requester)
            });
            HomeView {
                known: self.is_here(page),
                owner: entry.owner,
                version: entry.version,
                sharers: entry.sharers.iter().collect(),
                subscribers: entry.subscribers.iter().collect(),
                active,
                queue: work.map(|w| w.queue.iter().map(|q| q.from).collect()).unwrap_or_default(),
            }
        });
        Some(PageView {
            state: here.state,
            version: here.version,
            request: self.requests.get(page).map(|r| (r.req, r.access)),
            aside: self.asides.get(page).copied(),
            deferred: self.deferred.get(page).is_some(),
            departed: self.keeps(page),
            home,
        })
    }

    /// How much is under way.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        InFlight {
            requests: self.requests.len(),
            transactions: self.work.len(),
            asides: self.asides.len(),
            deferred: self.deferred.len(),
            retries: self.retries.len(),
            claims: self.claims().count(),
            handing_over: self.departed.len(),
            leaving: self.leaving.len(),
            leavers: self.leavers.len(),
        }
    }

    /// Whether this node has the directory entries of all pages of the region that it homes under the placement that it
    /// knows. `false` for a region that it does not know. Homes may change again only when all of them say so.
    #[must_use]
    pub fn settled(&self, region: RegionId) -> bool {
        self.regions.contains_key(&region) && self.arriving.get(region).is_none()
    }

    /// Epoch of the placement of a region that this node acts on; `None` if it does not know the region.
    #[must_use]
    pub fn epoch(&self, region: RegionId) -> Option<u64> {
        self.regions.get(&region).map(|r| r.placement.epoch)
    }

    /// Pages of a region that this node may (read, write).
    #[must_use]
    pub fn pages_by_state(&self, region: RegionId) -> (u64, u64) {
        self.regions.get(&region).map_or((0, 0), |r| (r.shared, r.exclusive))
    }

    /// The home of a page; `None` if the region is not known.
    #[must_use]
    pub fn home_of(&self, page: PageId) -> Option<AgentId> {
        self.regions.get(&page.region).map(|r| r.placement.home(page))
    }
}
