//! The data path on the real kernel: shards, connections and memory, without the control path.

pub(super) mod allocations;
mod connections;
mod counted;
mod hostile;
mod mesh;
mod sharing;
mod streams;
