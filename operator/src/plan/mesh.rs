//! What a snapshot means: which agents can take pages, which should lose theirs, and how much memory is left.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use pagemesh_crds::{Agent, AgentStatus, HeldRegion, Home, Placement, Region, Severity};

use super::snapshot::{NodeView, Snapshot};

/// An agent, judged.
pub(crate) struct AgentFacts<'a> {
    pub(crate) pool: Option<&'a str>,
    /// Which life of it runs, as far as it has said.
    pub(crate) incarnation: Option<&'a str>,
    pub(crate) zone: &'a str,
    pub(crate) lent_bytes: u64,
    /// Whether it has renewed its Lease.
    pub(crate) alive: bool,
    /// Why nothing is to be placed on it, if so.
    pub(crate) unusable: Option<String>,
    /// Why it is to lose what it homes, if so.
    pub(crate) leaving: Option<String>,
}

/// All agents, what they hold, and what has been promised of their memory.
pub(crate) struct Mesh<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) agents: BTreeMap<&'a str, AgentFacts<'a>>,
    held: BTreeMap<&'a str, Vec<(&'a str, &'a HeldRegion)>>,
    promised_bytes: BTreeMap<&'a str, u64>,
    wake_at: Cell<Option<Timestamp>>,
}

impl<'a> Mesh<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Mesh<'a> {
        let mut mesh = Mesh {
            snapshot,
            agents: BTreeMap::new(),
            held: BTreeMap::new(),
            promised_bytes: BTreeMap::new(),
            wake_at: Cell::new(None),
        };
        for (name, agent) in snapshot.agents.iter() {
            let facts = mesh.judge(name, agent);
            mesh.agents.insert(name, facts);
            for region in agent.status.iter().flat_map(|status| &status.regions) {
                mesh.held.entry(&region.uid).or_default().push((name, region));
            }
        }
        for region in snapshot.regions.values() {
            if let Some(placement) = placement(region) {
                mesh.promise(placement, size_in_force(region, placement));
            }
        }
        mesh.count_leftovers();
        mesh
    }

    /// Counts the memory of regions that are gone, until their agents have let go of it.
    fn count_leftovers(&mut self) {
        let regions = self.snapshot.regions.values();
        let known: BTreeSet<&str> = regions.filter_map(|region| region.metadata.uid.as_deref()).collect();
        for (_, held) in self.held.iter().filter(|(uid, _)| !known.contains(**uid)) {
            for (agent, held) in held {
                let promised = self.promised_bytes.entry(agent).or_default();
                *promised = promised.saturating_add(held.resident_bytes);
            }
        }
    }

    fn judge(&self, name: &str, agent: &'a Agent) -> AgentFacts<'a> {
        let nothing = AgentStatus::default();
        let status = agent.status.as_ref().unwrap_or(&nothing);
        let node = self.snapshot.nodes.get(name).map(|node| &**node);
        let lease = self.snapshot.leases.get(name);
        let until = |time: Timestamp| {
            let ahead = time > self.snapshot.now;
            if ahead {
                self.wake_at(time);
            }
            ahead
        };
        let alive = lease.is_some_and(|lease| until(lease.holds_until));
        let fresh = lease.is_some_and(|lease| until(lease.fresh_until));
        let pool = agent.spec.agent_pool_name.as_deref();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        let leaving = self.leaving(pool, node, ready);
        let lent_bytes = status.memory.as_ref().and_then(|memory| memory.lent.bytes().ok()).unwrap_or(0);
        let unusable = leaving.clone().or_else(|| unready(status, ready)).or_else(|| {
            if pool.is_none_or(|pool| !self.snapshot.pools.contains_key(pool)) {
                Some("its AgentPool is gone".into())
            } else if agent.metadata.deletion_timestamp.is_some() {
                Some("its Agent object is being deleted".into())
            } else if agent.spec.id.is_none() {
                Some("it has no number yet".into())
            } else if status.incarnation.is_none() || status.address.is_none() {
                Some("it has not said where it is reached".into())
            } else if !alive {
                Some("its Lease has expired".into())
            } else if !fresh {
                Some("its Lease is old".into())
            } else {
                None
            }
        });
        AgentFacts {
            pool,
            incarnation: agent.status.as_ref().and_then(|status| status.incarnation.as_deref()),
            zone: node.map_or("", NodeView::zone),
            lent_bytes,
            alive,
            unusable,
            leaving,
        }
    }

    fn leaving(
        &self,
        pool: Option<&str>,
        node: Option<&NodeView>,
        ready: Option<&Condition>,
    ) -> Option<String> {
        if let Some(ready) = ready.filter(|ready| ready.status != "True" && ready.reason == "Stopping") {
            return Some(if ready.message.is_empty() {
                "it is stopping".into()
            } else {
                ready.message.clone()
            });
        }
        let Some(node) = node else { return Some("its Node is gone".into()) };
        if node.unschedulable {
            return Some("its node is cordoned".into());
        }
        // A pool that is gone takes all of its agents along, so there is nobody to hand anything to.
        let selector = self.snapshot.pools.get(pool?).map(|pool| &pool.spec.node_selector)?;
        (!node.matches(selector)).then(|| "its node is no longer selected by its AgentPool".into())
    }

    /// Asks to be called again at a time at which something changes by itself.
    pub(crate) fn wake_at(&self, at: Timestamp) {
        self.wake_at.set(Some(self.wake_at.get().map_or(at, |other| other.min(at))));
    }

    pub(crate) fn wakes_at(&self) -> Option<Timestamp> {
        self.wake_at.get()
    }

    /// What agents say of a region, by agent.
    pub(crate) fn held(&self, uid: &str) -> &[(&'a str, &'a HeldRegion)] {
        self.held.get(uid).map_or(&[], Vec::as_slice)
    }

    /// Whether the agent's present life is the one that was made a home.
    pub(crate) fn is_home(&self, home: &Home) -> bool {
        let incarnation = self.agents.get(home.agent.as_str()).and_then(|facts| facts.incarnation);
        incarnation.is_some() && (home.incarnation.is_none() || home.incarnation.as_deref() == incarnation)
    }

    /// Whether an agent has renewed its Lease.
    pub(crate) fn is_alive(&self, agent: &str) -> bool {
        self.agents.get(agent).is_some_and(|facts| facts.alive)
    }

    /// Counts what a placement takes of its homes' memory.
    pub(crate) fn promise(&mut self, placement: &Placement, size_bytes: u64) {
        for (agent, bytes) in self.shares(placement, size_bytes) {
            let promised = self.promised_bytes.entry(agent).or_default();
            *promised = promised.saturating_add(bytes);
        }
    }

    /// Takes back what [`Mesh::promise`] has counted.
    pub(crate) fn take_back(&mut self, placement: &Placement, size_bytes: u64) {
        for (agent, bytes) in self.shares(placement, size_bytes) {
            let promised = self.promised_bytes.entry(agent).or_default();
            *promised = promised.saturating_sub(bytes);
        }
    }

    /// Memory of each agent that homes a region or still has pages of it. A life that is over has no memory.
    fn shares(&self, placement: &Placement, size_bytes: u64) -> Vec<(&'a str, u64)> {
        let mut shares: BTreeMap<&'a str, u64> = BTreeMap::new();
        for homes in [&placement.homes, &placement.previous] {
            let mut of_these: BTreeMap<&'a str, u64> = BTreeMap::new();
            for home in homes.iter().filter(|home| self.is_home(home)) {
                if let Some((agent, _)) = self.agents.get_key_value(home.agent.as_str()) {
                    *of_these.entry(agent).or_default() += share_bytes(size_bytes, homes.len());
                }
            }
            for (agent, bytes) in of_these {
                let share = shares.entry(agent).or_default();
                *share = bytes.max(*share);
            }
        }
        shares.into_iter().collect()
    }

    /// Memory that is lent and not promised.
    pub(crate) fn free_bytes(&self, agent: &str) -> u64 {
        let lent_bytes = self.agents.get(agent).map_or(0, |facts| facts.lent_bytes);
        lent_bytes.saturating_sub(self.promised_bytes.get(agent).copied().unwrap_or(0))
    }

    /// The agents of a pool, with what is to be said of each.
    pub(crate) fn of_pool(&self, pool: &str) -> impl Iterator<Item = (&'a str, &AgentFacts<'a>)> {
        self.agents
            .iter()
            .filter(move |(_, facts)| facts.pool == Some(pool))
            .map(|(name, facts)| (*name, facts))
    }
}

fn unready(status: &AgentStatus, ready: Option<&Condition>) -> Option<String> {
    match ready {
        None => Some("it has not said that it is ready".into()),
        Some(ready) if ready.status == "True" => None,
        Some(ready) => {
            let finding = status.preflight.iter().find(|finding| finding.severity == Severity::Failure);
            let detail = finding.map_or(ready.message.as_str(), |finding| finding.message.as_str());
            Some(match detail {
                "" => format!("it is not ready ({})", ready.reason),
                detail => format!("it is not ready ({}: {detail})", ready.reason),
            })
        }
    }
}

pub(crate) fn placement(region: &Region) -> Option<&Placement> {
    region.status.as_ref()?.placement.as_ref()
}

/// The size that agents act on; 0 if it cannot be read, which [`pagemesh_crds::validate`] reports.
pub(crate) fn size_in_force(region: &Region, placement: &Placement) -> u64 {
    placement.size.as_ref().unwrap_or(&region.spec.size).bytes().unwrap_or(0)
}

/// What each of `slots` homes lends to a region.
pub(crate) fn share_bytes(size_bytes: u64, slots: usize) -> u64 {
    size_bytes.div_ceil(slots.max(1) as u64)
}
