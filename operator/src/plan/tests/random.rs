//! A random cluster, in which random things happen.

use std::collections::BTreeMap;

use pagemesh_crds::{AgentMemory, Coherence, Home, Placement, Quantity, Region};

use super::model::{Model, key, ready};
use crate::plan::RegionKey;

/// SplitMix64, as its author published it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.below(of.len() as u64) as usize].clone())
    }
}

/// A cluster, and what a test knows of it apart from what the planner is told.
pub(super) struct World {
    pub(super) model: Model,
    random: Random,
    lives: u64,
    pub(super) log: Vec<String>,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut model = Model::new();
        model.set_pool("default", |_| {});
        model.set_pool("other", |spec| spec.node_selector = [("pool".to_owned(), "other".to_owned())].into());
        World { model, random: Random(seed), lives: 1, log: Vec::new() }
    }

    pub(super) fn agents(&self) -> Vec<String> {
        self.model.snapshot.agents.keys().cloned().collect()
    }

    pub(super) fn regions(&self) -> Vec<RegionKey> {
        let alive = |region: &Region| region.metadata.deletion_timestamp.is_none();
        self.model
            .snapshot
            .regions
            .iter()
            .filter(|(_, region)| alive(region))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Something happens. Returns the region whose spec was changed.
    pub(super) fn step(&mut self) -> Option<RegionKey> {
        let (agents, regions) = (self.agents(), self.regions());
        let (agent, region) = (self.random.pick(&agents), self.random.pick(&regions));
        let dice = self.random.below(20);
        self.log.push(format!("{dice} agent {agent:?} region {region:?}"));
        match (dice, agent, region) {
            (0 | 1, ..) | (_, None, _) => self.add_agent(),
            (2..=4, ..) | (_, _, None) => return Some(self.add_region()),
            (5, Some(agent), _) => {
                self.model.set_node(&agent, |node| node.unschedulable = !node.unschedulable)
            }
            (6, Some(agent), _) => {
                let stopping = self.random.below(2) == 0;
                let (status, reason) = if stopping { ("False", "Stopping") } else { ("True", "Serving") };
                self.model.set_agent(&agent, |_, own| own.conditions = vec![ready(status, reason)]);
            }
            (7, Some(agent), _) => self.restart(&agent),
            (8, Some(agent), _) => {
                if self.model.silent.contains(&agent) {
                    self.model.silent.retain(|silent| *silent != agent);
                } else if self.random.below(3) == 0 {
                    self.model.silent.push(agent);
                }
                self.model.pass(41);
            }
            (9, _, Some(region)) => {
                let by = 1 << self.random.below(3);
                self.model.set_region(&region, |spec| {
                    spec.size = Quantity::from(spec.size.bytes().unwrap() * by);
                });
                return Some(region);
            }
            (10, _, Some(region)) => {
                let homes = 1 + self.random.below(4) as u16;
                self.model.set_region(&region, |spec| spec.homes = Some(homes));
                return Some(region);
            }
            (11, _, Some(region)) => {
                self.model.set_region(&region, |spec| spec.coherence = Some(Coherence::WriteUpdate));
                return Some(region);
            }
            (12, _, Some(region)) => {
                self.model.delete_region(&region);
                return Some(region);
            }
            (_, _, Some(region)) => self.confirm(&region),
        }
        None
    }

    fn add_agent(&mut self) {
        let number = self.model.snapshot.agents.len();
        let (name, zone) = (format!("n{number}"), format!("z{}", self.random.below(3)));
        let other = self.random.below(4) == 0;
        let lent = Quantity::from((64 << self.random.below(4)) << 20);
        self.model.set_node(&name, |node| {
            node.labels.insert("topology.kubernetes.io/zone".into(), zone);
            if other {
                node.labels.insert("pool".into(), "other".into());
            }
        });
        self.model.set_agent(&name, |spec, status| {
            spec.agent_pool_name = Some(if other { "other" } else { "default" }.into());
            status.memory = Some(AgentMemory { lent, resident_bytes: 0 });
        });
    }

    fn add_region(&mut self) -> RegionKey {
        self.lives += 1;
        let region = key(&format!("r{}", self.lives));
        let size = Quantity::from((1 << self.random.below(9)) << 20);
        let homes = self.random.below(5) as u16;
        let other = self.random.below(5) == 0;
        self.model.set_region(&region, |spec| {
            spec.size = size;
            spec.homes = Some(homes).filter(|homes| *homes > 0);
            spec.agent_pool_name = other.then(|| "other".into());
        });
        region
    }

    /// The agent is back without its memory.
    fn restart(&mut self, agent: &str) {
        if self.random.below(3) > 0 {
            return;
        }
        self.lives += 1;
        let incarnation = self.lives.to_string();
        self.model.set_agent(agent, |_, status| {
            status.incarnation = Some(incarnation);
            status.regions.clear();
        });
    }

    /// Some or all homes act on the placement, and may have all of their pages.
    fn confirm(&mut self, region: &RegionKey) {
        let Some(placement) = self.model.placement(region).cloned() else { return };
        let all = self.random.below(4) > 0;
        for home in &placement.homes {
            let agent = self.model.snapshot.agents.get(&home.agent);
            let same =
                agent.is_some_and(|agent| agent.status.as_ref().unwrap().incarnation == home.incarnation);
            if same && (all || self.random.below(2) == 0) {
                let settled = all || self.random.below(2) == 0;
                self.model.hold(&home.agent, region, |held| {
                    (held.epoch, held.settled) = (placement.epoch, settled)
                });
            }
        }
    }

    /// Whether an agent could take pages.
    pub(super) fn usable(&self, agent: &str) -> bool {
        let object = &self.model.snapshot.agents[agent];
        let status = object.status.as_ref().unwrap();
        let ready = status.conditions[0].status == "True";
        ready && self.alive(agent) && !self.model.snapshot.nodes[agent].unschedulable
    }

    fn alive(&self, agent: &str) -> bool {
        self.model.snapshot.leases[agent].holds_until > self.model.snapshot.now
    }

    pub(super) fn leaving(&self, agent: &str) -> bool {
        let status = self.model.snapshot.agents[agent].status.as_ref().unwrap();
        status.conditions[0].reason == "Stopping" || self.model.snapshot.nodes[agent].unschedulable
    }

    /// Whether a home can be asked for its pages.
    pub(super) fn has_pages(&self, home: &Home) -> bool {
        let incarnation = &self.model.snapshot.agents[&home.agent].status.as_ref().unwrap().incarnation;
        *incarnation == home.incarnation && self.alive(&home.agent)
    }

    pub(super) fn settled(&self, region: &RegionKey, placement: &Placement) -> bool {
        let uid = self.model.region(region).metadata.uid.clone().unwrap();
        placement.homes.iter().all(|home| {
            let status = self.model.snapshot.agents[&home.agent].status.as_ref().unwrap();
            let held = status.regions.iter().find(|held| held.uid == uid);
            status.incarnation == home.incarnation
                && held.is_some_and(|held| held.epoch == placement.epoch && held.settled)
        })
    }

    /// Memory of each agent that its placements take, counted from the definition.
    pub(super) fn promised(&self) -> BTreeMap<String, u64> {
        let mut promised = BTreeMap::new();
        // Also those that are being deleted: their memory is taken until they are gone.
        for region in self.model.snapshot.regions.keys() {
            let Some(placement) = self.model.placement(region) else { continue };
            for agent in self.agents() {
                let (home, former_home) = self.shares(placement, &agent);
                *promised.entry(agent).or_default() += home.max(former_home);
            }
        }
        promised
    }

    /// What a region takes of an agent's memory as a home, and as one that was a home until now.
    pub(super) fn shares(&self, placement: &Placement, agent: &str) -> (u64, u64) {
        let size = placement.size.as_ref().unwrap().bytes().unwrap();
        let incarnation = &self.model.snapshot.agents[agent].status.as_ref().unwrap().incarnation;
        let share = |homes: &[Home]| {
            let own = homes.iter().filter(|home| home.agent == agent && home.incarnation == *incarnation);
            own.count() as u64 * size.div_ceil(homes.len().max(1) as u64)
        };
        (share(&placement.homes), share(&placement.previous))
    }
}
