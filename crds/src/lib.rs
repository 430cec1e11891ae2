//! The objects that say what a mesh consists of, group `pagemesh.io/v1alpha1`: [`Region`], [`RegionClass`],
//! [`MountTable`], [`AgentPool`] and [`Agent`].
//!
//! The same objects live in Kubernetes or, without it, in YAML files. This crate holds their types, reads them
//! ([`parse_objects`]) and checks them ([`validate`], [`validate_agent`]); it does no I/O.
#![forbid(unsafe_code)]
#![expect(clippy::duplicated_attributes, reason = "printer columns have attributes of their own")]
#![expect(unreachable_pub, reason = "kube's KubeSchema copies public types into functions")]

mod access;
mod agent;
mod agent_pool;
mod attach;
mod definitions;
mod identity;
mod mount_table;
mod names;
mod object;
mod parse;
pub mod quantity;
mod region;
mod region_class;
mod rules;
mod schema;
mod schema_of_pods;
mod unknown_fields;
mod validate;
mod validate_kinds;

pub use access::{ACCESS_MAX, Access, AccessEntry, AccessMode};
pub use agent::{
    AGENTS_MAX, Agent, AgentEnding, AgentMemory, AgentSpec, AgentStatus, HeldRegion, PreflightFinding,
    SHARDS_MAX, Severity,
};
pub use agent_pool::{
    AGENT_POOL_DEFAULT, AgentPool, AgentPoolSpec, AgentPoolStatus, HAND_OVER_SECONDS_MAX, LogLevel,
    UpdateStrategy, UpdateType,
};
pub use attach::{
    ANNOTATION_ATTACH, ANNOTATION_CONTAINERS, ANNOTATION_MOUNT_TABLE, ATTACH_CHARS_MAX, ATTACHED_REGIONS_MAX,
    ATTRIBUTE_MOUNT_TABLE, ATTRIBUTE_REGIONS, AttachError, AttachedRegion, CSI_DRIVER, ENV_PRELOAD,
    ENV_SOCKET, KEEPER_CONTAINER, KEEPER_PATH, KEEPER_PORT, LABEL_ATTACH, LIBRARY_PATH, MOUNT_PATH,
    SOCKET_PATH, VOLUME, parse_attach, parse_mount_table,
};
pub use definitions::{definition_yaml, definitions, definitions_yaml};
pub use identity::region_id;
pub use mount_table::{
    ADDRESS_BYTES_MAX, CONTEXTS_MAX, Delegate, DelegatedContext, MOUNTS_MAX, Mount, MountTable,
    MountTableSpec, PATH_BYTES_MAX,
};
pub use names::{check_address, check_label, check_path};
pub use object::Object;
pub use parse::{ParseError, SOURCE_BYTES_MAX, parse_objects, split_documents};
pub use quantity::Quantity;
pub use region::{
    Coherence, Consistency, HOMES_MAX, Home, Placement, Region, RegionNode, RegionSpec, RegionStatus,
};
pub use region_class::{
    REGIONS_PER_NAMESPACE_MAX, RegionClass, RegionClassSpec, RegionDefaults, RegionLimits,
};
pub use validate::{
    ANNOTATION_TRACEPARENT, CONDITION_READY, FieldError, PAGE_SIZE_BYTES_MAX, PAGE_SIZE_BYTES_MIN,
    REGION_BYTES_MAX, ValidAgent, ValidRegion, validate, validate_agent,
};
pub use validate_kinds::{validate_agent_pool, validate_mount_table, validate_region_class};

/// API group and version of all our objects.
pub const API_VERSION: &str = "pagemesh.io/v1alpha1";

/// Namespace of a Region that names none.
pub const NAMESPACE_DEFAULT: &str = "default";
