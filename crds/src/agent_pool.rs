//! The `AgentPool` object: which nodes lend memory, how much, and how their agents run.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{bytes, conditions, explain_values};
use crate::schema_of_pods::{node_selector, resources, tolerations};
use crate::{AGENTS_MAX, Quantity, SHARDS_MAX, rules};

/// Name of the AgentPool of Regions that name none and whose class names none.
pub const AGENT_POOL_DEFAULT: &str = "default";

/// Longest hand-over, in seconds.
pub const HAND_OVER_SECONDS_MAX: u32 = 3600;

/// The nodes of a pool and how their agents run.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "pagemesh.io",
    version = "v1alpha1",
    kind = "AgentPool",
    status = "AgentPoolStatus",
    shortname = "pool",
    category = "pagemesh",
    derive = "PartialEq",
    doc = "A set of nodes that lend memory: one DaemonSet of agents.",
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.desired",
        description = "Nodes that should have an agent."
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        json_path = ".status.ready",
        description = "Agents that serve."
    ),
    printcolumn(
        name = "Updated",
        type_ = "integer",
        json_path = ".status.updated",
        description = "Agents that run as the pool now says."
    ),
    printcolumn(
        name = "Memory",
        type_ = "string",
        json_path = ".spec.memory",
        description = "Memory that each node lends."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Selector",
        type_ = "string",
        json_path = ".spec.nodeSelector",
        description = "Labels of its nodes.",
        priority = 1
    ),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".spec.image",
        description = "Image of its agents, if it names one.",
        priority = 1
    ),
    validation = Rule::new(rules::POOL_NAME).message(rules::POOL_NAME_IS_LABEL_MESSAGE)
)]
#[x_kube(
    validation = Rule::new(rules::NO_SURGE_ON_HOST_NETWORK)
        .message(rules::NO_SURGE_ON_HOST_NETWORK_MESSAGE)
        .field_path(".updateStrategy.maxSurge")
)]
#[serde(rename_all = "camelCase")]
pub struct AgentPoolSpec {
    /// Labels of its nodes; without any, all nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[x_kube(validation = (rules::SELECTOR_KEYS, rules::SELECTOR_KEYS_MESSAGE))]
    #[schemars(schema_with = "node_selector")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that its agents put up with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "tolerations")]
    pub tolerations: Vec<Toleration>,
    /// Memory that each node lends. Its agents request that much on top of `resources`.
    #[x_kube(
        validation = (rules::BYTES, rules::BYTES_MESSAGE),
        validation = (rules::BYTES_AT_MOST_16TI, rules::BYTES_AT_MOST_16TI_MESSAGE)
    )]
    #[schemars(schema_with = "bytes")]
    pub memory: Quantity,
    /// Requests and limits of an agent for its own work, without the memory that it lends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "resources")]
    pub resources: Option<ResourceRequirements>,
    /// Threads that serve faults on each node. Agents with different numbers do not talk to each other, so all pools
    /// need the same.
    #[serde(default = "shards_default")]
    #[schemars(range(min = 1, max = SHARDS_MAX))]
    pub shards: u16,
    /// Whether agents use their nodes' network: faster, and no network policy applies.
    #[serde(default)]
    pub host_network: bool,
    /// What agents log.
    #[serde(default)]
    #[schemars(transform = explain_values)]
    pub log_level: LogLevel,
    /// Image of the agent; without it the one that the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (rules::IMAGE, rules::IMAGE_MESSAGE))]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// How a change of the pool reaches running agents.
    #[serde(default)]
    pub update_strategy: UpdateStrategy,
    /// How long an agent that has to end may take to hand its pages to others, in seconds.
    #[serde(default = "hand_over_seconds_default")]
    #[schemars(range(min = 1, max = HAND_OVER_SECONDS_MAX))]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new(rules::SURGE_OR_UNAVAILABLE).message(rules::SURGE_OR_UNAVAILABLE_MESSAGE))]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// Who replaces agents.
    #[serde(default)]
    #[schemars(transform = explain_values)]
    pub r#type: UpdateType,
    /// `RollingUpdate`: on how many nodes at a time another agent starts beside the one that runs, and takes over from it. Its node
    /// must have room for the requests of both. Without this and `maxUnavailable` it is 1, if `hostNetwork` leaves room for two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = AGENTS_MAX))]
    pub max_surge: Option<u16>,
    /// `RollingUpdate`, in place of `maxSurge`: how many agents at a time end before another one starts. Programs on their nodes
    /// wait meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = AGENTS_MAX))]
    pub max_unavailable: Option<u16>,
}

/// Who replaces agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum UpdateType {
    /// Kubernetes, one after the other. Programs go on: each agent leaves all that it has to the next one on its node.
    #[default]
    RollingUpdate,
    /// Whoever deletes their pods.
    OnDelete,
}

/// What is seen of a pool.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentPoolStatus {
    /// The generation of the spec that the rest of the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
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
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}
