//! The pools: whether each has its agents running.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::ResourceExt;
use pagemesh_crds::{AGENT_POOL_DEFAULT, AgentPool};

use super::seen;
use crate::check::finding::Finding;
use crate::kubernetes::{Snapshot, condition};

pub(super) fn pools(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(pools) = seen("pools", &snapshot.pools, &mut findings) else { return findings };
    if pools.is_empty() {
        findings.push(Finding::warn(
            "pools",
            "there is no AgentPool, so no node lends memory",
            format!("create one; Regions that name none look for `{AGENT_POOL_DEFAULT}`"),
        ));
        return findings;
    }
    let Some(daemon_sets) = seen("DaemonSets", &snapshot.daemon_sets, &mut findings) else { return findings };
    for pool in pools {
        findings.push(complete(snapshot, pool, daemon_sets));
        findings.extend(not_ready(pool));
    }
    findings
}

/// Whether the DaemonSet of a pool has an agent on each node that it should have one on.
fn complete(snapshot: &Snapshot, pool: &AgentPool, daemon_sets: &[DaemonSet]) -> Finding {
    let name = pool.name_any();
    let check = format!("pool {name}");
    let child = format!("pagemesh-agent-{name}");
    let namespace = &snapshot.install_namespace;
    let Some(daemon_set) = daemon_sets.iter().find(|daemon_set| daemon_set.name_any() == child) else {
        return Finding::fail(
            check,
            format!("has no DaemonSet {child} in {namespace}"),
            format!("the operator makes it: `kubectl describe agentpool {name}`"),
        );
    };
    let status = daemon_set.status.clone().unwrap_or_default();
    let (wanted, ready) = (status.desired_number_scheduled, status.number_ready);
    let pods = format!("`kubectl get pods -o wide -n {namespace} -l pagemesh.io/agent-pool={name}`");
    let behind = wanted - status.updated_number_scheduled.unwrap_or(wanted);
    if wanted == 0 {
        let advice = format!(
            "label nodes so that they match its nodeSelector: `kubectl get agentpool {name} -o yaml`"
        );
        Finding::warn(check, "no node matches it", advice)
    } else if ready < wanted {
        Finding::fail(check, format!("{ready} of {wanted} agents' pods ready"), pods)
    } else if status.number_misscheduled > 0 {
        let found = format!("{} agents run where none should", status.number_misscheduled);
        Finding::warn(check, found, format!("they hand their pages over and end: {pods}"))
    } else if behind > 0 {
        Finding::warn(check, format!("{behind} of {wanted} agents still run as the pool was before"), pods)
    } else {
        Finding::ok(check, format!("{ready} of {wanted} agents' pods ready"))
    }
}

/// What the operator says of a pool, unless it is that all is well.
fn not_ready(pool: &AgentPool) -> Option<Finding> {
    let name = pool.name_any();
    let conditions = pool.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let found = match condition(conditions, "Ready") {
        Some(ready) if ready.status == "True" => return None,
        Some(ready) => format!("{}: {}", ready.reason, ready.message),
        None => "the operator has not looked at it".into(),
    };
    Some(Finding::fail(format!("pool {name}"), found, format!("`kubectl describe agentpool {name}`")))
}
