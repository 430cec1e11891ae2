//! The regions that a shard knows, and where their pages lie.

use std::collections::BTreeMap;
use std::sync::Arc;

use pagemesh_protocol::{PageId, RegionId};

use crate::memory::{RegionFile, is_page_size};

/// A region's memory on this node.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) file: Arc<RegionFile>,
    pub(super) page_size: u32,
}

/// A page's place in its region file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) file: &'a RegionFile,
    pub(super) offset: u64,
    pub(super) len: u32,
}

#[derive(Debug, Default)]
pub(super) struct Regions {
    by_id: BTreeMap<RegionId, Region>,
}

impl Regions {
    pub(super) fn insert(&mut self, id: RegionId, region: Region) {
        assert!(is_page_size(region.page_size), "the control path lets in only sizes that pages can have");
        self.by_id.insert(id, region);
    }

    pub(super) fn remove(&mut self, id: RegionId) {
        self.by_id.remove(&id);
    }

    pub(super) fn get(&self, id: RegionId) -> Option<&Region> {
        self.by_id.get(&id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = RegionId> {
        self.by_id.keys().copied()
    }

    /// Where a page is that the protocol speaks of.
    pub(super) fn place(&self, page: PageId) -> Place<'_> {
        let region =
            self.by_id.get(&page.region).expect("the protocol speaks only of regions that it was told of");
        Place { file: &region.file, offset: page.index * u64::from(region.page_size), len: region.page_size }
    }
}
