//! Peers: frames, the two halves of a connection, and how connections are made.
//!
//! The shard owns its connections and reads and writes them itself ([`Inbox`], [`Outbox`]). Making them (listening,
//! dialling, the handshake) is the control path's work ([`Network`]), since nothing waits for it but the connection.

mod frame;
mod handshake;
mod inbox;
mod network;
mod outbox;
#[cfg(test)]
mod tests;

pub use frame::{FRAME_LEN_MAX, FrameError};
pub use handshake::{HANDSHAKE_LEN, Identity, PROTOCOL_VERSION};
pub use inbox::{Frame, Inbox, Received};
pub use network::{Network, NetworkError};
pub use outbox::{Flushed, Outbox, QUEUED_BYTES_MAX};
