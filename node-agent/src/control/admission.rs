//! What a program gets that wants to be attached, or why it gets nothing.

use std::sync::Arc;

use pagemesh_crds::{AccessMode, NAMESPACE_DEFAULT, ValidRegion};
use pagemesh_protocol::RegionId;

use super::access;
use crate::memory::RegionFile;
use crate::volume::Volume;

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
    /// Who asked may only read.
    pub read_only: bool,
}

/// What somebody asks to be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Its name.
    pub name: &'a str,
    /// What kind of name that is.
    pub by: By,
    /// To read only, whatever who asks may.
    pub read_only: bool,
}

/// By which name somebody asks for a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// As programs call it: `NAME` or `NAMESPACE/NAME`.
    Name,
    /// `namespace/name`, to which a MountTable has bound what the program said.
    Mount,
    /// `namespace/name`, which a process has of its parent, or had before an `exec`. Of what paths stand for by now it knows
    /// nothing.
    Inheritance,
}

impl<'a> Asked<'a> {
    /// A region as programs call it.
    #[must_use]
    pub fn named(name: &'a str) -> Asked<'a> {
        Asked { name, by: By::Name, read_only: false }
    }
}

/// Who asks to be attached.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// A process that reached the node's own socket. It may whatever is declared.
    OfTheNode,
    /// A process of this volume's pod.
    OfVolume(&'a Volume),
}

impl Who<'_> {
    /// The full name of the region that is meant, and whether to read it only.
    pub(super) fn names(&self, asked: Asked<'_>) -> Result<(String, bool), Denied> {
        let Asked { name, by, read_only } = asked;
        let named = match self {
            Who::OfTheNode => None,
            Who::OfVolume(volume) => access::named(volume, name),
        };
        let less = read_only || named.is_some_and(|named| named.read_only);
        match (by, self, named) {
            // The volume need not name it, for what is mounted may change; its access holds all the same.
            (By::Mount | By::Inheritance, _, _) => Ok((name.to_owned(), less)),
            (By::Name, Who::OfTheNode, _) if name.contains('/') => Ok((name.to_owned(), less)),
            (By::Name, Who::OfTheNode, _) => Ok((format!("{NAMESPACE_DEFAULT}/{name}"), less)),
            (By::Name, Who::OfVolume(_), Some(named)) => Ok((named.name.clone(), less)),
            (By::Name, Who::OfVolume(_), None) => Err(Denied::NotInVolume(name.to_owned())),
        }
    }

    /// Whether it may only read; an error if not even that.
    pub(super) fn may_only_read(&self, name: &str, region: &ValidRegion, asks: bool) -> Result<bool, Denied> {
        let Who::OfVolume(volume) = self else { return Ok(asks) };
        match access::granted(&region.access, &volume.pod, asks) {
            Some(mode) => Ok(mode == AccessMode::ReadOnly),
            None => {
                let account = format!("{}/{}", volume.pod.namespace, volume.pod.service_account);
                Err(Denied::Forbidden { name: name.to_owned(), account })
            }
        }
    }
}

/// Why a program cannot be attached to a region. Each is a sentence for the program's log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It is not declared.
    #[error("region {0} is not declared: add a Region object of that name")]
    Unknown(String),
    /// The pod has a volume, which does not name it.
    #[error("this pod's volume does not name region {0}: add it to the regions that the pod asks for")]
    NotInVolume(String),
    /// A MountTable binds the path, but to nothing.
    #[error("{0}")]
    LeadsNowhere(String),
    /// The path is that of a context.
    #[error("`{0}` is a context, and no region: `pagemesh ls {0}` shows what is in it")]
    Context(String),
    /// What the path stands for cannot be told now.
    #[error("{0}")]
    NotKnownYet(String),
    /// The pod may not.
    #[error(
        "service account {account} may not attach to region {name}: allow it in spec.access of the Region"
    )]
    Forbidden {
        /// `namespace/name`.
        name: String,
        /// `namespace/name`.
        account: String,
    },
    /// The pod might when it asked, and what it was about to get it may not have any more.
    #[error("{0}")]
    Lost(String),
    /// It came by a volume that is gone.
    #[error("{}", super::VOLUME_GONE)]
    VolumeGone,
    /// It is declared but cannot be used.
    #[error("region {name} is not ready: {reason}")]
    NotReady {
        /// `namespace/name`.
        name: String,
        /// Why.
        reason: String,
    },
    /// It is being deleted.
    #[error("region {0} is being deleted, and nobody may attach any more")]
    Deleting(String),
    /// The agent is about to end.
    #[error(
        "the agent of this node is ending: start the program again when its successor runs, or on another node"
    )]
    Stopping,
}
