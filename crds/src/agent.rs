//! The `Agent` object: one per node, so that agents find each other.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Agents that one mesh may have; ids are below this.
pub const AGENTS_MAX: u16 = 1024;

/// What an agent is declared to be.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "pagemesh.io",
    version = "v1alpha1",
    kind = "Agent",
    status = "AgentStatus",
    category = "pagemesh",
    derive = "PartialEq",
    doc = "One node's agent: its number in the mesh, and where its peers reach it."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentSpec {
    /// Its number in the mesh, 0 to 1023. No two agents share one.
    #[schemars(range(max = 1023))]
    pub id: u16,
}

/// What is known of a running agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentStatus {
    /// IP address and port where its peers reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}
