//! A mesh on Kubernetes: how a cluster is reached, what is read from it, and what that says. Only here is a runtime built
//! and TLS spoken; a subcommand for one machine never comes by.

mod access;
mod agent_state;
mod conditions;
#[cfg(test)]
pub(crate) mod fixture;
mod kubeconfig;
mod list;
mod no_proxy;
mod region_state;
mod snapshot;
mod trouble;
mod version;

pub(crate) use access::{Access, Cluster, Patience};
pub(crate) use agent_state::has_ended;
pub(crate) use conditions::{age, condition};
pub(crate) use list::{Listing, Look, Within};
pub(crate) use region_state::{RegionState, agent_pool_of, class_of, region_state};
pub(crate) use snapshot::{AGENT_LABELS, PAGEMESH_LABELS, Snapshot, agent_lease, is_fresh, lease_end};
pub(crate) use trouble::{Trouble, explain};
pub(crate) use version::{VERSION_MIN, Version};
