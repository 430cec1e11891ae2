//! The `MountTable` object: paths and the Regions that are found there.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is found under the paths of a namespace's part of the tree of names.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "pagemesh.io",
    version = "v1alpha1",
    kind = "MountTable",
    namespaced,
    shortname = "mt",
    category = "pagemesh",
    derive = "PartialEq",
    doc = "Paths, and the Regions and other contexts that are found there."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MountTableSpec {
    /// Regions by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Parts of the tree that are described elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contexts: Vec<DelegatedContext>,
}

/// A Region at a path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// Path below the namespace's context, as in `models/weights`.
    pub path: String,
    /// Name of the Region.
    pub region: String,
    /// Namespace of the Region, if it is another than the table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A context at a path that is described by the MountTables of another namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DelegatedContext {
    /// Path below the namespace's context.
    pub path: String,
    /// Namespace whose MountTables describe it.
    pub namespace: String,
}
