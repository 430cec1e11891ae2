//! The objects that are in force.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pagemesh_crds::{Home, ValidAgent, ValidRegion};
use pagemesh_protocol::{AgentId, Placement, RegionId};

/// An object and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared<T> {
    /// The object.
    pub object: T,
    /// The file that declares it, or did.
    pub file: String,
    /// Whether it is still declared. Objects are never forgotten while the agent lives: its shards and peers know
    /// them, so one that comes back must be the same.
    pub present: bool,
}

/// All objects that are or were in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Regions by identity.
    pub regions: BTreeMap<RegionId, Declared<ValidRegion>>,
    /// Agents by name.
    pub agents: BTreeMap<String, Declared<ValidAgent>>,
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
        let mut present = self.regions.iter().filter(|(_, declared)| declared.present);
        let (id, declared) =
            present.find(|(_, d)| d.object.namespace == namespace && d.object.name == name)?;
        Some((*id, &declared.object))
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

    /// A region's placement in the numbers that the protocol uses.
    ///
    /// # Errors
    ///
    /// Why it cannot be used yet, as a sentence.
    pub fn placement(&self, region: &ValidRegion) -> Result<Placement, String> {
        let Some(placement) = &region.placement else {
            return Err("it has no status.placement: nobody has decided yet where its pages live".into());
        };
        let home = |home: &Home| {
            let name = &home.agent;
            let agent = self.agents.get(name).filter(|declared| declared.present);
            agent
                .map(|declared| AgentId(declared.object.id))
                .ok_or_else(|| format!("its home {name} is not declared: add the Agent object of that name"))
        };
        let homes = placement.homes.iter().map(home).collect::<Result<Vec<_>, _>>()?;
        Ok(Placement { epoch: placement.epoch, homes })
    }
}
