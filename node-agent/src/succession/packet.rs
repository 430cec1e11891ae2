//! What the two say to each other: one packet each, in JSON, so that versions that know different fields understand each other.

use pagemesh_protocol::STATE_VERSION;
use serde::{Deserialize, Serialize};

use crate::kept;

/// What a successor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ask {
    /// The latest version of a shard's state that it can read, and the earliest.
    pub(super) state_version: u32,
    pub(super) state_version_min: u32,
    /// The version of the notes beside it.
    pub(super) note_version: u32,
    /// How many shards it has.
    pub(super) shards: u16,
    /// Its release, for the log.
    pub(super) release: String,
}

impl Ask {
    pub(super) fn of_this_agent(shards: u16) -> Ask {
        Ask {
            state_version: STATE_VERSION,
            state_version_min: STATE_VERSION,
            note_version: kept::NOTE_VERSION,
            shards,
            release: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// Why an agent with so many shards cannot hand over to whoever asks this.
    pub(super) fn misfit(&self, shards: u16) -> Option<String> {
        let Ask { state_version, state_version_min, note_version, shards: theirs, release } = self;
        if !(*state_version_min..=*state_version).contains(&STATE_VERSION) {
            return Some(format!(
                "release {release} reads state of versions {state_version_min} to {state_version}, and this agent keeps \
                 {STATE_VERSION}: go by way of a release that knows both"
            ));
        }
        if *note_version != kept::NOTE_VERSION {
            return Some(format!(
                "release {release} reads notes of version {note_version}, and this agent keeps {}: go by way of a release \
                 that knows both",
                kept::NOTE_VERSION
            ));
        }
        (*theirs != shards).then(|| {
            format!("it has {theirs} shards, and this agent {shards}: the number can change only when no program is attached")
        })
    }
}

/// What its predecessor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Answer {
    /// It stays. Why, in one sentence.
    Refused(String),
    /// All is the successor's. The locks of the two directories come with it.
    Yours {
        /// When it began to end, on the clock that all processes of the machine share, in nanoseconds.
        stopped_nanos: u64,
    },
}
