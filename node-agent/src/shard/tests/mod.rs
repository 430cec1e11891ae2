//! The data path on the real kernel: shards, connections and memory, without the control path.

mod hostile;
mod mesh;
mod sharing;
