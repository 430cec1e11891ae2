//! The agents: whether each serves, is alive, and fits the others.

use std::collections::BTreeMap;

use kube::ResourceExt;
use pagemesh_crds::{Agent, Severity};

use super::seen;
use crate::check::finding::Finding;
use crate::kubernetes::{Snapshot, agent_lease, condition, is_fresh};

pub(super) fn agents(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(agents) = seen("agents", &snapshot.agents, &mut findings) else { return findings };
    for agent in agents {
        findings.push(serves(snapshot, agent));
        findings.extend(preflight(agent));
    }
    findings.extend(alive(snapshot, agents));
    findings.extend(alike(agents));
    findings
}

fn serves(snapshot: &Snapshot, agent: &Agent) -> Finding {
    let check = format!("agent {}", agent.name_any());
    let status = agent.status.clone().unwrap_or_default();
    let namespace = &snapshot.install_namespace;
    let logs = match &status.pod_name {
        Some(pod) => format!("`kubectl logs -n {namespace} {pod}`"),
        None => format!("`kubectl get pods -o wide -n {namespace} -l app.kubernetes.io/component=agent`"),
    };
    match condition(&status.conditions, "Ready") {
        Some(ready) if ready.status == "True" => {
            let number = agent.spec.id.map_or_else(|| "without a number".into(), |id| format!("number {id}"));
            let version = status.version.as_deref().unwrap_or("unknown");
            Finding::ok(check, format!("serves, {number}, version {version}"))
        }
        Some(ready) => {
            let found = format!("{}: {}", ready.reason, ready.message);
            match ready.reason.as_str() {
                "Stopping" => Finding::warn(check, found, "wait; it hands its pages to others"),
                "Stopped" => Finding::ok(check, "has ended and left nothing behind"),
                "WaitingForId" => {
                    Finding::fail(check, found, "the operator gives out numbers: see that it leads, above")
                }
                "PreflightFailed" => {
                    Finding::fail(check, found, "mend what the lines below name; it looks again by itself")
                }
                _ => Finding::fail(check, found, logs),
            }
        }
        None => Finding::fail(check, "has not said whether it serves", logs),
    }
}

/// What an agent has found lacking on its node. Its message says what to do.
fn preflight(agent: &Agent) -> Vec<Finding> {
    let check = format!("node {}", agent.name_any());
    let lacking = agent.status.as_ref().map_or(&[][..], |status| &status.preflight).iter();
    lacking
        .map(|lacking| {
            let (found, advice) = match lacking.message.split_once(": ") {
                Some((found, advice)) => (found.to_owned(), advice.to_owned()),
                None => (lacking.message.clone(), "see `pagemesh check` on that node".into()),
            };
            let found = format!("{}: {found}", lacking.name);
            match lacking.severity {
                Severity::Warning => Finding::warn(check.as_str(), found, advice),
                Severity::Failure => Finding::fail(check.as_str(), found, advice),
            }
        })
        .collect()
}

/// Whether all renew their Leases: one that does not is taken for lost.
fn alive(snapshot: &Snapshot, agents: &[Agent]) -> Vec<Finding> {
    const CHECK: &str = "agents' leases";
    if agents.is_empty() {
        return Vec::new();
    }
    let leases = match &snapshot.leases {
        Ok(leases) => leases,
        Err(trouble) => return vec![Finding::warn(CHECK, "not looked at", trouble.to_string())],
    };
    let fresh =
        |agent: &&Agent| is_fresh(leases, &agent_lease(&agent.name_any()), snapshot.now) == Some(true);
    let silent: Vec<String> =
        agents.iter().filter(|agent| !has_ended(agent) && !fresh(agent)).map(ResourceExt::name_any).collect();
    vec![if silent.is_empty() {
        Finding::ok(CHECK, format!("{} of {} fresh", agents.len(), agents.len()))
    } else {
        Finding::fail(
            CHECK,
            format!("not renewed by {}", silent.join(", ")),
            format!(
                "see whether their nodes and pods run and reach the API server: `kubectl get nodes`, `kubectl get pods -o \
                 wide -n {} -l app.kubernetes.io/component=agent`",
                snapshot.install_namespace
            ),
        )
    }]
}

/// Whether an agent has ended in good order. Its object stays, with its number, for the day its node lends memory again.
fn has_ended(agent: &Agent) -> bool {
    let conditions = agent.status.as_ref().map_or(&[][..], |status| &status.conditions);
    condition(conditions, "Ready").is_some_and(|ready| ready.reason == "Stopped")
}

/// Whether what all must have alike is alike, and what none must share is not shared.
fn alike(agents: &[Agent]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let shards = by(agents, |agent| agent.status.as_ref()?.shards.map(|shards| shards.to_string()));
    match shards.len() {
        0 => {}
        1 => findings.push(Finding::ok("shards", format!("all agents have {}", listed(&shards, false)))),
        _ => findings.push(Finding::fail(
            "shards",
            format!("agents have different numbers and do not talk to each other: {}", listed(&shards, true)),
            "give all AgentPools the same spec.shards",
        )),
    }
    let versions = by(agents, |agent| agent.status.as_ref()?.version.clone());
    if versions.len() > 1 {
        findings.push(Finding::warn(
            "agents' versions",
            listed(&versions, true),
            "wait for the update to end, or see `kubectl get agentpools`: a pool may name an image of its own",
        ));
    }
    let mut ids = by(agents, |agent| agent.spec.id.map(|id| id.to_string()));
    ids.retain(|_, names| names.len() > 1);
    if !ids.is_empty() {
        findings.push(Finding::fail(
            "agents' numbers",
            format!("shared by several: {}", listed(&ids, true)),
            "end the pod of all but one of them and delete its Agent object; it gets another number",
        ));
    }
    findings
}

fn by(agents: &[Agent], of: impl Fn(&Agent) -> Option<String>) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for agent in agents {
        if let Some(value) = of(agent) {
            groups.entry(value).or_default().push(agent.name_any());
        }
    }
    groups
}

/// Values, and who has them.
fn listed(groups: &BTreeMap<String, Vec<String>>, names: bool) -> String {
    let group = |(value, who): (&String, &Vec<String>)| match names {
        true => format!("{value} ({})", who.join(", ")),
        false => value.clone(),
    };
    groups.iter().map(group).collect::<Vec<_>>().join("; ")
}
