//! The `Region` object: a named span of shared memory.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Quantity;

/// What a region is wanted to be.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "pagemesh.io",
    version = "v1alpha1",
    kind = "Region",
    namespaced,
    status = "RegionStatus",
    category = "pagemesh",
    derive = "PartialEq",
    doc = "A named span of memory that programs on all nodes share."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionSpec {
    /// Its size, a multiple of the page size.
    pub size: Quantity,
    /// The unit of sharing: a power of two from 4Ki to 2Mi.
    #[serde(default = "page_size_default")]
    pub page_size: Quantity,
    /// What a program may assume.
    #[serde(default)]
    pub consistency: Consistency,
    /// How copies are kept.
    #[serde(default)]
    pub coherence: Coherence,
}

impl RegionSpec {
    /// A region of this size with the default of everything else.
    #[must_use]
    pub fn sized(size: Quantity) -> RegionSpec {
        RegionSpec {
            size,
            page_size: page_size_default(),
            consistency: Consistency::default(),
            coherence: Coherence::default(),
        }
    }
}

fn page_size_default() -> Quantity {
    Quantity::from("4Ki")
}

/// What a program may assume of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Consistency {
    /// Single writer or many readers per page; each access takes effect at one instant.
    #[default]
    Linearizable,
}

impl Consistency {
    /// The name in YAML.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Consistency::Linearizable => "Linearizable",
        }
    }
}

/// How copies of a region's pages are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Coherence {
    /// A write first removes every other copy.
    #[default]
    WriteInvalidate,
    /// As above, and when the writer's turn ends the new contents go to all that held the page.
    WriteUpdate,
}

impl Coherence {
    /// The name in YAML.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Coherence::WriteInvalidate => "WriteInvalidate",
            Coherence::WriteUpdate => "WriteUpdate",
        }
    }
}

/// What has been decided about a region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionStatus {
    /// Where its pages live; absent until the planner has decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
}

/// Where a region's pages live.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// Number of this placement, from 1; a later one is greater.
    #[schemars(range(min = 1))]
    pub epoch: u64,
    /// Names of the agents that home its pages. Their order matters.
    #[schemars(length(min = 1))]
    pub homes: Vec<String>,
}
