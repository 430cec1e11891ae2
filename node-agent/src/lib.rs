//! The node agent: one per node. It serves the page faults of the programs that are attached to regions, homes pages
//! and talks to its peers.
//!
//! Two halves. The *data path* ([`shard`], [`uffd`], [`memory`], [`peer`]) is plain threads: a fault is read, served
//! and woken by one thread, without a hand-off. The *control path* ([`control`], [`config`], [`attach`], [`http`]) is
//! tokio, and says what there is to serve; it is never on the way of a fault. On Kubernetes [`kubernetes`] tells the
//! cluster of it.

pub mod attach;
pub mod config;
pub mod control;
pub mod csi;
mod detached_mount;
mod grpc;
pub mod handover;
pub mod http;
pub mod instance;
pub mod journal;
pub mod kept;
pub mod kubernetes;
pub mod listen;
pub mod memory;
pub mod metrics;
pub mod names;
pub mod observe;
mod pause;
pub mod peer;
pub mod preflight;
pub mod shard;
pub mod succession;
pub mod uffd;
pub mod volume;
