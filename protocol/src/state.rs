//! What outlives the process of a node: its whole state, and the inputs since.
//!
//! A node that has died goes on as if all of its connections had broken: the state is loaded, the inputs since are given
//! to it again, and it is where it was, since the same inputs give the same outputs. What it had sent and what was on its way
//! to it is lost, and lost messages are what `recovery.rs` makes up for. So no peer need know, and nothing in the protocol
//! is about crashes.

use alloc::vec::Vec;
use core::fmt;

use crate::{AgentId, Incarnation, Input, Node, Placement, RegionConfig, RegionId, Time, Tuning};

/// Version of what [`Node::save`] writes and of what steps do with it. Inputs are given again only to the version that took
/// them first: another one might answer otherwise than peers have heard.
pub const STATE_VERSION: u32 = 1;

/// A state or an input cannot be read: it was cut short or changed, or another version wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what a node has kept cannot be read: it was damaged, or another version wrote it")
    }
}

impl core::error::Error for Unreadable {}

impl Node {
    /// Appends the whole state to `to`.
    ///
    /// # Panics
    /// Within a step.
    pub fn save(&self, to: &mut Vec<u8>) {
        assert!(self.local.is_empty(), "a state is saved between steps");
        let state = postcard::to_allocvec(self).expect("memory does not refuse bytes");
        to.extend_from_slice(&state);
    }

    /// The node that [`save`](Node::save) has saved.
    ///
    /// # Errors
    /// These are not the bytes of a state.
    pub fn load(bytes: &[u8]) -> Result<Node, Unreadable> {
        let node: Node = postcard::from_bytes(bytes).map_err(|_| Unreadable)?;
        if node.me.0 < AgentId::LIMIT { Ok(node) } else { Err(Unreadable) }
    }

    /// Which agent this is, and which life of it.
    #[must_use]
    pub fn identity(&self) -> (AgentId, Incarnation) {
        (self.me, self.incarnations.get(&self.me).copied().unwrap_or(Incarnation::NO_ONE))
    }

    /// The regions that it knows, how large they are and who homes them.
    pub fn regions(&self) -> impl Iterator<Item = (RegionId, &RegionConfig, &Placement)> + '_ {
        self.regions.iter().map(|(id, region)| (*id, &region.config, &region.placement))
    }

    /// Peers that it believes to be connected.
    pub fn peers(&self) -> impl Iterator<Item = AgentId> + '_ {
        self.connected.iter()
    }

    /// Takes other times and counts. Between a state and the inputs since they must stay the same. Returns whether they were
    /// others.
    pub fn tune(&mut self, tuning: Tuning) -> bool {
        core::mem::replace(&mut self.tuning, tuning) != tuning
    }
}

impl Input {
    /// Writes the input, and when it was taken, to the beginning of `to`, and returns how many bytes that took. None if
    /// there is not room enough.
    #[must_use]
    pub fn save(&self, now: Time, to: &mut [u8]) -> Option<usize> {
        // The only way in which this fails.
        postcard::to_slice(&(now, self), to).ok().map(|written| written.len())
    }

    /// What [`save`](Input::save) has written.
    ///
    /// # Errors
    /// These are not the bytes of an input.
    pub fn load(bytes: &[u8]) -> Result<(Time, Input), Unreadable> {
        postcard::from_bytes(bytes).map_err(|_| Unreadable)
    }
}
