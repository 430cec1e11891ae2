//! The coherence protocol of pagemesh as a pure state machine.
//!
//! A [`Node`] is one agent's part. It is told what happens ([`Input`]: faults, messages, connections, time) and says
//! what to do ([`Output`]: messages, verbs on pages). It does no I/O and knows no clock: the same inputs give the same
//! outputs, so that every run can be replayed. The crate is `no_std`: it cannot name a socket, a clock, a thread or a
//! hash map, and a page's bytes never enter it.
//!
//! The protocol is a directory protocol with one home for each page (after Li and Hudak, "Memory coherence in shared
//! virtual memory systems", 1989: the fixed distributed manager), in which the home serialises and forwards, and
//! holders answer requesters directly (as in the DASH multiprocessor, 1990).
//!
//! What holds at all times, and what tests/ proves over all interleavings of small worlds and thousands of seeds:
//! - one node may write a page, or any number may read it;
//! - a load returns what the last store stored;
//! - the only copy of a page is never just in flight: who gives a page up keeps an aside until the home knows that
//!   the new owner has it;
//! - every fault ends once connections stay up long enough, and then nothing is left under way.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod agent_set;
mod arrival;
mod departure;
mod door;
mod holder;
mod home;
mod ids;
mod io;
mod leavers;
mod leaving;
mod message;
mod mutation;
mod node;
mod peers;
mod placement;
mod recovery;
mod regions;
mod requester;
mod state;
mod tables;
mod view;
mod wire;

pub use agent_set::AgentSet;
pub use ids::{Access, AgentId, Incarnation, PageId, RegionId, RequestId, Time, Txn};
pub use io::{Input, Output, Payload, Violation};
pub use message::{Body, Fill, Message, Open, Roles};
#[cfg(feature = "mutations")]
pub use mutation::Mutation;
pub use node::{Node, PageState, Tuning};
pub use placement::{CHUNK_PAGES, Coherence, Placement, RegionConfig};
pub use state::{STATE_VERSION, Unreadable};
pub use view::{HomeView, InFlight, PageView};
pub use wire::{DecodeError, MESSAGE_LEN};
