//! The `Agent` object: one per node, so that agents find each other and the operator knows what they have.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{
    PATTERN_ADDRESS, PATTERN_INCARNATION, PATTERN_LABEL, PATTERN_SUBDOMAIN, bytes, conditions, explain_values,
};
use crate::{Quantity, rules};

/// Shards that an agent may have.
pub const SHARDS_MAX: u16 = 64;

/// Agents that one mesh may have; ids are below this.
pub const AGENTS_MAX: u16 = 1024;

/// What an agent is declared to be.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "pagemesh.io",
    version = "v1alpha1",
    kind = "Agent",
    status = "AgentStatus",
    shortname = "agt",
    category = "pagemesh",
    derive = "PartialEq",
    doc = "One node's agent: its number in the mesh, where its peers reach it, and what it holds. Written by the agent itself.",
    selectable = ".spec.agentPoolName",
    printcolumn(
        name = "Id",
        type_ = "integer",
        json_path = ".spec.id",
        description = "Its number in the mesh."
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether it serves."
    ),
    printcolumn(
        name = "Pool",
        type_ = "string",
        json_path = ".spec.agentPoolName",
        description = "The AgentPool that it belongs to."
    ),
    printcolumn(
        name = "Address",
        type_ = "string",
        json_path = ".status.address",
        description = "Where its peers reach it."
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "Version of the agent."
    ),
    printcolumn(
        name = "Memory",
        type_ = "string",
        json_path = ".status.memory.lent",
        description = "Memory that it lends."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it serves or not.",
        priority = 1
    ),
    printcolumn(
        name = "Pod",
        type_ = "string",
        json_path = ".status.podName",
        description = "The pod that it runs in.",
        priority = 1
    )
)]
#[x_kube(validation = Rule::new(rules::ID_STAYS).message(rules::ID_STAYS_MESSAGE))]
#[serde(rename_all = "camelCase")]
pub struct AgentSpec {
    /// Its number in the mesh, 0 to 1023. No two agents share one. On Kubernetes the operator hands it out; an agent
    /// without one waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = AGENTS_MAX - 1))]
    pub id: Option<u16>,
    /// The AgentPool that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (rules::LABEL, rules::POOL_NAME_MESSAGE))]
    #[schemars(length(max = 48))]
    pub agent_pool_name: Option<String>,
    /// What the operator has answered the agent when it was told to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<AgentEnding>,
}

/// What is to become of what an agent holds that was told to end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentEnding {
    /// The pod that was told to end; without it, whichever is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = PATTERN_SUBDOMAIN))]
    pub pod_name: Option<String>,
    /// Whether its pool runs another agent on the node after it: then all stays there for that one. Otherwise it goes to
    /// other nodes.
    pub stays: bool,
}

/// What is known of a running agent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// IP address and port where its peers reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = PATTERN_ADDRESS))]
    pub address: Option<String>,
    /// A number, in hexadecimal, that no other life of this agent has: one with another incarnation has none of the
    /// memory that this one had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = PATTERN_INCARNATION))]
    pub incarnation: Option<String>,
    /// Version of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub version: Option<String>,
    /// The pod that it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = PATTERN_SUBDOMAIN))]
    pub pod_name: Option<String>,
    /// Threads that serve faults. Agents with different numbers do not talk to each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = SHARDS_MAX))]
    pub shards: Option<u16>,
    /// Memory that it lends, and how much of that is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<AgentMemory>,
    /// What its node lacks, if anything: one entry for each finding of the preflight that did not pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 64))]
    pub preflight: Vec<PreflightFinding>,
    /// The regions that it homes or has attached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["uid".into()]))]
    #[schemars(length(max = 1024))]
    pub regions: Vec<HeldRegion>,
    /// `Ready`: it serves; reason `Ending` when it was told to end and asks whether another agent follows, `Stopping` when none
    /// does and it wants its homes moved elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// The memory that an agent lends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentMemory {
    /// All of it.
    #[schemars(schema_with = "bytes")]
    pub lent: Quantity,
    /// What the pages of regions take, in bytes.
    pub resident_bytes: u64,
}

/// Something that a node lacks or has too little of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreflightFinding {
    /// What was looked at.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Whether the agent can serve in spite of it.
    #[schemars(transform = explain_values)]
    pub severity: Severity,
    /// What was found, and what to do about it.
    #[schemars(length(max = 4096))]
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Severity {
    /// The agent serves, less well than it could.
    Warning,
    /// The agent cannot serve.
    Failure,
}

/// A region as one agent has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldRegion {
    /// Its namespace.
    #[schemars(length(max = 63), regex(pattern = PATTERN_LABEL))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 63), regex(pattern = PATTERN_LABEL))]
    pub name: String,
    /// Which of all that ever had this name.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
    /// Epoch of the placement that the agent acts on.
    pub epoch: u64,
    /// Generation of the Region that the agent has seen last.
    #[schemars(range(min = 0))]
    pub observed_generation: i64,
    /// Whether the agent has everything that a home under this epoch must have: nothing still moves to it. True for
    /// an agent that is no home.
    pub settled: bool,
    /// Processes attached.
    #[serde(default)]
    pub attachments: u32,
    /// UIDs of the pods that these processes are in, as far as they are in pods; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 64)))]
    pub pods: Vec<String>,
    /// Memory that its pages take, in bytes.
    #[serde(default)]
    pub resident_bytes: u64,
    /// Why the agent cannot serve it, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub problem: Option<String>,
}
