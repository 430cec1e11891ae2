//! Everything that a plan is made from, as it was at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::jiff::Timestamp;
use pagemesh_crds::{Agent, AgentPool, Region, RegionClass};

/// Objects by name; cheap to copy, so that a plan has a picture of its own.
pub(crate) type Objects<K, V> = Arc<BTreeMap<K, Arc<V>>>;

/// Namespace and name of a Region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RegionKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What the operator knows of the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) now: Timestamp,
    /// What the operator's own command line says of the agents it starts.
    pub(crate) agents_run: Arc<AgentsRun>,
    pub(crate) pools: Objects<String, AgentPool>,
    pub(crate) classes: Objects<String, RegionClass>,
    pub(crate) regions: Objects<RegionKey, Region>,
    pub(crate) agents: Objects<String, Agent>,
    pub(crate) nodes: Objects<String, NodeView>,
    /// By agent.
    pub(crate) leases: BTreeMap<String, LeaseView>,
    /// Pods by UID.
    pub(crate) pods: Objects<String, PodView>,
    /// What belongs to pools, as it is in the cluster.
    pub(crate) children: Objects<ChildKey, ChildView>,
    /// What belongs to pools, as this operator has written it.
    pub(crate) written: BTreeMap<ChildKey, Written>,
    /// What has failed last of what was to be done to a pool.
    pub(crate) pool_failures: BTreeMap<String, String>,
    /// Numbers of agents whose Agent object is gone, by name.
    pub(crate) former_ids: BTreeMap<String, u16>,
    /// What has been said of each Agent, by its UID.
    pub(crate) reported: BTreeMap<String, Vec<String>>,
}

/// What is the same for the agents of all pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AgentsRun {
    /// Where agents and all that belongs to them live.
    pub(crate) namespace: String,
    /// The image of pools that name none.
    pub(crate) image: String,
    pub(crate) image_pull_secrets: Vec<String>,
    /// PriorityClass of agents.
    pub(crate) priority_class: Option<String>,
    /// Root directory of the kubelets; without it pods get no volumes.
    pub(crate) kubelet_dir: Option<String>,
    pub(crate) json_log: bool,
    /// Further environment variables: name and value.
    pub(crate) env: Vec<(String, String)>,
}

/// What matters of a Node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeView {
    pub(crate) uid: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Cordoned.
    pub(crate) unschedulable: bool,
    /// Its kubelet says that it is not ready, as when it shuts the node down.
    pub(crate) unready: bool,
    /// Those that keep pods off the node that do not tolerate them.
    pub(crate) taints: Vec<Taint>,
}

impl NodeView {
    /// Where the node stands, as the cluster's administrator sees it; empty when nobody said.
    pub(crate) fn zone(&self) -> &str {
        self.labels.get("topology.kubernetes.io/zone").map_or("", String::as_str)
    }

    /// Whether a node selector picks the node.
    pub(crate) fn matches(&self, selector: &BTreeMap<String, String>) -> bool {
        selector.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

/// What matters of an agent's Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseView {
    /// Until then the agent counts as alive.
    pub(crate) holds_until: Timestamp,
    /// Until then it is trusted with something new. Earlier, if nobody has seen the agent renew it: then its last renewal may
    /// have been long ago, or the API server may have been away.
    pub(crate) fresh_until: Timestamp,
}

/// What matters of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodView {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What belongs to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ChildKind {
    ServiceAccount,
    ClusterRoleBinding,
    RoleBinding,
    Service,
    DaemonSet,
}

impl ChildKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ChildKind::ServiceAccount => "ServiceAccount",
            ChildKind::ClusterRoleBinding => "ClusterRoleBinding",
            ChildKind::RoleBinding => "RoleBinding",
            ChildKind::Service => "Service",
            ChildKind::DaemonSet => "DaemonSet",
        }
    }
}

/// Kind and name of something that belongs to a pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChildKey {
    pub(crate) kind: ChildKind,
    pub(crate) name: String,
}

/// What matters of something that belongs to a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChildView {
    /// Changes whenever somebody changes what the object says: its generation or, where Kubernetes counts none, its
    /// resource version.
    pub(crate) revision: String,
    /// Of a DaemonSet.
    pub(crate) rollout: Option<Rollout>,
}

/// How far a DaemonSet is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// Whether the numbers below speak of its latest change.
    pub(crate) observed: bool,
    pub(crate) desired: u32,
    pub(crate) ready: u32,
    pub(crate) updated: u32,
}

/// What the operator has written for a pool: the contents, and the revision that this got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) content: u64,
    pub(crate) revision: String,
}
