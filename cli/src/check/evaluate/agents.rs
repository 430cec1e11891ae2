//! The agents: whether each serves, is alive, and fits the others.

use std::collections::BTreeMap;

use kube::ResourceExt;
use pagemesh_crds::{Agent, Severity};

use super::seen;
use crate::check::finding::Finding;
use crate::kubernetes::{Snapshot, agent_lease, condition, has_ended, is_fresh};

pub(super) fn agents(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(agents) = seen("agents", &snapshot.agents, &mut findings) else { return findings };
    for agent in agents {
        findings.push(serves(snapshot, agent));
        findings.extend(preflight(agent));
    }
    let running: Vec<&Agent> = agents.iter().filter(|agent| !has_ended(agent)).collect();
    findings.extend(alive(snapshot, &running));
    findings.extend(alike(&running));
    findings.extend(distinct(agents));
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
                // A running container keeps the devices that there were when it began.
                "PreflightFailed" => Finding::fail(
                    check,
                    found,
                    format!(
                        "mend what the lines below name, then let it begin anew: {}",
                        begin_anew(snapshot, agent)
                    ),
                ),
                _ => Finding::fail(check, found, logs),
            }
        }
        None => Finding::fail(check, "has not said whether it serves", logs),
    }
}

/// How an agent gets another pod. One that does not serve has nothing to lose.
fn begin_anew(snapshot: &Snapshot, agent: &Agent) -> String {
    let namespace = &snapshot.install_namespace;
    match agent.status.as_ref().and_then(|status| status.pod_name.as_deref()) {
        Some(pod) => format!("`kubectl delete pod -n {namespace} {pod}`"),
        None => format!(
            "`kubectl delete pods -n {namespace} -l app.kubernetes.io/component=agent --field-selector spec.nodeName={}`",
            agent.name_any()
        ),
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

/// Whether all that run renew their Leases: one that does not is taken for lost.
fn alive(snapshot: &Snapshot, running: &[&Agent]) -> Vec<Finding> {
    const CHECK: &str = "agents' leases";
    if running.is_empty() {
        return Vec::new();
    }
    let leases = match &snapshot.leases {
        Ok(leases) => leases,
        Err(trouble) => return vec![Finding::not_looked_at(CHECK, trouble)],
    };
    let fresh = |agent: &Agent| is_fresh(leases, &agent_lease(&agent.name_any()), snapshot.now) == Some(true);
    let silent: Vec<String> =
        running.iter().filter(|agent| !fresh(agent)).map(|agent| agent.name_any()).collect();
    vec![if silent.is_empty() {
        Finding::ok(CHECK, format!("{} of {} fresh", running.len(), running.len()))
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

/// Whether what all that run must have alike is alike.
fn alike(running: &[&Agent]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let running = || running.iter().copied();
    let shards = by(running(), |agent| agent.status.as_ref()?.shards.map(|shards| shards.to_string()));
    match shards.len() {
        0 => {}
        1 => findings.push(Finding::ok("shards", format!("all agents have {}", listed(&shards, false)))),
        _ => findings.push(Finding::fail(
            "shards",
            format!("agents have different numbers and do not talk to each other: {}", listed(&shards, true)),
            "give all AgentPools the same spec.shards",
        )),
    }
    let versions = by(running(), |agent| agent.status.as_ref()?.version.clone());
    if versions.len() > 1 {
        findings.push(Finding::warn(
            "agents' versions",
            listed(&versions, true),
            "wait for the update to end, or see `kubectl get agentpools`: a pool may name an image of its own",
        ));
    }
    findings
}

/// Whether no two share a number, which those that have ended keep.
fn distinct(agents: &[Agent]) -> Option<Finding> {
    let mut ids = by(agents, |agent| agent.spec.id.map(|id| id.to_string()));
    ids.retain(|_, names| names.len() > 1);
    if ids.is_empty() {
        return None;
    }
    Some(Finding::fail(
        "agents' numbers",
        format!("shared by several: {}", listed(&ids, true)),
        "end the pod of all but one of them and delete its Agent object; it gets another number",
    ))
}

fn by<'a>(
    agents: impl IntoIterator<Item = &'a Agent>,
    of: impl Fn(&Agent) -> Option<String>,
) -> BTreeMap<String, Vec<String>> {
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
