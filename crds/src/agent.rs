//! The `Agent` object: one per node, so that agents find each other and the operator knows what they have.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Quantity;

/// Agents that one mesh may have; ids are below this.
pub const AGENTS_MAX: u16 = 1024;

/// What an agent is declared to be.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "pagemesh.io",
    version = "v1alpha1",
    kind = "Agent",
    status = "AgentStatus",
    category = "pagemesh",
    derive = "PartialEq",
    doc = "One node's agent: its number in the mesh, where its peers reach it, and what it holds. Written by the agent itself."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentSpec {
    /// Its number in the mesh, 0 to 1023. No two agents share one. On Kubernetes the operator hands it out; an agent
    /// without one waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1023))]
    pub id: Option<u16>,
    /// The AgentPool that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_pool_name: Option<String>,
}

/// What is known of a running agent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentStatus {
    /// IP address and port where its peers reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// A number, in hexadecimal, that no other life of this agent has: one with another incarnation has none of the
    /// memory that this one had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// Version of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The pod that it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// Threads that serve faults. Agents with different numbers do not talk to each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u16>,
    /// Memory that it lends, and how much of that is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<AgentMemory>,
    /// What its node lacks, if anything: one entry for each finding of the preflight that did not pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preflight: Vec<PreflightFinding>,
    /// The regions that it homes or has attached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<HeldRegion>,
    /// `Ready`: it serves; reason `Stopping` when it is about to end and wants its homes moved elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// The memory that an agent lends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentMemory {
    /// All of it.
    pub lent: Quantity,
    /// What the pages of regions take, in bytes.
    pub resident_bytes: u64,
}

/// Something that a node lacks or has too little of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreflightFinding {
    /// What was looked at.
    pub name: String,
    /// Whether the agent can serve in spite of it.
    pub severity: Severity,
    /// What was found, and what to do about it.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeldRegion {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which of all that ever had this name.
    pub uid: String,
    /// Epoch of the placement that the agent acts on.
    pub epoch: u64,
    /// Generation of the Region that the agent has seen last.
    pub observed_generation: i64,
    /// Whether the agent has everything that a home under this epoch must have: nothing still moves to it. True for
    /// an agent that is no home.
    pub settled: bool,
    /// Processes attached.
    #[serde(default)]
    pub attachments: u32,
    /// UIDs of the pods that these processes are in, as far as they are in pods; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
    /// Memory that its pages take, in bytes.
    #[serde(default)]
    pub resident_bytes: u64,
    /// Why the agent cannot serve it, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
