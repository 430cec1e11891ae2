//! The objects that are in force.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use pagemesh_crds::{Home, ValidAgent, ValidRegion};
use pagemesh_names::{Table, Tree};
use pagemesh_protocol::{AgentId, Placement, RegionId};

/// An object and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared<T> {
    /// The object.
    pub object: T,
    /// What declares it, or did: a file, or the object itself where an API server has it.
    pub source: String,
    /// Whether it is still declared. An object without a uid is never forgotten while the agent lives: its shards and
    /// peers know it, so one that comes back must be the same.
    pub present: bool,
}

/// All objects that are or were in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Regions by identity.
    pub regions: BTreeMap<RegionId, Declared<ValidRegion>>,
    /// Agents by name.
    pub agents: BTreeMap<String, Declared<ValidAgent>>,
    /// MountTables by namespace and name. They are what they are declared to be now: nobody remembers others.
    pub tables: BTreeMap<(String, String), Declared<Table>>,
    /// All MountTables that there are may not be known yet: the API server has not told them.
    pub tables_missing: bool,
    /// The regions that are declared now, by namespace and name.
    pub(super) names: BTreeMap<(String, String), RegionId>,
    /// Regions with a uid that are gone for good. Eight bytes each, as long as the agent lives.
    pub(super) dropped: BTreeSet<RegionId>,
}

/// A region's placement as this agent acts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// In the numbers that the protocol uses.
    pub placement: Placement,
    /// Whether this agent is one of the homes, or was until pages began to move.
    pub home: bool,
}

/// Why an agent cannot act on a region's placement. Each is a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unplaced {
    /// Nobody has placed it.
    #[error("it has no status.placement: nobody has decided yet where its pages live")]
    Undecided,
    /// A home is not known.
    #[error("its home {0} is not declared: add the Agent object of that name")]
    UnknownHome(String),
    /// The placement means an earlier life of this agent.
    #[error(
        "its pages went with an earlier life of this agent ({lost}), which was a home of it: give it new homes without \
         {agent}, or delete it"
    )]
    EarlierLife {
        /// This agent.
        agent: String,
        /// The life that the placement means.
        lost: String,
    },
}

/// Who acts: an agent's name, and which of its lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its name.
    pub name: String,
    /// As in its Agent object.
    pub incarnation: String,
}

impl Life {
    /// Whether `home` is this agent. Where nobody restarts agents, placements do not say which life they mean.
    fn is(&self, home: &Home) -> bool {
        home.agent == self.name && home.incarnation.as_ref().is_none_or(|life| *life == self.incarnation)
    }

    /// Whether a placement names this life, or did until pages began to move.
    #[must_use]
    pub fn is_named_by(&self, placement: &pagemesh_crds::Placement) -> bool {
        placement.homes.iter().chain(&placement.previous).any(|home| self.is(home))
    }
}

impl Objects {
    /// A region that is declared now.
    #[must_use]
    pub fn region(&self, region: RegionId) -> Option<&ValidRegion> {
        self.regions.get(&region).filter(|declared| declared.present).map(|declared| &declared.object)
    }

    /// A region that is declared now under this name.
    #[must_use]
    pub fn named(&self, namespace: &str, name: &str) -> Option<(RegionId, &ValidRegion)> {
        let id = *self.names.get(&(namespace.to_owned(), name.to_owned()))?;
        Some((id, self.region(id)?))
    }

    /// The same, by `namespace/name`.
    #[must_use]
    pub fn named_in_full(&self, name: &str) -> Option<(RegionId, &ValidRegion)> {
        let (namespace, name) = name.split_once('/')?;
        self.named(namespace, name)
    }

    /// Regions that are declared now.
    pub fn regions(&self) -> impl Iterator<Item = (RegionId, &ValidRegion)> {
        self.regions.iter().filter(|(_, declared)| declared.present).map(|(id, d)| (*id, &d.object))
    }

    /// The tree of names that these make.
    #[must_use]
    pub fn names(&self) -> Tree {
        let tables = self.tables.values().map(|declared| declared.object.clone());
        Tree::new(tables, self.regions().map(|(_, region)| region.into()), !self.tables_missing)
    }

    /// Agents that are declared now.
    pub fn agents(&self) -> impl Iterator<Item = &ValidAgent> {
        self.agents.values().filter(|declared| declared.present).map(|declared| &declared.object)
    }

    /// Where to reach the agents other than `me`, as far as it is known.
    #[must_use]
    pub fn peers(&self, me: AgentId) -> BTreeMap<AgentId, SocketAddr> {
        let others = self.agents().filter(|agent| agent.id != me.0);
        others.filter_map(|agent| Some((AgentId(agent.id), agent.address?))).collect()
    }

    /// A region's placement as `me` acts on it.
    ///
    /// # Errors
    ///
    /// Why it cannot be used, or not yet.
    pub fn part(&self, region: &ValidRegion, me: &Life) -> Result<Part, Unplaced> {
        let placement = region.placement.as_ref().ok_or(Unplaced::Undecided)?;
        let both = || placement.homes.iter().chain(&placement.previous);
        // It must not take itself for the home that it was: where that one had pages, it would show zeros.
        if let Some(lost) = both().find(|home| home.agent == me.name && !me.is(home)) {
            let lost = lost.incarnation.clone().unwrap_or_default();
            return Err(Unplaced::EarlierLife { agent: me.name.clone(), lost });
        }
        let home = |home: &Home| {
            let agent = self.agents.get(&home.agent).filter(|declared| declared.present);
            agent
                .map(|declared| AgentId(declared.object.id))
                .ok_or_else(|| Unplaced::UnknownHome(home.agent.clone()))
        };
        let ids = |homes: &[Home]| homes.iter().map(home).collect::<Result<Vec<_>, _>>();
        let (homes, previous) = (ids(&placement.homes)?, ids(&placement.previous)?);
        let placement = Placement { epoch: placement.epoch, homes, previous };
        Ok(Part { placement, home: both().any(|home| me.is(home)) })
    }
}
