//! One region: what it is, where its pages live, who has it attached.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use pagemesh_crds::{Agent, HeldRegion, Home, Placement, Region, quantity};
use serde::Serialize;

use super::region_advice;
use crate::kubernetes::{Snapshot, age, agent_lease, agent_pool_of, class_of, is_fresh, region_state};
use crate::output::{Table, escape};

/// All that is shown of a region.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    namespace: String,
    name: String,
    /// Whether programs can use all of it.
    pub(super) ready: bool,
    state: String,
    size: String,
    page_size: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    class_is_default: bool,
    agent_pool: String,
    consistency: String,
    coherence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    homes: Vec<HomeView>,
    /// Homes of the epoch before, from which pages still move.
    moving_from: Vec<String>,
    attachments: u64,
    nodes: Vec<NodeView>,
    conditions: Vec<ConditionView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    /// What could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct HomeView {
    agent: String,
    /// Which of the placement's slots it holds.
    slots: Vec<usize>,
    /// Whether it acts on the placement's epoch; absent if agents cannot be looked at.
    confirmed: Option<bool>,
    /// Whether nothing moves to it any more.
    settled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeView {
    node: String,
    home: bool,
    epoch: u64,
    attachments: u32,
    resident_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConditionView {
    r#type: String,
    status: String,
    reason: String,
    message: String,
    /// How long it has been so.
    age: String,
}

/// Collects what is shown of a region.
pub(super) fn view(snapshot: &Snapshot, region: &Region) -> View {
    let classes = snapshot.classes.as_ref().map_or(&[][..], |classes| &classes.items);
    let status = region.status.clone().unwrap_or_default();
    let state = region_state(region);
    let class = class_of(region, classes);
    let placement = status.placement.as_ref();
    let agents = snapshot.agents.as_ref().ok().map(|agents| agents.items.as_slice());
    let nodes = nodes(region, agents);
    let size = placement.and_then(|placement| placement.size.as_ref()).unwrap_or(&region.spec.size);
    let coherence = placement.and_then(|placement| placement.coherence).or(region.spec.coherence);
    let unknown = [snapshot.classes.as_ref().err(), snapshot.agents.as_ref().err()];
    View {
        namespace: region.namespace().unwrap_or_default(),
        name: region.name_any(),
        ready: state.ready,
        size: shown_size(size.as_str(), region.spec.size.as_str()),
        page_size: region.spec.page_size.as_str().into(),
        class: class.map(|(name, _)| name.into()),
        class_is_default: class.is_some_and(|(_, default)| default),
        agent_pool: agent_pool_of(region, classes).into(),
        consistency: region.spec.consistency.name().into(),
        coherence: coherence.unwrap_or_default().name().into(),
        epoch: placement.map(|placement| placement.epoch),
        homes: placement.map(|placement| homes(snapshot, region, placement, agents)).unwrap_or_default(),
        moving_from: placement.map(|placement| distinct(&placement.previous)).unwrap_or_default(),
        attachments: nodes.iter().map(|node| u64::from(node.attachments)).sum(),
        nodes,
        conditions: status.conditions.iter().map(|condition| of_condition(condition, snapshot.now)).collect(),
        advice: region_advice(region, &state),
        unknown: unknown.into_iter().flatten().map(ToString::to_string).collect(),
        state: state.word,
    }
}

/// The size in force, and the one that is wanted when that is another.
fn shown_size(in_force: &str, wanted: &str) -> String {
    if in_force == wanted { in_force.into() } else { format!("{in_force} (growing to {wanted})") }
}

fn distinct(homes: &[Home]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for home in homes {
        if !names.contains(&home.agent) {
            names.push(home.agent.clone());
        }
    }
    names
}

fn held<'a>(agent: &'a Agent, region: &Region) -> Option<&'a HeldRegion> {
    let regions = &agent.status.as_ref()?.regions;
    regions.iter().find(|held| Some(&held.uid) == region.metadata.uid.as_ref())
}

fn homes(
    snapshot: &Snapshot,
    region: &Region,
    placement: &Placement,
    agents: Option<&[Agent]>,
) -> Vec<HomeView> {
    let leases = snapshot.leases.as_ref().ok();
    let is_silent = |agent: &str| {
        leases.and_then(|leases| is_fresh(leases, &agent_lease(agent), snapshot.now)) == Some(false)
    };
    let mut slots: BTreeMap<&Home, Vec<usize>> = BTreeMap::new();
    for (slot, home) in placement.homes.iter().enumerate() {
        slots.entry(home).or_default().push(slot);
    }
    let mut homes: Vec<HomeView> = slots
        .into_iter()
        .map(|(home, slots)| {
            let (confirmed, settled, note) = match agents {
                Some(agents) => confirmation(region, placement.epoch, home, agents),
                None => (None, None, None),
            };
            // What it has said is old then, and so may be what the operator says.
            let silent = is_silent(&home.agent).then(|| "does not renew its Lease: cut off or gone".into());
            HomeView { agent: home.agent.clone(), slots, confirmed, settled, note: note.or(silent) }
        })
        .collect();
    homes.sort_by(|a, b| a.slots.cmp(&b.slots));
    homes
}

type Confirmation = (Option<bool>, Option<bool>, Option<String>);

/// What a home's own Agent object says of the placement.
fn confirmation(region: &Region, epoch: u64, home: &Home, agents: &[Agent]) -> Confirmation {
    let no = |note: String| (Some(false), Some(false), Some(note));
    let Some(agent) = agents.iter().find(|agent| agent.name_any() == home.agent) else {
        return no("there is no such agent any more".into());
    };
    let incarnation = agent.status.as_ref().and_then(|status| status.incarnation.as_ref());
    if home.incarnation.is_some() && incarnation != home.incarnation.as_ref() {
        return no("has started anew since, and lost the pages".into());
    }
    match held(agent, region) {
        None => no("has not taken the region up yet".into()),
        Some(held) => {
            let behind = (held.epoch != epoch).then(|| format!("acts on epoch {}", held.epoch));
            (Some(held.epoch == epoch), Some(held.settled), held.problem.clone().or(behind))
        }
    }
}

/// Who has the region. Agents themselves know it best; for who may not look at them there is what the operator has copied.
fn nodes(region: &Region, agents: Option<&[Agent]>) -> Vec<NodeView> {
    let status = region.status.as_ref();
    let placement = status.and_then(|status| status.placement.as_ref());
    let is_home =
        |node: &str| placement.is_some_and(|placement| placement.homes.iter().any(|home| home.agent == node));
    let mut nodes: Vec<NodeView> = match agents {
        Some(agents) => agents
            .iter()
            .filter_map(|agent| {
                let held = held(agent, region)?;
                let node = agent.name_any();
                Some(NodeView {
                    home: is_home(&node),
                    node,
                    epoch: held.epoch,
                    attachments: held.attachments,
                    resident_bytes: held.resident_bytes,
                    problem: held.problem.clone(),
                })
            })
            .collect(),
        None => {
            let seen = status.map_or(&[][..], |status| &status.nodes).iter();
            seen.map(|seen| NodeView {
                node: seen.node.clone(),
                home: is_home(&seen.node),
                epoch: seen.epoch,
                attachments: seen.attachments,
                resident_bytes: seen.resident_bytes,
                problem: None,
            })
            .collect()
        }
    };
    nodes.sort_by(|a, b| a.node.cmp(&b.node));
    nodes
}

fn of_condition(condition: &Condition, now: Timestamp) -> ConditionView {
    ConditionView {
        r#type: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        age: age(now, condition.last_transition_time.0),
    }
}

impl View {
    /// The region for people.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        let class = match &self.class {
            Some(class) if self.class_is_default => format!("{class} (the cluster's default)"),
            Some(class) => class.clone(),
            None => "none".into(),
        };
        for (name, value) in [
            ("Region", format!("{}/{}", self.namespace, self.name)),
            ("State", self.state.clone()),
            ("Size", format!("{}, in pages of {}", self.size, self.page_size)),
            ("Class", class),
            ("Pool", self.agent_pool.clone()),
            ("Consistency", self.consistency.clone()),
            ("Coherence", self.coherence.clone()),
            ("Epoch", self.epoch.map_or_else(|| "none yet".into(), |epoch| epoch.to_string())),
            ("Attachments", self.attachments.to_string()),
        ] {
            text.push_str(&format!("{name:<14}{}\n", escape(&value)));
        }
        if !self.moving_from.is_empty() {
            text.push_str(&format!("{:<14}{}\n", "Moving from", escape(&self.moving_from.join(", "))));
        }
        for table in [self.homes_table(), self.nodes_table(), self.conditions_table()] {
            if !table.is_empty() {
                text.push('\n');
                text.push_str(&table.render());
            }
        }
        if let Some(advice) = &self.advice {
            text.push_str(&format!("\nWhat to do: {advice}\n"));
        }
        for unknown in &self.unknown {
            text.push_str(&format!("\nNot looked at: {}\n", escape(unknown)));
        }
        text
    }

    fn homes_table(&self) -> Table {
        let mut table = Table::new(&["HOME", "SLOTS", "CONFIRMED", "SETTLED", "NOTE"]);
        let known = |yes: Option<bool>| yes.map_or("?", |yes| if yes { "yes" } else { "no" }).to_owned();
        for home in &self.homes {
            let slots: Vec<String> = home.slots.iter().map(ToString::to_string).collect();
            table.row([
                home.agent.clone(),
                slots.join(","),
                known(home.confirmed),
                known(home.settled),
                home.note.clone().unwrap_or_default(),
            ]);
        }
        table
    }

    fn nodes_table(&self) -> Table {
        let mut table = Table::new(&["NODE", "HOME", "EPOCH", "ATTACHMENTS", "RESIDENT", "PROBLEM"]);
        for node in &self.nodes {
            table.row([
                node.node.clone(),
                if node.home { "yes" } else { "no" }.into(),
                node.epoch.to_string(),
                node.attachments.to_string(),
                quantity::format(node.resident_bytes),
                node.problem.clone().unwrap_or_default(),
            ]);
        }
        table
    }

    fn conditions_table(&self) -> Table {
        let mut table = Table::new(&["CONDITION", "STATUS", "FOR", "REASON", "MESSAGE"]);
        for condition in &self.conditions {
            table.row([
                condition.r#type.clone(),
                condition.status.clone(),
                condition.age.clone(),
                condition.reason.clone(),
                condition.message.clone(),
            ]);
        }
        table
    }
}
