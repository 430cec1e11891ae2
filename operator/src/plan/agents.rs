//! What becomes of Agent objects: numbers, owners, and what is told of them.

use std::collections::{BTreeMap, BTreeSet};

use pagemesh_crds::{AGENTS_MAX, Agent, AgentEnding, CONDITION_READY, Severity};

use super::action::{Action, Note, Precondition};
use super::daemon_set;
use super::mesh::placement;
use super::snapshot::Snapshot;

/// Longest text of an agent's that is repeated; Events allow a kilobyte.
const FINDING_CHARS_MAX: usize = 500;

/// Plans for all agents.
pub(crate) fn plan(snapshot: &Snapshot, actions: &mut Vec<Action>) {
    let mut numbers = Numbers::of(snapshot);
    let mut agents: Vec<_> = snapshot.agents.iter().collect();
    agents
        .sort_by_key(|(name, agent)| (agent.metadata.creation_timestamp.as_ref().map(|time| time.0), *name));
    for (name, agent) in agents {
        if agent.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let id = agent.spec.id.or_else(|| numbers.next(name));
        adopt(snapshot, name, agent, id, actions);
        report(snapshot, name, agent, id, &numbers, actions);
    }
}

fn adopt(snapshot: &Snapshot, name: &str, agent: &Agent, id: Option<u16>, actions: &mut Vec<Action>) {
    let Some(id) = id else { return };
    let node_uid = snapshot.nodes.get(name).map(|node| node.uid.clone());
    let owners = agent.metadata.owner_references.iter().flatten();
    let owned =
        owners.filter(|owner| owner.kind == "Node").any(|owner| Some(&owner.uid) == node_uid.as_ref());
    let ending = ending(snapshot, name, agent);
    if agent.spec.id == Some(id) && (owned || node_uid.is_none()) && agent.spec.ending == ending {
        return;
    }
    let on = Precondition {
        uid: agent.metadata.uid.clone().unwrap_or_default(),
        resource_version: agent.metadata.resource_version.clone().unwrap_or_default(),
    };
    actions.push(Action::AdoptAgent { agent: name.to_owned(), on, id, node_uid, ending });
}

/// The answer to an agent that was told to end and asks what is to become of what it holds.
fn ending(snapshot: &Snapshot, name: &str, agent: &Agent) -> Option<AgentEnding> {
    let said = agent.spec.ending.as_ref();
    if let Some(by_another) = said.filter(|said| said.pod_name.is_none()) {
        // Whoever uninstalls has said so once and for all.
        return Some(by_another.clone());
    }
    let status = agent.status.as_ref()?;
    let asks = status.conditions.iter().any(|c| c.type_ == CONDITION_READY && c.reason == "Ending");
    let pod_name = status.pod_name.clone().filter(|_| asks)?;
    // An answer holds: the agent acts on it.
    let answered = said.filter(|said| said.pod_name.as_ref() == Some(&pod_name)).cloned();
    answered.or_else(|| {
        Some(AgentEnding { pod_name: Some(pod_name), stays: is_succeeded(snapshot, name, agent) })
    })
}

/// Whether Kubernetes starts another agent of the same pool on the node when this one has ended. Not where somebody clears the
/// node, or it shuts down: it may be about to restart, and its memory goes with that.
fn is_succeeded(snapshot: &Snapshot, name: &str, agent: &Agent) -> bool {
    let pool = agent.spec.agent_pool_name.as_ref().and_then(|pool| snapshot.pools.get(pool));
    let (Some(node), Some(pool)) = (snapshot.nodes.get(name), pool) else { return false };
    pool.metadata.deletion_timestamp.is_none()
        && !node.unschedulable
        && !node.unready
        && node.matches(&pool.spec.node_selector)
        && node.taints.iter().all(|taint| daemon_set::tolerates(&pool.spec.tolerations, taint))
}

fn report(
    snapshot: &Snapshot,
    name: &str,
    agent: &Agent,
    id: Option<u16>,
    numbers: &Numbers,
    actions: &mut Vec<Action>,
) {
    let uid = agent.metadata.uid.clone().unwrap_or_default();
    let mut notes: Vec<Note> = agent
        .status
        .iter()
        .flat_map(|status| &status.preflight)
        .map(|finding| {
            let message: String = finding.message.chars().take(FINDING_CHARS_MAX).collect();
            let reason = match finding.severity {
                Severity::Failure => "PreflightFailed",
                Severity::Warning => "PreflightWarning",
            };
            Note { warning: true, reason, text: format!("{}: {message}", finding.name) }
        })
        .collect();
    let shared = id.and_then(|id| numbers.holders.get(&id)).filter(|holders| holders.len() > 1);
    if let (Some(id), Some(holders)) = (id, shared) {
        let holders: Vec<&str> = holders.iter().map(String::as_str).collect();
        notes.push(Note {
            warning: true,
            reason: "NumberShared",
            text: format!(
                "Agents {} all have number {id}: delete all of these Agent objects but one.",
                holders.join(", ")
            ),
        });
    }
    if id.is_none() {
        notes.push(Note {
            warning: true,
            reason: "NoNumber",
            text: format!("All {AGENTS_MAX} numbers are taken: delete Agent objects of nodes that are gone."),
        });
    }
    let findings: Vec<String> = notes.iter().map(|note| format!("{} {}", note.reason, note.text)).collect();
    let said = snapshot.reported.get(&uid).map_or(&[][..], Vec::as_slice);
    if said == findings {
        return;
    }
    notes.retain(|note| !said.contains(&format!("{} {}", note.reason, note.text)));
    actions.push(Action::ReportAgent { agent: name.to_owned(), uid, findings, notes });
}

/// Which numbers are taken.
struct Numbers {
    holders: BTreeMap<u16, BTreeSet<String>>,
    /// Of agents whose object is gone. They may be back, and messages of theirs may still be under way while a region names them.
    former: BTreeMap<String, u16>,
    named: BTreeSet<String>,
    /// Whether a region names an agent whose object is gone, and whose number nobody remembers: an operator that begins to lead
    /// has not seen it.
    forgotten: bool,
}

impl Numbers {
    fn of(snapshot: &Snapshot) -> Numbers {
        let mut holders: BTreeMap<u16, BTreeSet<String>> = BTreeMap::new();
        for (name, agent) in snapshot.agents.iter() {
            if let Some(id) = agent.spec.id {
                holders.entry(id).or_default().insert(name.clone());
            }
        }
        let placements = snapshot.regions.values().filter_map(|region| placement(region));
        let homes = placements.flat_map(|placement| placement.homes.iter().chain(&placement.previous));
        let named: BTreeSet<String> = homes.map(|home| home.agent.clone()).collect();
        let former = snapshot.former_ids.clone();
        let forgotten =
            named.iter().any(|name| !snapshot.agents.contains_key(name) && !former.contains_key(name));
        Numbers { holders, former, named, forgotten }
    }

    /// The number of an agent that has none: the one that it had, or the lowest that is free. As long as one that may be taken is
    /// forgotten, the highest: that one was the lowest once.
    fn next(&mut self, agent: &str) -> Option<u16> {
        let had = self.former.get(agent).copied().filter(|id| !self.holders.contains_key(id));
        let reserved = |id: u16| {
            self.former
                .iter()
                .any(|(name, former)| *former == id && name != agent && self.named.contains(name))
        };
        let mut free = (0..AGENTS_MAX).filter(|id| !self.holders.contains_key(id) && !reserved(*id));
        let id = had.or_else(|| if self.forgotten { free.next_back() } else { free.next() })?;
        self.holders.entry(id).or_default().insert(agent.to_owned());
        Some(id)
    }
}
