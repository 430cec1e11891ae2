//! The data path. A shard is one thread that owns a fixed part of every region's pages: the userfaultfds registered
//! over them, and one connection to the same shard of each peer. It reads a fault, steps the protocol, sends the
//! request, receives the reply and maps the page, without handing anything to another thread.
//!
//! | file | role |
//! |---|---|
//! | `worker` | the loop: waits, and calls the others |
//! | `commands` | what the control path asks for |
//! | `engine` | the only caller of the protocol: turns events into inputs |
//! | `executor` | carries the protocol's outputs out, in order |
//! | `programs` | the attachments, and what is done to their memory |
//! | `revocation` | takes a region away from one program while others go on |
//! | `ahead` | pages that are asked for before they are touched |
//! | `counts` | what the faults of each attachment have cost |
//! | `waits` | the faults that wait for a page |
//! | `links` | the connections to peers |
//! | `precedence` | when the thread runs |
//!
//! Architecture invariants: shards share nothing but metrics; in the steady state a fault costs no allocation and no
//! lock; a userfaultfd's message is a hint, and what the protocol says of the page decides.

mod ahead;
mod clock;
mod command;
mod commands;
mod counts;
mod engine;
mod executor;
mod handle;
mod links;
mod poller;
mod precedence;
mod programs;
mod ranges;
mod regions;
mod revocation;
mod stripe;
#[cfg(test)]
mod tests;
mod waits;
mod worker;

pub use ahead::Outcome;
pub use clock::monotonic_nanos;
pub use command::{AttachmentId, Command, Event, Range, RegionReport, Report};
pub use counts::{Counted, Counts};
pub use handle::{Setup, Shard, ShardHandle};
pub use stripe::{STRIPE_LEN, of, split};
