//! The `MountTable` object: paths and the Regions that are found there.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::rules;

/// Mounts that one table may have.
pub const MOUNTS_MAX: usize = 128;
/// Delegated contexts that one table may have.
pub const CONTEXTS_MAX: usize = 32;
/// Longest path.
pub const PATH_BYTES_MAX: usize = 255;
/// Longest address of a name server: a DNS name, a colon and a port.
pub const ADDRESS_BYTES_MAX: usize = 259;

/// What is found under the paths of a namespace's part of the tree of names.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "pagemesh.io",
    version = "v1alpha1",
    kind = "MountTable",
    namespaced,
    shortname = "mt",
    category = "pagemesh",
    derive = "PartialEq",
    doc = "Paths, and the Regions and other contexts that are found there.",
    printcolumn(name = "Default", type_ = "boolean", json_path = ".spec.default"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(rules::NAME_IS_LABEL).message(rules::NAME_IS_LABEL_MESSAGE)
)]
#[x_kube(
    validation = Rule::new(rules::NO_MOUNT_IN_CONTEXT).message(rules::NO_MOUNT_IN_CONTEXT_MESSAGE).field_path(".mounts"),
    validation = Rule::new(rules::NO_MOUNT_IN_MOUNT).message(rules::NO_MOUNT_IN_MOUNT_MESSAGE).field_path(".mounts"),
    validation = Rule::new(rules::NO_CONTEXT_IN_MOUNT).message(rules::NO_CONTEXT_IN_MOUNT_MESSAGE).field_path(".contexts"),
    validation = Rule::new(rules::NO_CONTEXT_IN_CONTEXT).message(rules::NO_CONTEXT_IN_CONTEXT_MESSAGE).field_path(".contexts")
)]
#[serde(rename_all = "camelCase")]
pub struct MountTableSpec {
    /// Whether names of the namespace are looked up in this table when nobody names another one. At most one of a namespace counts:
    /// the oldest.
    #[serde(default)]
    pub default: bool,
    /// Regions by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["path".into()]))]
    #[schemars(length(max = MOUNTS_MAX))]
    pub mounts: Vec<Mount>,
    /// Parts of the tree that are described elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["path".into()]))]
    #[schemars(length(max = CONTEXTS_MAX))]
    pub contexts: Vec<DelegatedContext>,
}

/// A Region at a path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Path below the namespace's context, as in `models/weights`.
    #[x_kube(validation = (rules::PATH, rules::PATH_MESSAGE))]
    #[schemars(length(min = 1, max = PATH_BYTES_MAX))]
    pub path: String,
    /// Name of the Region.
    #[x_kube(validation = (rules::LABEL, rules::REGION_NAME_MESSAGE))]
    #[schemars(length(max = 63))]
    pub region: String,
    /// Namespace of the Region, if it is another than the table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (rules::LABEL, rules::NAMESPACE_MESSAGE))]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Whether who attaches by this path may only read, also where the Region's access would allow more.
    #[serde(default)]
    pub read_only: bool,
}

/// A context at a path that others describe: the default MountTable of another namespace, or another name server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = (rules::ONE_TARGET, rules::ONE_TARGET_MESSAGE))]
#[serde(rename_all = "camelCase")]
pub struct DelegatedContext {
    /// Path below the namespace's context.
    #[x_kube(validation = (rules::PATH, rules::PATH_MESSAGE))]
    #[schemars(length(min = 1, max = PATH_BYTES_MAX))]
    pub path: String,
    /// Namespace whose default MountTable describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (rules::LABEL, rules::NAMESPACE_MESSAGE))]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Another name server that describes it, such as that of another cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate: Option<Delegate>,
}

/// A context that another name server describes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delegate {
    /// Namespace there whose default MountTable describes it.
    #[x_kube(validation = (rules::LABEL, rules::NAMESPACE_MESSAGE))]
    #[schemars(length(max = 63))]
    pub context: String,
    /// Where the name server answers, as in `names.example.com:7410`.
    #[x_kube(validation = (rules::ADDRESS, rules::ADDRESS_MESSAGE))]
    #[schemars(length(max = ADDRESS_BYTES_MAX))]
    pub to: String,
}
