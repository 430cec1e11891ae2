//! What there is to serve: Region and Agent objects, from a directory or from the API server, followed as they change.
//!
//! Two sources, one judge. `files` and `watch` read and follow a directory, `api` follows the API server; either gives
//! `source`s. `accept` and `follow` decide (purely) what of them comes into force, `objects` holds that, `in_force` goes
//! from one state to the next.

mod accept;
mod api;
mod changes;
mod files;
mod follow;
mod in_force;
mod objects;
mod source;
mod watch;

pub use accept::{Refusal, accept};
pub use api::{Api, OwnAgent};
pub use changes::{Change, changes};
pub use files::{Files, Text, read};
pub use in_force::InForce;
pub use objects::{Declared, Life, Objects, Part, Unplaced};
pub use source::{Deleting, Source, Sources, Unreadable, of_api, of_files};
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
