//! The `Region` object: a named span of shared memory.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
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
    shortname = "rgn",
    category = "pagemesh",
    derive = "PartialEq",
    doc = "A named span of memory that programs on all nodes share."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionSpec {
    /// Its size, a multiple of the page size. It may grow, never shrink.
    pub size: Quantity,
    /// The unit of sharing: a power of two from 4Ki to 2Mi. It never changes.
    #[serde(default = "page_size_default")]
    pub page_size: Quantity,
    /// What a program may assume. It never changes.
    #[serde(default)]
    pub consistency: Consistency,
    /// How copies are kept; may be switched at any time. Without it the class decides, and without that it is
    /// `WriteInvalidate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coherence: Option<Coherence>,
    /// How many agents home its pages. Without it the class decides, and without that it is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homes: Option<u16>,
    /// The RegionClass that gives defaults and limits; without it the cluster's default class, if there is one.
    /// It never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region_class_name: Option<String>,
    /// The AgentPool whose agents home its pages. Without it the class decides, and without that it is `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_pool_name: Option<String>,
}

impl RegionSpec {
    /// A region of this size with the default of everything else.
    #[must_use]
    pub fn sized(size: Quantity) -> RegionSpec {
        RegionSpec {
            size,
            page_size: page_size_default(),
            consistency: Consistency::default(),
            coherence: None,
            homes: None,
            region_class_name: None,
            agent_pool_name: None,
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

/// What has been decided about a region, and what is seen of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionStatus {
    /// The generation of the spec that the rest of the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where its pages live; absent until the planner has decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// How many agents home its pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homes: Option<u16>,
    /// How many processes are attached, on all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachments: Option<u32>,
    /// Attachments and memory by node: nodes that home it or have it attached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<RegionNode>,
    /// `Ready`, `Degraded`, and, while it is being deleted, `Deleting`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A region on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionNode {
    /// The node, which is its agent's name.
    pub node: String,
    /// Epoch of the placement that its agent acts on.
    pub epoch: u64,
    /// Processes attached there.
    pub attachments: u32,
    /// Memory that its pages take there, in bytes.
    pub resident_bytes: u64,
}

/// What agents act on: where a region's pages live, and how they are kept.
///
/// Everything that all agents must agree on is in here, so that one number, the epoch, says which of it an agent has seen.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// Number of this placement, from 1; a later one is greater.
    #[schemars(range(min = 1))]
    pub epoch: u64,
    /// The agents that home its pages. Their order matters, and one may be there more than once.
    #[schemars(length(min = 1))]
    pub homes: Vec<Home>,
    /// The homes of the epoch before, while pages move from them to `homes`; empty when nothing moves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<Home>,
    /// The size in force; without it that of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
    /// The coherence in force; without it that of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coherence: Option<Coherence>,
}

/// An agent that homes pages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Home {
    /// Name of the agent.
    pub agent: String,
    /// The life of the agent that was made a home, as its status showed it then. An agent that has started anew has
    /// none of the pages and must not take itself for this home. Absent where nobody restarts agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
}

impl Placement {
    /// A first placement on these agents.
    pub fn first<H: Into<Home>>(homes: impl IntoIterator<Item = H>) -> Placement {
        let homes = homes.into_iter().map(Into::into).collect();
        Placement { epoch: 1, homes, previous: Vec::new(), size: None, coherence: None }
    }
}

impl From<&str> for Home {
    fn from(agent: &str) -> Home {
        Home { agent: agent.to_owned(), incarnation: None }
    }
}
