//! A cluster on which all is well, for tests to make worse.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use pagemesh_crds::{Agent, Region};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::snapshot::Snapshot;

/// Of the time at which all fixtures are.
pub(crate) const NOW: &str = "2026-05-01T12:00:00Z";

/// An object from its JSON.
pub(crate) fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a fixture is an object")
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-05-01T11:00:00Z",
    })
}

fn conditions(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!([condition(kind, status, reason, message)])
}

/// The region `team/table`, whose homes are `a` and `b`.
pub(crate) fn region(kind: &str, status: &str, reason: &str, message: &str) -> Region {
    object(json!({
        "apiVersion": "pagemesh.io/v1alpha1", "kind": "Region",
        "metadata": {
            "namespace": "team", "name": "table", "uid": "u1", "generation": 2,
            "creationTimestamp": "2026-05-01T10:00:00Z",
        },
        "spec": {"size": "64Mi"},
        "status": {
            "observedGeneration": 2, "homes": 2, "attachments": 3,
            "placement": {
                "epoch": 3, "size": "32Mi",
                "homes": [{"agent": "a", "incarnation": "1"}, {"agent": "b", "incarnation": "2"}],
            },
            "nodes": [{"node": "a", "epoch": 3, "attachments": 2, "residentBytes": 4096}],
            "conditions": conditions(kind, status, reason, message),
        },
    }))
}

/// An agent that serves and has that region.
pub(crate) fn agent(name: &str, id: u16, attachments: u32) -> Agent {
    object(json!({
        "apiVersion": "pagemesh.io/v1alpha1", "kind": "Agent",
        "metadata": {"name": name, "creationTimestamp": "2026-05-01T10:00:00Z"},
        "spec": {"id": id, "agentPoolName": "default"},
        "status": {
            "address": "10.0.0.1:7400", "incarnation": (id + 1).to_string(), "version": "0.1.0", "shards": 2,
            "podName": format!("pagemesh-agent-default-{name}"),
            "memory": {"lent": "1Gi", "residentBytes": 8192},
            "regions": [{
                "namespace": "team", "name": "table", "uid": "u1", "epoch": 3, "observedGeneration": 2,
                "settled": true, "attachments": attachments, "residentBytes": 8192,
            }],
            "conditions": conditions("Ready", "True", "Serving", "programs that attach on this node are served"),
        },
    }))
}

/// An agent that has ended in good order.
pub(crate) fn ended(name: &str, id: u16) -> Agent {
    let mut agent = agent(name, id, 0);
    let status = agent.status.get_or_insert_default();
    status.regions.clear();
    status.conditions = object(conditions("Ready", "False", "Stopped", "the agent has ended"));
    agent
}

/// A Lease that was renewed just now.
pub(crate) fn lease(name: &str) -> Lease {
    object(json!({
        "metadata": {"name": name},
        "spec": {
            "holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": "2026-05-01T11:59:50.000000Z",
        },
    }))
}

/// All of it.
pub(crate) fn snapshot() -> Snapshot {
    let deployment = json!({
        "metadata": {"namespace": "pagemesh-system", "name": "pagemesh-operator"},
        "spec": {
            "replicas": 2, "selector": {},
            "template": {"spec": {"containers": [{
                "name": "operator", "image": format!("pagemesh/operator:{}", env!("CARGO_PKG_VERSION")),
            }]}},
        },
        "status": {"replicas": 2, "readyReplicas": 2},
    });
    let pool = json!({
        "apiVersion": "pagemesh.io/v1alpha1", "kind": "AgentPool",
        "metadata": {"name": "default", "creationTimestamp": "2026-04-01T10:00:00Z"},
        "spec": {"memory": "1Gi"},
        "status": {
            "desired": 2, "ready": 2, "updated": 2,
            "conditions": conditions("Ready", "True", "AgentsReady", "2 agents serve."),
        },
    });
    let class = json!({
        "apiVersion": "pagemesh.io/v1alpha1", "kind": "RegionClass",
        "metadata": {"name": "standard"}, "spec": {"default": true},
    });
    let daemon_set = json!({
        "metadata": {"namespace": "pagemesh-system", "name": "pagemesh-agent-default"},
        "spec": {"selector": {}, "template": {}},
        "status": {
            "currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 2,
            "updatedNumberScheduled": 2,
        },
    });
    let mut well = region("Ready", "True", "Confirmed", "Epoch 3 is in force on a, b.");
    let not_degraded = region("Degraded", "False", "Serving", "Nothing is wrong.");
    let conditions = not_degraded.status.into_iter().flat_map(|status| status.conditions);
    well.status.get_or_insert_default().conditions.extend(conditions);
    Snapshot {
        now: NOW.parse::<Timestamp>().expect("a time"),
        regions: Ok(vec![well].into()),
        classes: Ok(vec![object(class)].into()),
        pools: Ok(vec![object(pool)].into()),
        agents: Ok(vec![agent("a", 0, 2), agent("b", 1, 1)].into()),
        operators: Ok(vec![object(deployment)].into()),
        daemon_sets: Ok(vec![object(daemon_set)].into()),
        leases: Ok(vec![lease("pagemesh-operator"), lease("agent.a"), lease("agent.b")].into()),
        install_namespace: "pagemesh-system".into(),
    }
}
