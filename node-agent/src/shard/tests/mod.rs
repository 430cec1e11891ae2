//! The data path on the real kernel: shards, connections and memory, without the control path.

mod connections;
mod hostile;
mod mesh;
mod sharing;
