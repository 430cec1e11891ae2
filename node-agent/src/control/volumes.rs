//! The volumes of pods: whose sockets are served, and which regions their programs have had.

use std::collections::{BTreeMap, BTreeSet};

use super::Attached;
use crate::volume::ByVolume;

/// Regions by their full names, and whether programs had them to read only.
type Had = BTreeMap<String, bool>;

/// All of them, by id.
#[derive(Debug, Default)]
pub(super) struct ServedVolumes {
    served: BTreeSet<String>,
    /// What a MountTable has bound a path to, a program knows by the region's own name when it inherits it. The table may bind the
    /// path to another by then, and its parent be gone.
    had: BTreeMap<String, Had>,
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
        let Some(ByVolume { volume, .. }) = &attached.by_volume else { return };
        let had = self.had.entry(volume.clone()).or_default();
        let read_only = had.entry(attached.region.clone()).or_insert(true);
        *read_only &= attached.read_only;
    }

    /// Whether a program of a volume has had the region of this full name, and if so, whether only to read.
    pub(super) fn had(&self, volume: &str, region: &str) -> Option<bool> {
        self.had.get(volume)?.get(region).copied()
    }
}
