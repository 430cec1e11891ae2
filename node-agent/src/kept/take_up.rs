//! Takes up what an earlier process of this agent has kept: all of it or nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pagemesh_protocol::{AgentId, Incarnation, RegionId};
use thiserror::Error;

use super::{
    ATTACHMENT, KEEPERS, Kept, KeptAttachment, KeptRegion, Process, REGIONS, ShardsView, note, views,
};
use crate::journal::{Damaged, Journal, Recovered};

/// What an earlier process has kept.
#[derive(Debug)]
pub struct TakenUp {
    /// Its life, which goes on.
    pub incarnation: Incarnation,
    /// Its shards.
    pub shards: Vec<Recovered>,
    /// The regions that its shards knew, and those of which it has kept the file.
    pub regions: BTreeMap<RegionId, (ShardsView, Option<KeptRegion>)>,
    /// Who was attached.
    pub attachments: Vec<KeptAttachment>,
    /// Who holds the userfaultfds of a pod's programs, by volume.
    pub keepers: BTreeMap<String, Process>,
}

/// Why what was kept cannot be taken up.
#[derive(Debug, Error)]
pub enum CannotTakeUp {
    /// Of a shard.
    #[error(transparent)]
    Shard(#[from] Damaged),
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{0} is damaged: its checksum is wrong, or it was cut short")]
    Damaged(PathBuf),
    /// Another version of the agent wrote a file.
    #[error("{0} is of a version that this agent does not know: run the version that wrote it")]
    Version(PathBuf),
    /// Another number of shards, or shards of different lives.
    #[error("it was kept by {found} shards, and this agent has {want}: run it with the same --shards")]
    Shards {
        /// How many were found.
        found: usize,
        /// How many this agent has.
        want: usize,
    },
    /// Of another agent.
    #[error("it was kept by agent {}, or not all of it in one life of it", .0.0)]
    Another(AgentId),
}

impl CannotTakeUp {
    /// Whether another version of the agent can take it up.
    #[must_use]
    pub fn is_of_another_version(&self) -> bool {
        matches!(self, CannotTakeUp::Shard(Damaged::Version { .. }) | CannotTakeUp::Version(_))
    }
}

/// Reads what was kept beside region memory. None if nothing was.
///
/// # Errors
/// Something was, but it cannot be relied on as a whole.
pub fn take_up(memory_dir: &Path, me: AgentId, shards: u16) -> Result<Option<TakenUp>, CannotTakeUp> {
    let Some(taken_up) = read_all(memory_dir)? else { return Ok(None) };
    let found = taken_up.shards.len();
    if found != usize::from(shards) {
        return Err(CannotTakeUp::Shards { found, want: shards.into() });
    }
    match taken_up.shards[0].identity().0 {
        kept_by if kept_by == me => Ok(Some(taken_up)),
        another => Err(CannotTakeUp::Another(another)),
    }
}

/// Whether something was kept beside region memory that can be taken up.
///
/// # Errors
/// Something was, but it cannot be relied on as a whole.
pub fn look(memory_dir: &Path) -> Result<bool, CannotTakeUp> {
    read_all(memory_dir).map(|found| found.is_some())
}

fn read_all(memory_dir: &Path) -> Result<Option<TakenUp>, CannotTakeUp> {
    let kept = Kept::of(memory_dir);
    let mut shards: Vec<Recovered> = Vec::new();
    while let Some(shard) = Journal::recover(&kept.dir, shards.len() as u16)? {
        shards.push(shard);
    }
    let Some((me, incarnation)) = shards.first().map(Recovered::identity) else { return Ok(None) };
    if shards.iter().any(|shard| shard.identity() != (me, incarnation)) {
        return Err(CannotTakeUp::Another(me));
    }
    let (views, files) = (views(&shards), read(&kept.dir.join(REGIONS))?);
    if files.is_none() && !views.is_empty() {
        return Err(CannotTakeUp::Damaged(kept.dir.join(REGIONS)));
    }
    let mut files: BTreeMap<u64, KeptRegion> = files.unwrap_or_default();
    let regions = views.into_iter().map(|(id, view)| (id, (view, files.remove(&id.0)))).collect();
    let mut attachments = attachments(&kept.dir)?;
    for attachment in &mut attachments {
        attachment.revoked = read(&kept.revoked(attachment.id))?;
    }
    let keepers = read(&kept.dir.join(KEEPERS))?.unwrap_or_default();
    Ok(Some(TakenUp { incarnation, regions, attachments, keepers, shards }))
}

fn attachments(dir: &Path) -> Result<Vec<KeptAttachment>, CannotTakeUp> {
    let failed = |source| CannotTakeUp::Io { path: dir.into(), source };
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(ATTACHMENT) && !name.ends_with(".new") {
            all.extend(read(&entry.path())?);
        }
    }
    all.sort_by_key(|attachment: &KeptAttachment| attachment.id);
    Ok(all)
}

/// None if the file is not there.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, CannotTakeUp> {
    match note::read(path) {
        Ok(note::Found::Value(value)) => Ok(Some(value)),
        Ok(note::Found::Foreign) => Err(CannotTakeUp::Version(path.into())),
        Ok(note::Found::Damaged) => Err(CannotTakeUp::Damaged(path.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CannotTakeUp::Io { path: path.into(), source }),
    }
}
