//! The Lease of this agent: whoever sees it renewed knows that the agent lives, without a word in its `Agent` object.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch};
use kube::{Api, Client, Resource};
use pagemesh_crds::Agent;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{AgentIdentity, apply, labels, written};

/// Between two renewals.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Before one that has failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// After so long without a renewal the agent counts as gone.
const DURATION_SECONDS: i32 = 40;

/// Renews the Lease for ever. `agent_uid` is that of the `Agent` object, with which the Lease goes: one that is made again
/// has another.
pub async fn renew(client: Client, identity: AgentIdentity, mut agent_uid: watch::Receiver<String>) {
    let api: Api<Lease> = Api::namespaced(client, &identity.namespace);
    let acquired = Timestamp::now();
    let mut failing = false;
    loop {
        let uid = agent_uid.borrow_and_update().clone();
        let lease = lease(&identity, &uid, acquired, Timestamp::now());
        let name = lease.metadata.name.clone().unwrap_or_default();
        let done = written(api.patch(&name, &apply(), &Patch::Apply(&lease))).await;
        match &done {
            Ok(_) if failing => info!(name, "the Lease is renewed again"),
            Err(error) if !failing => warn!(name, %error, "cannot renew the Lease; trying on"),
            Ok(_) | Err(_) => {}
        }
        failing = done.is_err();
        let pause = tokio::time::sleep(if failing { RETRY } else { RENEW_EVERY });
        tokio::select! {
            () = pause => {}
            Ok(()) = agent_uid.changed() => {}
        }
    }
}

fn lease(identity: &AgentIdentity, agent_uid: &str, acquired: Timestamp, now: Timestamp) -> Lease {
    let AgentIdentity { name, namespace, pod_name, pool } = identity;
    let owner = OwnerReference {
        api_version: Agent::api_version(&()).into_owned(),
        kind: Agent::kind(&()).into_owned(),
        name: name.clone(),
        uid: agent_uid.to_owned(),
        ..OwnerReference::default()
    };
    Lease {
        metadata: ObjectMeta {
            name: Some(format!("agent.{name}")),
            namespace: Some(namespace.clone()),
            labels: Some(labels(pool)),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(pod_name.clone()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            acquire_time: Some(MicroTime(acquired)),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_names_the_agent_and_goes_with_it() {
        let identity = AgentIdentity {
            name: "node-1".into(),
            namespace: "system".into(),
            pod_name: "agent-x".into(),
            pool: "default".into(),
        };
        let now: Timestamp = "2026-01-02T03:04:05.678901Z".parse().unwrap();
        let lease = serde_json::to_value(lease(&identity, "u-1", now, now)).unwrap();
        assert_eq!(lease["metadata"]["name"], "agent.node-1");
        assert_eq!(lease["metadata"]["namespace"], "system");
        let owner = serde_json::json!({
            "apiVersion": "pagemesh.io/v1alpha1", "kind": "Agent", "name": "node-1", "uid": "u-1",
        });
        assert_eq!(lease["metadata"]["ownerReferences"], serde_json::json!([owner]));
        let spec = serde_json::json!({
            "holderIdentity": "agent-x", "leaseDurationSeconds": 40,
            "acquireTime": "2026-01-02T03:04:05.678901Z", "renewTime": "2026-01-02T03:04:05.678901Z",
        });
        assert_eq!(lease["spec"], spec);
    }
}
