//! The `RegionClass` object: what Regions of a class get when they do not say, and what they may not exceed.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Coherence, Quantity};

/// Defaults and limits of a class.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "pagemesh.io",
    version = "v1alpha1",
    kind = "RegionClass",
    shortname = "rgnclass",
    category = "pagemesh",
    derive = "PartialEq",
    doc = "Defaults and limits for Regions, as a StorageClass is for claims."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionDefaults {
    /// `spec.agentPoolName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_pool_name: Option<String>,
    /// `spec.homes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homes: Option<u16>,
    /// `spec.coherence`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coherence: Option<Coherence>,
}

/// What no Region of a class may exceed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionLimits {
    /// Size of one Region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
    /// Homes of one Region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homes: Option<u16>,
    /// Regions of the class in one namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions_per_namespace: Option<u32>,
}
