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
    /// With each, whether all of them might only read it.
    had: BTreeMap<String, BTreeMap<RegionId, bool>>,
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
            let had = self.had.entry(volume.clone()).or_default();
            *had.entry(attached.id).or_insert(true) &= attached.read_only;
        }
    }

    /// Whether a program of a volume has had a region, and if so, whether all that had it might only read.
    pub(super) fn had(&self, volume: &str, region: RegionId) -> Option<bool> {
        self.had.get(volume)?.get(&region).copied()
    }
}
