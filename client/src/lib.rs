//! Attach to a pagemesh region and use it with plain loads and stores.
//!
//! ```no_run
//! use std::sync::atomic::Ordering;
//!
//! let region = pagemesh::Region::attach("table")?;
//! region.words()[0].fetch_add(1, Ordering::SeqCst);
//! # Ok::<(), pagemesh::Error>(())
//! ```
//!
//! [`Region`] is what a Rust program needs; `include/pagemesh.h` is the same for C. The modules below are its parts, for
//! who must do without an allocator: the preload library re-attaches with them inside the child of a `fork`.
//!
//! Architecture invariant: nothing under [`attachment`], [`socket`], [`mapping`], [`sys`] or [`wire`] allocates, takes a
//! lock, or calls a libc function that the preload library interposes. All of it may run in a forked child of a program
//! with threads.

pub mod attachment;
pub mod c_abi;
mod error;
pub mod mapping;
mod name;
mod region;
pub mod socket;
pub mod sys;
pub mod wire;

pub use error::Error;
pub use name::RegionName;
pub use region::Region;

/// The environment variable that names the agent's socket.
pub const SOCKET_VARIABLE: &str = "PAGEMESH_SOCKET";
