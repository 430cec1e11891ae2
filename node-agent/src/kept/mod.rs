//! What outlives the process of an agent: the journals of its shards, which regions are open, and who is attached. All of it is
//! in a directory in the tmpfs of region memory, so that it goes where the memory goes.
//!
//! | file | what |
//! |---|---|
//! | `shard-N.*` | see [`crate::journal`] |
//! | `regions` | the open regions and their files |
//! | `attachment-N` | a process, and where it has mapped what |
//! | `revoked-N` | why it may not have its region any more |
//! | `keepers` | the process that holds the userfaultfds of a pod's programs, by volume |

pub(crate) mod note;
mod process;
mod take_up;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pagemesh_protocol::{Incarnation, Node, Placement, RegionConfig, RegionId};
use serde::{Deserialize, Serialize};

pub use note::VERSION as NOTE_VERSION;
pub use process::{Process, find_userfaultfds};
pub use take_up::{CannotTakeUp, TakenUp, look, take_up};

use crate::journal::{Journal, Recovered};
use crate::shard::Range;
use crate::volume::ByVolume;

/// The directory, in that of region memory.
const DIRECTORY: &str = "state";
const REGIONS: &str = "regions";
const ATTACHMENT: &str = "attachment-";
const REVOKED: &str = "revoked-";
const KEEPERS: &str = "keepers";

/// A region that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRegion {
    /// Name of its file.
    pub file: String,
    /// Bytes of a page.
    pub page_size: u32,
}

/// A process that is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAttachment {
    /// Its number.
    pub id: u64,
    /// What it is attached to.
    pub region: u64,
    /// The same, as `namespace/name`.
    pub name: String,
    /// The process.
    pub process: Process,
    /// Its user.
    pub uid: u32,
    /// Its name, as it was when it attached.
    pub command: String,
    /// UID of its pod, if it is in one.
    pub pod: Option<String>,
    /// The volume that it came by, if it did by one. Absent in what earlier releases wrote, as are the next two.
    #[serde(default)]
    pub by_volume: Option<ByVolume>,
    /// It may only read.
    #[serde(default)]
    pub read_only: bool,
    /// Why it may not have its region any more, if so. In a file of its own, since it is somebody else who writes that.
    #[serde(skip)]
    pub revoked: Option<String>,
    /// The inodes of its userfaultfds, in the order of the shards: each has one of its own.
    pub userfaultfds: Vec<u64>,
    /// What it has mapped.
    pub ranges: Vec<Range>,
}

/// The directory of what is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    dir: PathBuf,
}

impl Kept {
    /// The directory that belongs to one for region memory. It need not be there.
    #[must_use]
    pub fn of(memory_dir: &Path) -> Kept {
        Kept { dir: memory_dir.join(DIRECTORY) }
    }

    /// Makes it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.dir)
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes it and all that is in it. It is there as a whole or not at all.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self) -> io::Result<()> {
        let gone = self.dir.with_extension("gone");
        missing_is_fine(fs::remove_dir_all(&gone))?;
        missing_is_fine(fs::rename(&self.dir, &gone))?;
        missing_is_fine(fs::remove_dir_all(&gone))
    }

    /// Notes which regions are open.
    ///
    /// # Errors
    /// The kernel's; most likely there is no room.
    pub fn note_regions(&self, regions: &BTreeMap<u64, KeptRegion>) -> io::Result<()> {
        note::write(&self.dir.join(REGIONS), regions)
    }

    /// Notes who is attached, and what it has mapped.
    ///
    /// # Errors
    /// The kernel's; most likely there is no room.
    pub fn note_attachment(&self, attachment: &KeptAttachment) -> io::Result<()> {
        note::write(&self.attachment(attachment.id), attachment)
    }

    /// Notes who holds the userfaultfds of a pod's programs, by volume.
    ///
    /// # Errors
    /// The kernel's; most likely there is no room.
    pub fn note_keepers(&self, keepers: &BTreeMap<String, Process>) -> io::Result<()> {
        note::write(&self.dir.join(KEEPERS), keepers)
    }

    /// Notes that an attachment has ended.
    pub fn forget_attachment(&self, id: u64) {
        // One that is there still is looked at and found to have ended.
        let _ = fs::remove_file(self.attachment(id));
        let _ = fs::remove_file(self.revoked(id));
    }

    /// Notes that an attachment may not have its region any more.
    ///
    /// # Errors
    /// The kernel's; most likely there is no room.
    pub fn note_revoked(&self, id: u64, reason: &str) -> io::Result<()> {
        note::write(&self.revoked(id), &reason)
    }

    fn revoked(&self, id: u64) -> PathBuf {
        self.dir.join(format!("{REVOKED}{id}"))
    }

    fn attachment(&self, id: u64) -> PathBuf {
        self.dir.join(format!("{ATTACHMENT}{id}"))
    }
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What the shards of an earlier process know of a region.
#[derive(Clone, Debug)]
pub struct ShardsView {
    /// Its size and coherence.
    pub config: RegionConfig,
    /// The placement that all shards act on.
    pub placement: Placement,
}

/// What all shards know of each region: what the one knows that has heard least.
fn views(shards: &[Recovered]) -> BTreeMap<RegionId, ShardsView> {
    let mut views = BTreeMap::new();
    for node in shards.iter().map(|shard| &shard.node) {
        for (region, config, placement) in node.regions() {
            let view = ShardsView { config: *config, placement: placement.clone() };
            let least = views.entry(region).or_insert_with(|| view.clone());
            // It may have grown for some of them.
            least.config.pages = least.config.pages.max(view.config.pages);
            if view.placement.epoch < least.placement.epoch {
                least.placement = view.placement;
            }
        }
    }
    let all_know = |region: &RegionId| {
        let knows = |node: &Node| node.regions().any(|(known, ..)| known == *region);
        shards.iter().all(|shard| knows(&shard.node))
    };
    for (region, view) in &mut views {
        if !all_know(region) {
            view.placement.epoch = 0;
        }
    }
    views
}

/// The life of the agent that has kept what is in a directory, if it can be read.
#[must_use]
pub fn incarnation(memory_dir: &Path) -> Option<Incarnation> {
    let recovered = Journal::recover(Kept::of(memory_dir).dir(), 0).ok().flatten()?;
    Some(recovered.identity().1)
}
