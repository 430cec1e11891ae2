//! The program's side of the [attach protocol](../../../docs/src/attach-protocol.md): what `pagemesh` (Rust and C) and the
//! preload library both stand on.
//!
//! Architecture invariant: nothing here needs a standard library, allocates, takes a lock, or calls a libc function that
//! the preload library interposes. All of it may run in a forked child of a program with threads. It is a crate of its
//! own, not a feature of `pagemesh-client`, since cargo builds a whole workspace with one set of features.
#![cfg_attr(not(test), no_std)]

pub mod attachment;
mod error;
pub mod mapping;
mod name;
pub mod socket;
pub mod sys;
pub mod wire;

pub use error::Error;
pub use name::RegionName;

/// The environment variable that names the agent's socket.
pub const SOCKET_VARIABLE: &str = "PAGEMESH_SOCKET";
