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
//! [`Region`] is what a Rust program needs; `include/pagemesh.h` is the same for C. What speaks to the agent is
//! `pagemesh-attach`, whose modules are here under their own names.

pub mod c_abi;
mod directory;
mod mapped;
mod region;

pub use directory::Directory;
pub use pagemesh_attach::{Error, RegionName, SOCKET_VARIABLE, attachment, mapping, socket, sys, wire};
pub use region::{ReadOnlyRegion, Region};
