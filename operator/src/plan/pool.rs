//! What becomes of an AgentPool: the objects that run its agents, and what is seen of them.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use pagemesh_crds::{AgentPool, AgentPoolStatus};

use super::action::{Action, Child, Note, Precondition};
use super::conditions::{Conditions, Verdict, count, forget_foreign, holds, list};
use super::snapshot::{ChildKey, ChildKind, Rollout, Snapshot};
use super::{children, daemon_set};

/// Longest name of a pool: what belongs to it is called `pagemesh-agent-` and this, and may have 63 characters.
const NAME_CHARS_MAX: usize = 48;

/// Plans for one pool.
pub(crate) fn plan(snapshot: &Snapshot, name: &str, pool: &AgentPool, actions: &mut Vec<Action>) {
    if pool.metadata.deletion_timestamp.is_some() {
        return;
    }
    let wanted = wanted(snapshot, name, pool);
    let fault = match (&wanted, snapshot.pool_failures.get(name)) {
        (Err(reason), _) => Some(Verdict::no("InvalidSpec", reason.clone())),
        (Ok(_), Some(failure)) => Some(Verdict::no("ApplyFailed", failure.clone())),
        (Ok(_), None) => None,
    };
    let outdated = outdated(snapshot, wanted.unwrap_or_default());
    let rolls_out = outdated.iter().any(|(child, _)| matches!(child, Child::DaemonSet(_)));
    // First the status: what follows may fail.
    set_status(snapshot, name, pool, fault, rolls_out, actions);
    for (child, content) in outdated {
        actions.push(Action::ApplyChild { pool: name.to_owned(), child: Box::new(child), content });
    }
}

/// What should belong to the pool.
fn wanted(snapshot: &Snapshot, name: &str, pool: &AgentPool) -> Result<Vec<Child>, String> {
    let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.len() > NAME_CHARS_MAX || !name.bytes().all(label) {
        return Err(format!(
            "The name is not a DNS label of at most {NAME_CHARS_MAX} characters: create the AgentPool under another name."
        ));
    }
    let run = &snapshot.agents_run;
    let owner = OwnerReference {
        api_version: pagemesh_crds::API_VERSION.into(),
        kind: "AgentPool".into(),
        name: name.into(),
        uid: pool.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let mut children = children::all(run, name, &owner);
    children.push(Child::DaemonSet(daemon_set::of(run, name, pool, &owner)?));
    Ok(children)
}

/// Those that are not known to be as they should, each with the fingerprint of what it should be.
fn outdated(snapshot: &Snapshot, children: Vec<Child>) -> Vec<(Child, u64)> {
    let good = |child: &Child, content: u64| {
        let key = child.key();
        let there = snapshot.children.get(&key).map(|view| &view.revision);
        let written = snapshot.written.get(&key);
        written.is_some_and(|written| written.content == content && Some(&written.revision) == there)
    };
    let with_content = children.into_iter().map(|child| {
        let content = fingerprint(&child);
        (child, content)
    });
    with_content.filter(|(child, content)| !good(child, *content)).collect()
}

/// Tells contents apart, within one run of the operator.
fn fingerprint(child: &Child) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{child:?}").hash(&mut hasher);
    hasher.finish()
}

fn set_status(
    snapshot: &Snapshot,
    name: &str,
    pool: &AgentPool,
    fault: Option<Verdict>,
    rolls_out: bool,
    actions: &mut Vec<Action>,
) {
    let key = ChildKey { kind: ChildKind::DaemonSet, name: children::name(name) };
    let rollout = snapshot.children.get(&key).and_then(|view| view.rollout.clone()).unwrap_or_default();
    let ready = fault.clone().unwrap_or_else(|| ready(snapshot, name, pool, &rollout));
    let progressing = match fault {
        Some(fault) => fault,
        None => progressing(&rollout, rolls_out),
    };

    let mut before = pool.status.clone().unwrap_or_default();
    let generation = pool.metadata.generation;
    let mut conditions = Conditions::new(&before.conditions, generation, snapshot.now);
    let mut notes = Vec::new();
    let said = conditions.set("Ready", &ready);
    if !said && (ready.status || holds(&before.conditions, "Ready") || ready.reason != "AgentsNotReady") {
        notes.push(Note { warning: !ready.status, reason: ready.reason, text: ready.message.clone() });
    }
    conditions.set("Progressing", &progressing);
    let conditions = conditions.finish();
    forget_foreign(&mut before.conditions, &conditions);
    let status = AgentPoolStatus {
        observed_generation: generation,
        desired: rollout.desired,
        ready: rollout.ready,
        updated: rollout.updated,
        conditions,
    };
    if status == before {
        return;
    }
    let on = Precondition {
        uid: pool.metadata.uid.clone().unwrap_or_default(),
        resource_version: pool.metadata.resource_version.clone().unwrap_or_default(),
    };
    actions.push(Action::SetPoolStatus { pool: name.to_owned(), on, status: Box::new(status), notes });
}

fn ready(snapshot: &Snapshot, name: &str, pool: &AgentPool, rollout: &Rollout) -> Verdict {
    if !rollout.observed {
        return Verdict::no("AgentsNotReady", "Kubernetes has yet to see the DaemonSet.");
    }
    if rollout.desired == 0 {
        let text = if pool.spec.node_selector.is_empty() {
            "No node takes agents: check the taints of nodes against spec.tolerations.".to_owned()
        } else {
            let labels: Vec<String> =
                pool.spec.node_selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!(
                "No node has the labels {} and takes agents: label nodes, or change spec.nodeSelector or spec.tolerations.",
                list(&labels)
            )
        };
        return Verdict::no("NoNodes", text);
    }
    if let Some(text) = other_shards(snapshot, name, pool) {
        return Verdict::no("ShardsDiffer", text);
    }
    if rollout.ready >= rollout.desired {
        let agents = count(rollout.ready as usize, "agent serves", "agents serve");
        return Verdict::yes("AgentsReady", format!("{agents}."));
    }
    let shared = shared_nodes(snapshot, name, pool);
    if !shared.is_empty() {
        return Verdict::no(
            "NodesInTwoPools",
            format!(
                "{}: a node has one agent, so make the node selectors of the pools exclude each other.",
                list(&shared)
            ),
        );
    }
    let why = unready(snapshot, name);
    let why = if why.is_empty() {
        format!(
            "see `kubectl get pods -n {} -l pagemesh.io/agent-pool={name}`.",
            snapshot.agents_run.namespace
        )
    } else {
        format!("{}.", list(&why))
    };
    Verdict::no("AgentsNotReady", format!("{} of {} agents serve; {why}", rollout.ready, rollout.desired))
}

fn progressing(rollout: &Rollout, rolls_out: bool) -> Verdict {
    if rolls_out {
        return Verdict::yes("RollingOut", "The DaemonSet does not say yet what the AgentPool says.");
    }
    if rollout.observed && rollout.updated >= rollout.desired {
        return Verdict::no("Complete", "All agents run as the AgentPool says.");
    }
    let text = format!("{} of {} agents run as the AgentPool says.", rollout.updated, rollout.desired);
    Verdict::yes("RollingOut", text)
}

/// Nodes that another pool selects as well.
fn shared_nodes(snapshot: &Snapshot, name: &str, pool: &AgentPool) -> Vec<String> {
    let others = || snapshot.pools.iter().filter(|(other, _)| *other != name);
    let of_pool = snapshot.nodes.iter().filter(|(_, node)| node.matches(&pool.spec.node_selector));
    of_pool
        .filter_map(|(node_name, node)| {
            let (other, _) = others().find(|(_, other)| node.matches(&other.spec.node_selector))?;
            Some(format!("node {node_name} is also selected by AgentPool `{other}`"))
        })
        .collect()
}

/// What is said if not all pools have the same number of shards.
fn other_shards(snapshot: &Snapshot, name: &str, pool: &AgentPool) -> Option<String> {
    let (other, object) = snapshot
        .pools
        .iter()
        .find(|(other, object)| *other != name && object.spec.shards != pool.spec.shards)?;
    Some(format!(
        "spec.shards is {}, and that of AgentPool `{other}` {}: agents with different numbers do not talk to each other, so \
         make them the same.",
        pool.spec.shards, object.spec.shards
    ))
}

/// Agents that do not serve, and why.
fn unready(snapshot: &Snapshot, name: &str) -> Vec<String> {
    let of_pool =
        snapshot.agents.iter().filter(|(_, agent)| agent.spec.agent_pool_name.as_deref() == Some(name));
    of_pool
        .filter_map(|(agent_name, agent)| {
            let status = agent.status.as_ref()?;
            let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready")?;
            // One that has ended in good order is on a node that is not of the pool any more.
            let counts = ready.status != "True" && ready.reason != "Stopped";
            counts.then(|| format!("{agent_name}: {}", ready.reason))
        })
        .collect()
}
