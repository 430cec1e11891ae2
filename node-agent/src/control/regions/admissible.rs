//! Whether programs can be attached to a region.

use std::sync::Arc;

use pagemesh_crds::ValidRegion;
use pagemesh_protocol::RegionId;

use super::super::admission::{Admission, Asked, Denied, Who};
use super::super::reach::Reach;
use super::super::{Attached, access};
use super::Regions;
use crate::config::{Objects, Part};

const CLOSED: &str = "it was closed while the program attached to it; start the program again";

/// A region that a program may be attached to.
pub(super) struct Admissible<'a> {
    pub(super) id: RegionId,
    /// `namespace/name`.
    pub(super) full: String,
    pub(super) region: &'a ValidRegion,
    pub(super) part: Part,
    /// Who asked may only read.
    pub(super) read_only: bool,
}

impl Regions {
    /// Whether a program could be attached to a region, as far as can be said without opening it.
    pub(in super::super) fn check(
        &self,
        name: &str,
        who: Who<'_>,
        objects: &Objects,
        reach: &Reach,
    ) -> Result<(), Denied> {
        let Admissible { id, full, .. } = self.admissible(Asked::named(name), who, objects, reach)?;
        match self.failed.get(&id) {
            Some(reason) => Err(Denied::NotReady { name: full, reason: reason.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn admissible<'a>(
        &self,
        asked: Asked<'_>,
        who: Who<'_>,
        objects: &'a Objects,
        reach: &Reach,
    ) -> Result<Admissible<'a>, Denied> {
        let (full, asks_to_read) = who.names(asked)?;
        let Some((id, region)) = objects.named_in_full(&full) else {
            return Err(Denied::Unknown(full));
        };
        // Before anything else is told of it.
        let read_only = who.may_only_read(&full, region, asks_to_read)?;
        if region.deleting {
            return Err(Denied::Deleting(full));
        }
        if let Some(reason) = self.away(region, objects, reach) {
            return Err(Denied::NotReady { name: full, reason });
        }
        match objects.part(region, &self.life) {
            Ok(part) => Ok(Admissible { id, full, region, part, read_only }),
            Err(error) => Err(Denied::NotReady { name: full, reason: error.to_string() }),
        }
    }
    /// Whether who was admitted may still have what it was admitted to.
    pub(in super::super) fn still_admits(
        &self,
        admission: &Admission,
        attached: &Attached,
        objects: &Objects,
    ) -> Result<(), Denied> {
        let name = admission.name.clone();
        let Some(region) = objects.region(admission.region) else {
            return Err(Denied::Unknown(name));
        };
        if let Some(reason) = access::lost(attached, region) {
            return Err(Denied::Lost(reason));
        }
        if region.deleting {
            return Err(Denied::Deleting(name));
        }
        match self.open.get(&admission.region) {
            Some(open) if Arc::ptr_eq(&open.file, &admission.file) => Ok(()),
            // If it is open, it has another file.
            Some(_) | None => Err(Denied::NotReady { name, reason: CLOSED.into() }),
        }
    }
}
