//! The objects that say what a mesh consists of: [`Region`] and [`Agent`], group `pagemesh.io/v1alpha1`.
//!
//! The same objects live in Kubernetes or, without it, in YAML files. This crate holds their types, reads them
//! ([`parse_objects`]) and checks them ([`validate`], [`validate_agent`]); it does no I/O.
#![forbid(unsafe_code)]

mod agent;
mod identity;
mod names;
mod parse;
pub mod quantity;
mod region;
mod validate;

pub use agent::{AGENTS_MAX, Agent, AgentSpec, AgentStatus};
pub use identity::region_id;
pub use parse::{Object, ParseError, SOURCE_BYTES_MAX, parse_objects};
pub use quantity::Quantity;
pub use region::{Coherence, Consistency, Placement, Region, RegionSpec, RegionStatus};
pub use validate::{
    FieldError, PAGE_SIZE_BYTES_MAX, PAGE_SIZE_BYTES_MIN, REGION_BYTES_MAX, ValidAgent, ValidRegion,
    validate, validate_agent,
};

/// API group and version of all our objects.
pub const API_VERSION: &str = "pagemesh.io/v1alpha1";

/// Namespace of a Region that names none.
pub const NAMESPACE_DEFAULT: &str = "default";
