//! The `AgentPool` object: which nodes lend memory, how much, and how their agents run.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Quantity;

/// Name of the AgentPool of Regions that name none and whose class names none.
pub const AGENT_POOL_DEFAULT: &str = "default";

/// The nodes of a pool and how their agents run.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "pagemesh.io",
    version = "v1alpha1",
    kind = "AgentPool",
    status = "AgentPoolStatus",
    shortname = "pool",
    category = "pagemesh",
    derive = "PartialEq",
    doc = "A set of nodes that lend memory: one DaemonSet of agents."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentPoolSpec {
    /// Labels of its nodes; without any, all nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that its agents put up with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Memory that each node lends. Its agents request that much on top of `resources`.
    pub memory: Quantity,
    /// Requests and limits of an agent for its own work, without the memory that it lends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Threads that serve faults on each node. Agents with different numbers do not talk to each other, so all pools
    /// need the same.
    #[serde(default = "shards_default")]
    pub shards: u16,
    /// Whether agents use their nodes' network: faster, and no network policy applies.
    #[serde(default)]
    pub host_network: bool,
    /// What agents log.
    #[serde(default)]
    pub log_level: LogLevel,
    /// Image of the agent; without it the one that the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How a change of the pool reaches running agents.
    #[serde(default)]
    pub update_strategy: UpdateStrategy,
    /// How long an agent that has to end may take to hand its pages to others, in seconds.
    #[serde(default = "hand_over_seconds_default")]
    pub hand_over_seconds: u32,
}

fn shards_default() -> u16 {
    2
}

fn hand_over_seconds_default() -> u32 {
    300
}

/// What an agent logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum LogLevel {
    /// What has failed.
    Error,
    /// And what may.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And why.
    Debug,
    /// And everything else.
    Trace,
}

/// How a change of a pool reaches running agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateStrategy {
    /// Who replaces agents.
    #[serde(default)]
    pub r#type: UpdateType,
    /// `RollingUpdate`: how many agents may be away at a time.
    #[serde(default = "max_unavailable_default")]
    pub max_unavailable: u16,
}

fn max_unavailable_default() -> u16 {
    1
}

/// Who replaces agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum UpdateType {
    /// Kubernetes, one after the other; each hands its pages over before it goes.
    #[default]
    RollingUpdate,
    /// Whoever deletes their pods.
    OnDelete,
}

/// What is seen of a pool.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentPoolStatus {
    /// The generation of the spec that the rest of the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Nodes that should have an agent.
    #[serde(default)]
    pub desired: u32,
    /// Agents that serve.
    #[serde(default)]
    pub ready: u32,
    /// Agents that run as the pool now says.
    #[serde(default)]
    pub updated: u32,
    /// `Ready`, `Progressing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
