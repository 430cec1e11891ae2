//! Decides what to do. Pure: a picture of the cluster goes in, a list of actions comes out, and the same picture always gives
//! the same list. Nothing in here can reach the network, a clock or chance.
//!
//! A plan looks at everything at once, so two regions that are placed by one plan never get the same memory.

mod action;
mod agents;
mod children;
mod class;
mod conditions;
mod daemon_set;
mod deletion;
mod mesh;
mod placement;
mod pool;
mod region;
mod snapshot;
#[cfg(test)]
mod tests;
mod words;

use k8s_openapi::jiff::Timestamp;

pub(crate) use action::{Action, Child, Note, Precondition, Subject};
pub(crate) use children::POOL_LABEL;
pub(crate) use conditions::cut;
pub(crate) use region::FINALIZER;
pub(crate) use snapshot::{
    AgentsRun, ChildKey, ChildKind, ChildView, LeaseView, NodeView, Objects, PodView, RegionKey, Rollout,
    Snapshot, Written,
};

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// In order, as far as they are about one object; those about different objects do not depend on each other.
    pub(crate) actions: Vec<Action>,
    /// When there may be something to do although nothing has changed.
    pub(crate) wake_at: Option<Timestamp>,
}

/// Decides what to do.
pub(crate) fn plan(snapshot: &Snapshot) -> Plan {
    let mut actions = Vec::new();
    for (name, object) in snapshot.pools.iter() {
        pool::plan(snapshot, name, object, &mut actions);
    }
    agents::plan(snapshot, &mut actions);
    let mut mesh = mesh::Mesh::new(snapshot);
    // Who came first is served first.
    let mut regions: Vec<_> = snapshot.regions.iter().collect();
    regions
        .sort_by_key(|(key, region)| (region.metadata.creation_timestamp.as_ref().map(|time| time.0), *key));
    for (key, object) in regions {
        region::plan(&mut mesh, key, object, &mut actions);
    }
    Plan { actions, wake_at: mesh.wakes_at() }
}
