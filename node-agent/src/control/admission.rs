//! What a program gets that wants to be attached, or why it gets nothing.

use std::sync::Arc;

use pagemesh_protocol::RegionId;

use crate::memory::RegionFile;

/// What a program gets to be attached to a region.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Its identity.
    pub region: RegionId,
    /// `namespace/name`.
    pub name: String,
    /// Bytes of data, without the header page, as of now: it may grow.
    pub size: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// Its memory on this node.
    pub file: Arc<RegionFile>,
    /// The trace that the region's latest change belongs to.
    pub traceparent: Option<String>,
}

/// Why a program cannot be attached to a region. Each is a sentence for the program's log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It is not declared.
    #[error("region {0} is not declared: add a Region object of that name")]
    Unknown(String),
    /// It is declared but cannot be used.
    #[error("region {name} is not ready: {reason}")]
    NotReady {
        /// `namespace/name`.
        name: String,
        /// Why.
        reason: String,
    },
    /// The agent is about to end.
    #[error(
        "the agent of this node is ending: start the program again when its successor runs, or on another node"
    )]
    Stopping,
}
