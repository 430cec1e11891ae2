//! The `Region` object: a named span of shared memory.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{PATTERN_INCARNATION, PATTERN_SUBDOMAIN, bytes, conditions, explain_values};
use crate::{ACCESS_MAX, AGENTS_MAX, AccessEntry, Quantity, rules};

/// Home slots that a region may have.
pub const HOMES_MAX: u16 = 64;

/// What a region is wanted to be.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "pagemesh.io",
    version = "v1alpha1",
    kind = "Region",
    namespaced,
    status = "RegionStatus",
    shortname = "rgn",
    category = "pagemesh",
    derive = "PartialEq",
    doc = "A named span of memory that programs on all nodes share.",
    selectable = ".spec.regionClassName",
    selectable = ".spec.agentPoolName",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether programs can use it."
    ),
    printcolumn(
        name = "Size",
        type_ = "string",
        json_path = ".spec.size",
        description = "Its size, as wanted."
    ),
    printcolumn(
        name = "Consistency",
        type_ = "string",
        json_path = ".spec.consistency",
        description = "What a program may assume."
    ),
    printcolumn(
        name = "Homes",
        type_ = "integer",
        json_path = ".status.homes",
        description = "How many agents home its pages."
    ),
    printcolumn(
        name = "Attachments",
        type_ = "integer",
        json_path = ".status.attachments",
        description = "How many processes are attached, on all nodes."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Coherence",
        type_ = "string",
        json_path = ".status.placement.coherence",
        description = "How copies of its pages are kept at present.",
        priority = 1
    ),
    printcolumn(
        name = "Pool",
        type_ = "string",
        json_path = ".spec.agentPoolName",
        description = "The AgentPool that it names.",
        priority = 1
    ),
    printcolumn(
        name = "Epoch",
        type_ = "integer",
        json_path = ".status.placement.epoch",
        description = "Number of its placement.",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is ready or not.",
        priority = 1
    ),
    validation = Rule::new(rules::NAME_IS_LABEL).message(rules::NAME_IS_LABEL_MESSAGE)
)]
#[x_kube(
    validation = Rule::new(rules::SIZE_IN_PAGES).message(rules::SIZE_IN_PAGES_MESSAGE).field_path(".size"),
    validation = Rule::new(rules::CLASS_STAYS).message(rules::CLASS_STAYS_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
pub struct RegionSpec {
    /// Its size, a multiple of the page size. It may grow, never shrink.
    #[x_kube(
        validation = (rules::BYTES, rules::BYTES_MESSAGE),
        validation = (rules::BYTES_AT_MOST_16TI, rules::BYTES_AT_MOST_16TI_MESSAGE),
        validation = (rules::BYTES_GROW, rules::BYTES_GROW_MESSAGE)
    )]
    #[schemars(schema_with = "bytes")]
    pub size: Quantity,
    /// The unit of sharing: a power of two from 4Ki to 2Mi. It never changes.
    #[serde(default = "page_size_default")]
    #[x_kube(
        validation = (rules::PAGE_SIZE, rules::PAGE_SIZE_MESSAGE),
        validation = (rules::PAGE_SIZE_STAYS, rules::PAGE_SIZE_STAYS_MESSAGE)
    )]
    #[schemars(schema_with = "bytes")]
    pub page_size: Quantity,
    /// What a program may assume. It never changes.
    #[serde(default)]
    #[x_kube(validation = (rules::STAYS, rules::CONSISTENCY_STAYS_MESSAGE))]
    #[schemars(transform = explain_values)]
    pub consistency: Consistency,
    /// How copies are kept; may be switched at any time. Without it the class decides, and without that it is
    /// `WriteInvalidate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = explain_values)]
    pub coherence: Option<Coherence>,
    /// How many agents home its pages. Without it the class decides, and without that it is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = HOMES_MAX))]
    pub homes: Option<u16>,
    /// The RegionClass that gives defaults and limits; without it the cluster's default class, if there is one.
    /// It never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (rules::LABEL, rules::CLASS_NAME_MESSAGE))]
    #[schemars(length(max = 63))]
    pub region_class_name: Option<String>,
    /// The AgentPool whose agents home its pages. Without it the class decides, and without that it is `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (rules::LABEL, rules::POOL_NAME_MESSAGE))]
    #[schemars(length(max = 48))]
    pub agent_pool_name: Option<String>,
    /// Which pods may attach. Without it those of the Region's own namespace may, to read and write; an empty list lets nobody
    /// attach. What is taken from a pod here is taken from its programs at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = ACCESS_MAX))]
    pub access: Option<Vec<AccessEntry>>,
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
            access: None,
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionStatus {
    /// The generation of the spec that the rest of the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Where its pages live; absent until the planner has decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// How many agents home its pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = HOMES_MAX))]
    pub homes: Option<u16>,
    /// How many processes are attached, on all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachments: Option<u32>,
    /// Attachments and memory by node: nodes that home it or have it attached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["node".into()]))]
    #[schemars(length(max = AGENTS_MAX))]
    pub nodes: Vec<RegionNode>,
    /// `Ready`, `Degraded`, and, while it is being deleted, `Deleting`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// A region on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionNode {
    /// The node, which is its agent's name.
    #[schemars(length(max = 253), regex(pattern = PATTERN_SUBDOMAIN))]
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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Number of this placement, from 1; a later one is greater.
    #[schemars(range(min = 1))]
    pub epoch: u64,
    /// The agents that home its pages. Their order matters, and one may be there more than once.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(min = 1, max = HOMES_MAX))]
    pub homes: Vec<Home>,
    /// The homes of the epoch before, while pages move from them to `homes`; empty when nothing moves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = HOMES_MAX))]
    pub previous: Vec<Home>,
    /// The size in force; without it that of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bytes")]
    pub size: Option<Quantity>,
    /// The coherence in force; without it that of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = explain_values)]
    pub coherence: Option<Coherence>,
}

/// An agent that homes pages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Home {
    /// Name of the agent.
    #[schemars(length(max = 253), regex(pattern = PATTERN_SUBDOMAIN))]
    pub agent: String,
    /// The life of the agent that was made a home, as its status showed it then. An agent that has started anew has
    /// none of the pages and must not take itself for this home. Absent where nobody restarts agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = PATTERN_INCARNATION))]
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
