//! The volumes of pods: whose sockets are served, and which regions their programs have had.

use std::collections::{BTreeMap, BTreeSet};

use pagemesh_protocol::RegionId;

use super::Attached;
use crate::volume::ByVolume;

/// All of them, by id.
#[derive(Debug, Default)]
pub(super) struct ServedVolumes {
    served: BTreeSet<String>,
    /// What a MountTable has bound a path to, a program knows by the region's own name when it inherits it. The table may bind the
    /// path to another by then, and its parent be gone.
    had: BTreeMap<String, BTreeSet<RegionId>>,
}

impl ServedVolumes {
    pub(super) fn begin(&mut self, volume: &str) {
        self.served.insert(volume.to_owned());
    }

    pub(super) fn end(&mut self, volume: &str) {
        self.served.remove(volume);
        self.had.remove(volume);
    }

    pub(super) fn serves(&self, volume: &str) -> bool {
        self.served.contains(volume)
    }

    /// Notes that a program gets a region.
    pub(super) fn note(&mut self, attached: &Attached) {
        if let Some(ByVolume { volume, .. }) = &attached.by_volume {
            self.had.entry(volume.clone()).or_default().insert(attached.id);
        }
    }

    /// Whether a program of a volume has had a region.
    pub(super) fn had(&self, volume: &str, region: RegionId) -> bool {
        self.had.get(volume).is_some_and(|had| had.contains(&region))
    }
}
