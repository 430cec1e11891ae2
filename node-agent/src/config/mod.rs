//! What there is to serve: Region and Agent objects, read from a directory and followed as they change.
//!
//! `files` reads texts, `objects` holds what is in force, `accept` decides (purely) what of the texts comes into
//! force, `watch` joins the three.

mod accept;
mod changes;
mod files;
mod objects;
mod watch;

pub use accept::{Refusal, accept};
pub use changes::{Change, changes};
pub use files::{Files, Text, read};
pub use objects::{Declared, Objects};
pub use watch::{ConfigError, Watch};

use pagemesh_protocol::AgentId;

/// Who this agent is in its mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: AgentId,
}
