//! The regions that are open on this node: those that have a file here and that the shards know.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use pagemesh_crds::{NAMESPACE_DEFAULT, ValidRegion};
use pagemesh_protocol::{AgentId, Coherence, Placement, RegionConfig, RegionId};
use tracing::{error, info};

use crate::config::Objects;
use crate::memory::RegionFile;
use crate::shard::{Command, ShardHandle};

/// How the names of region files begin.
pub(crate) const FILE_PREFIX: &str = "region-";

/// What a program gets to be attached to a region.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Its identity.
    pub region: RegionId,
    /// `namespace/name`.
    pub name: String,
    /// Bytes of data, without the header page.
    pub size: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// Its memory on this node.
    pub file: Arc<RegionFile>,
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
}

/// A declared region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionState {
    /// As declared.
    pub region: ValidRegion,
    /// Why programs cannot use it, if they cannot.
    pub not_ready: Option<String>,
}

/// A region that the shards know.
#[derive(Debug)]
struct Open {
    file: Arc<RegionFile>,
    config: RegionConfig,
    placement: Placement,
}

#[derive(Debug)]
pub(super) struct Regions {
    me: AgentId,
    memory_dir: PathBuf,
    open: BTreeMap<RegionId, Open>,
    /// Regions whose file could not be made, and why. Tried again at the next use.
    failed: BTreeMap<RegionId, String>,
}

impl Regions {
    pub(super) fn new(me: AgentId, memory_dir: PathBuf) -> Regions {
        Regions { me, memory_dir, open: BTreeMap::new(), failed: BTreeMap::new() }
    }

    pub(super) fn apply(&mut self, objects: &Objects, shards: &[ShardHandle]) {
        for (id, declared) in objects.regions.iter().filter(|(_, declared)| declared.present) {
            let region = &declared.object;
            let Ok(placement) = objects.placement(region) else { continue };
            // A home serves its directory whether or not anyone is attached here; elsewhere a region costs nothing
            // until its first use.
            let opened = self.open.contains_key(id);
            if opened || placement.homes.contains(&self.me) {
                // The reason stays in `failed`, and has been logged.
                let _ = self.open(*id, region, placement, shards);
            }
        }
    }

    pub(super) fn admit(
        &mut self,
        name: &str,
        objects: &Objects,
        shards: &[ShardHandle],
    ) -> Result<Admission, Denied> {
        let (namespace, name) = name.split_once('/').unwrap_or((NAMESPACE_DEFAULT, name));
        let full = format!("{namespace}/{name}");
        let Some((id, region)) = objects.named(namespace, name) else {
            return Err(Denied::Unknown(full));
        };
        let placement = objects.placement(region);
        let opened = placement.and_then(|placement| self.open(id, region, placement, shards));
        match opened {
            Ok(file) => Ok(Admission {
                region: id,
                name: full,
                size: region.size_bytes,
                page_size: region.page_size_bytes,
                file,
            }),
            Err(reason) => Err(Denied::NotReady { name: full, reason }),
        }
    }

    pub(super) fn list(&self, objects: &Objects) -> Vec<RegionState> {
        let present = objects.regions.iter().filter(|(_, declared)| declared.present);
        let state = |(id, declared): (&RegionId, &crate::config::Declared<ValidRegion>)| {
            let region = declared.object.clone();
            let not_ready = objects.placement(&region).err().or_else(|| self.failed.get(id).cloned());
            RegionState { region, not_ready }
        };
        let mut regions: Vec<_> = present.map(state).collect();
        regions.sort_by(|a, b| {
            (&a.region.namespace, &a.region.name).cmp(&(&b.region.namespace, &b.region.name))
        });
        regions
    }

    pub(super) fn close(&mut self) {
        self.open.clear();
    }

    /// Makes sure that the shards know the region as it is declared now.
    fn open(
        &mut self,
        id: RegionId,
        region: &ValidRegion,
        placement: Placement,
        shards: &[ShardHandle],
    ) -> Result<Arc<RegionFile>, String> {
        // The header page comes first.
        let pages = 1 + region.size_bytes / region.page_size_bytes;
        let config = RegionConfig { pages, coherence: coherence(region.coherence) };
        let file = match self.open.get(&id) {
            Some(open) if open.config == config && open.placement == placement => {
                return Ok(Arc::clone(&open.file));
            }
            Some(open) => Arc::clone(&open.file),
            None => self.create(id, region, pages * region.page_size_bytes)?,
        };
        let page_size = u32::try_from(region.page_size_bytes).expect("a page has at most 2 MiB");
        for shard in shards {
            let (file, placement) = (Arc::clone(&file), placement.clone());
            shard.send(Command::Region { region: id, file, page_size, config, placement });
        }
        self.open.insert(id, Open { file: Arc::clone(&file), config, placement });
        Ok(file)
    }

    fn create(&mut self, id: RegionId, region: &ValidRegion, len: u64) -> Result<Arc<RegionFile>, String> {
        // Labels have no dots, so no two regions share a file.
        let name = format!("{FILE_PREFIX}{}.{}", region.namespace, region.name);
        match RegionFile::create(&self.memory_dir, &name, len) {
            Ok(file) => {
                info!(region.namespace, region.name, bytes = len, "opened the region");
                self.failed.remove(&id);
                Ok(Arc::new(file))
            }
            Err(error) => {
                let reason = format!("its file cannot be made: {error}");
                error!(region.namespace, region.name, reason, "cannot open the region");
                self.failed.insert(id, reason.clone());
                Err(reason)
            }
        }
    }
}

fn coherence(declared: pagemesh_crds::Coherence) -> Coherence {
    match declared {
        pagemesh_crds::Coherence::WriteInvalidate => Coherence::WriteInvalidate,
        pagemesh_crds::Coherence::WriteUpdate => Coherence::WriteUpdate,
    }
}
