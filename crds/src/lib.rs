//! The objects that say what a mesh consists of, group `pagemesh.io/v1alpha1`: [`Region`], [`RegionClass`],
//! [`MountTable`], [`AgentPool`] and [`Agent`].
//!
//! The same objects live in Kubernetes or, without it, in YAML files. This crate holds their types, reads them
//! ([`parse_objects`]) and checks them ([`validate`], [`validate_agent`]); it does no I/O.
#![forbid(unsafe_code)]

mod agent;
mod agent_pool;
mod identity;
mod mount_table;
mod names;
mod parse;
pub mod quantity;
mod region;
mod region_class;
mod validate;

pub use agent::{
    AGENTS_MAX, Agent, AgentMemory, AgentSpec, AgentStatus, HeldRegion, PreflightFinding, Severity,
};
pub use agent_pool::{
    AGENT_POOL_DEFAULT, AgentPool, AgentPoolSpec, AgentPoolStatus, LogLevel, UpdateStrategy, UpdateType,
};
pub use identity::region_id;
pub use mount_table::{DelegatedContext, Mount, MountTable, MountTableSpec};
pub use parse::{Object, ParseError, SOURCE_BYTES_MAX, parse_objects};
pub use quantity::Quantity;
pub use region::{Coherence, Consistency, Home, Placement, Region, RegionNode, RegionSpec, RegionStatus};
pub use region_class::{RegionClass, RegionClassSpec, RegionDefaults, RegionLimits};
pub use validate::{
    FieldError, PAGE_SIZE_BYTES_MAX, PAGE_SIZE_BYTES_MIN, REGION_BYTES_MAX, ValidAgent, ValidRegion,
    validate, validate_agent,
};

/// API group and version of all our objects.
pub const API_VERSION: &str = "pagemesh.io/v1alpha1";

/// Namespace of a Region that names none.
pub const NAMESPACE_DEFAULT: &str = "default";
