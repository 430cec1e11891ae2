//! How an agent takes over from another one that runs on its node, so that neither a program nor a peer notices more than a
//! pause: an upgrade.
//!
//! The successor starts beside its predecessor, gets ready, and asks for everything at `successor.sock` in the runtime
//! directory. The predecessor ends all that serves, so that what it has kept for a crash ([`crate::kept`]) is complete, and hands
//! over the locks of the directories: whoever has these is the agent of the node, and they are never free in between. From
//! there on the successor takes up what was kept, as it would after a crash; the descriptors of programs come to it the same
//! way, out of the programs. So there is one way to take over, and every crash tests it.
//!
//! A successor that cannot read what its predecessor keeps is refused before anything ends.

mod packet;
mod predecessor;
mod successor;
#[cfg(test)]
mod tests;

pub use predecessor::{Door, Heir};
pub use successor::{CannotSucceed, Inheritance, ask};

/// Name of the socket in the runtime directory.
pub const SOCKET: &str = "successor.sock";
