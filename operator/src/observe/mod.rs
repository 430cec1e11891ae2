//! Watches the cluster.
//!
//! All watches begin when this operator becomes the leader: a first list is read from the store itself, so it has all that the
//! leader before has written.

mod cache;
mod leases;
mod views;
mod watch;
mod world;

pub(crate) use views::{child, daemon_set, version};
pub(crate) use watch::start;
pub(crate) use world::Observer;
