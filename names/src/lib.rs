//! The tree of names: which Region a path stands for.
//!
//! Every Kubernetes namespace is a context of the tree, and its default MountTable says what is below it. [`Tree`] holds what one
//! name server knows and looks paths up (purely); [`Walk`] follows referrals from one namespace or server to the next, with a
//! limit, and notices circles; [`follow`] asks other servers on the way. [`proto`] is the gRPC service
//! `pagemesh.v1.Directory`, [`wire`] turns its messages into what the others here work with, and checks them, and [`Remote`]
//! is its client. Agents serve it, and the command line asks it.
#![forbid(unsafe_code)]

pub mod follow;
mod hints;
mod place;
mod problem;
pub mod proto;
mod remote;
mod table;
mod tree;
mod walk;
pub mod wire;

pub use hints::{Alone, HINTS_MAX, Hints, Noting};
pub use place::{Place, QUERY_BYTES_MAX};
pub use problem::{Problem, ProblemKind};
pub use remote::{ANSWER_TIMEOUT, Remote, explain};
pub use table::{Region, Table};
pub use tree::{ENTRIES_MAX, Entry, Found, Listing, Tree, What};
pub use walk::{End, REFERRALS_MAX, Referral, Walk};
