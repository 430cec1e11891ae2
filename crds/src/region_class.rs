//! The `RegionClass` object: what Regions of a class get when they do not say, and what they may not exceed.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::schema::{bytes, explain_values};
use crate::{Coherence, HOMES_MAX, Quantity, rules};

/// Largest limit of Regions in one namespace.
pub const REGIONS_PER_NAMESPACE_MAX: u32 = 100_000;

/// Defaults and limits of a class.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "pagemesh.io",
    version = "v1alpha1",
    kind = "RegionClass",
    shortname = "rgnclass",
    category = "pagemesh",
    derive = "PartialEq",
    doc = "Defaults and limits for Regions, as a StorageClass is for claims.",
    printcolumn(
        name = "Default",
        type_ = "boolean",
        json_path = ".spec.default",
        description = "Whether Regions that name no class are of this one."
    ),
    printcolumn(
        name = "Max size",
        type_ = "string",
        json_path = ".spec.limits.size",
        description = "The largest size of a Region."
    ),
    printcolumn(
        name = "Max homes",
        type_ = "integer",
        json_path = ".spec.limits.homes",
        description = "The most homes of a Region."
    ),
    printcolumn(
        name = "Max regions",
        type_ = "integer",
        json_path = ".spec.limits.regionsPerNamespace",
        description = "The most Regions of the class in one namespace."
    ),
    printcolumn(
        name = "Pool",
        type_ = "string",
        json_path = ".spec.defaults.agentPoolName",
        description = "The AgentPool of Regions that name none."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(rules::NAME_IS_LABEL).message(rules::NAME_IS_LABEL_MESSAGE)
)]
#[x_kube(
    validation = Rule::new(rules::HOMES_WITHIN_LIMIT).message(rules::HOMES_WITHIN_LIMIT_MESSAGE).field_path(".defaults.homes")
)]
#[serde(rename_all = "camelCase")]
pub struct RegionClassSpec {
    /// Whether Regions that name no class are of this one. If several say so, the oldest of them is.
    #[serde(default)]
    pub default: bool,
    /// What a Region gets for what it does not say.
    #[serde(default)]
    pub defaults: RegionDefaults,
    /// What no Region of the class may exceed.
    #[serde(default)]
    pub limits: RegionLimits,
}

/// What a Region gets for what it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionDefaults {
    /// `spec.agentPoolName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (rules::LABEL, rules::POOL_NAME_MESSAGE))]
    #[schemars(length(max = 48))]
    pub agent_pool_name: Option<String>,
    /// `spec.homes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = HOMES_MAX))]
    pub homes: Option<u16>,
    /// `spec.coherence`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = explain_values)]
    pub coherence: Option<Coherence>,
}

/// What no Region of a class may exceed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionLimits {
    /// Size of one Region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = (rules::BYTES, rules::BYTES_MESSAGE),
        validation = (rules::BYTES_AT_MOST_16TI, rules::BYTES_AT_MOST_16TI_MESSAGE)
    )]
    #[schemars(schema_with = "bytes")]
    pub size: Option<Quantity>,
    /// Homes of one Region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = HOMES_MAX))]
    pub homes: Option<u16>,
    /// Regions of the class in one namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = REGIONS_PER_NAMESPACE_MAX))]
    pub regions_per_namespace: Option<u32>,
}
