//! What belongs to a pool, apart from its DaemonSet.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LocalObjectReference, Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::action::Child;
use super::snapshot::AgentsRun;

/// The label of everything that belongs to a pool, and of its agents' pods.
pub(crate) const POOL_LABEL: &str = "pagemesh.io/agent-pool";
/// The ClusterRole and Role of agents, which the installation brings along.
const AGENT_ROLE: &str = "pagemesh-agent";
/// Where agents reach each other.
pub(crate) const PEER_PORT: i32 = 7400;
/// Where agents answer HTTP.
pub(crate) const HTTP_PORT: i32 = 7480;
/// Where agents answer what paths stand for.
pub(crate) const NAMES_PORT: i32 = 7410;

/// Name of everything that belongs to a pool.
pub(crate) fn name(pool: &str) -> String {
    format!("pagemesh-agent-{pool}")
}

/// What a pool's pods are found by.
pub(crate) fn selector(pool: &str) -> BTreeMap<String, String> {
    let labels = [
        ("app.kubernetes.io/name", "pagemesh"),
        ("app.kubernetes.io/component", "agent"),
        (POOL_LABEL, pool),
    ];
    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

pub(crate) fn labels(pool: &str) -> BTreeMap<String, String> {
    let mut labels = selector(pool);
    labels.insert("app.kubernetes.io/part-of".into(), "pagemesh".into());
    labels.insert("app.kubernetes.io/managed-by".into(), "pagemesh-operator".into());
    labels
}

/// Metadata of a pool's child in the operator's namespace.
pub(crate) fn metadata(run: &AgentsRun, pool: &str, owner: &OwnerReference) -> ObjectMeta {
    ObjectMeta {
        name: Some(name(pool)),
        namespace: Some(run.namespace.clone()),
        labels: Some(labels(pool)),
        owner_references: Some(vec![owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// All but the DaemonSet, in the order in which they are needed.
pub(crate) fn all(run: &AgentsRun, pool: &str, owner: &OwnerReference) -> Vec<Child> {
    let metadata = metadata(run, pool, owner);
    let secrets = run.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    let secrets: Vec<LocalObjectReference> = secrets.collect();
    let subject = Subject {
        kind: "ServiceAccount".into(),
        name: name(pool),
        namespace: Some(run.namespace.clone()),
        api_group: None,
    };
    let role = |kind: &str| RoleRef {
        api_group: Some("rbac.authorization.k8s.io".into()),
        kind: kind.into(),
        name: AGENT_ROLE.into(),
    };
    vec![
        Child::ServiceAccount(ServiceAccount {
            metadata: metadata.clone(),
            image_pull_secrets: Some(secrets).filter(|secrets| !secrets.is_empty()),
            ..ServiceAccount::default()
        }),
        Child::ClusterRoleBinding(ClusterRoleBinding {
            metadata: ObjectMeta { namespace: None, ..metadata.clone() },
            role_ref: role("ClusterRole"),
            subjects: Some(vec![subject.clone()]),
        }),
        Child::RoleBinding(RoleBinding {
            metadata: metadata.clone(),
            role_ref: role("Role"),
            subjects: Some(vec![subject]),
        }),
        Child::Service(Service { metadata, spec: Some(service(pool)), status: None }),
    ]
}

/// Finds a pool's agents, ready or not: for metrics, and for people.
fn service(pool: &str) -> ServiceSpec {
    let port = |name: &str, port: i32| ServicePort {
        name: Some(name.into()),
        port,
        target_port: Some(IntOrString::String(name.into())),
        protocol: Some("TCP".into()),
        ..ServicePort::default()
    };
    ServiceSpec {
        cluster_ip: Some("None".into()),
        publish_not_ready_addresses: Some(true),
        selector: Some(selector(pool)),
        ports: Some(vec![port("peer", PEER_PORT), port("http", HTTP_PORT), port("names", NAMES_PORT)]),
        ..ServiceSpec::default()
    }
}
