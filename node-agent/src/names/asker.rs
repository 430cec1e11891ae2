//! Who asks for names, and what that one is shown.

use std::collections::BTreeSet;
use std::sync::Arc;

use pagemesh_crds::{AccessMode, NAMESPACE_DEFAULT};
use pagemesh_names::proto::Query;
use pagemesh_names::{End, Entry, Listing, Place, Problem, ProblemKind, Region, Tree, Walk, What};

use super::mount::declared;
use crate::config::Objects;
use crate::control::{Denied, granted, named};
use crate::volume::{Volume, VolumeRegion};

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    /// Whoever reaches the agent's own sockets. All is shown.
    Anybody,
    /// The pod of this volume. It sees the tree of its namespace, and of Regions those that it may attach to.
    Pod(Arc<Volume>),
}

impl Asker {
    /// Where to look.
    pub(super) fn place(&self, query: &Query) -> Result<Place, Problem> {
        let Query { namespace, table, path, .. } = query;
        let Asker::Pod(volume) = self else {
            let namespace = if namespace.is_empty() { NAMESPACE_DEFAULT } else { namespace };
            return Place::parse(namespace, path)?.with_table(table);
        };
        let own = (&volume.pod.namespace, volume.table.as_deref().unwrap_or_default());
        if (!namespace.is_empty() && namespace != own.0) || (!table.is_empty() && table != own.1) {
            let reason = format!(
                "this pod looks up names in its own namespace, {}, and table: leave the namespace and the table out",
                own.0
            );
            return Err(Problem::new(ProblemKind::BadPath, reason));
        }
        let place = Place::parse(own.0, path)?;
        if place.namespace != *own.0 {
            let reason =
                format!("a pod is not shown {place}: it sees its own namespace, and the contexts in it");
            return Err(Problem::new(ProblemKind::NotFound, reason));
        }
        // From the root or not, it is what a program of the pod opens.
        Place { own: true, ..place }.with_table(own.1)
    }

    /// The pod that it is, by its UID.
    pub(super) fn pod(&self) -> Option<&str> {
        match self {
            Asker::Anybody => None,
            Asker::Pod(volume) => Some(&volume.pod.uid),
        }
    }

    /// What a pod is let in to by a Region's own name; `None` if the tree says what is at that place. Of a Region that the pod's
    /// volume does not name it is not said whether there is one, as at attaching.
    pub(super) fn by_own_name(
        &self,
        place: &Place,
        tree: &Tree,
        objects: &Objects,
    ) -> Result<Option<End>, Problem> {
        let Asker::Pod(volume) = self else { return Ok(None) };
        if place.path.is_empty() || place.server.is_some() || !place.own || tree.binds(place)? {
            return Ok(None);
        }
        let Some(VolumeRegion { name, read_only }) = named(volume, &place.path) else {
            return Err(not_found(Denied::NotInVolume(place.path.clone())));
        };
        let Some((_, declared)) = objects.named_in_full(name) else {
            return Err(not_found(Denied::Unknown(name.clone())));
        };
        let region = Region::from(declared);
        let read_only = reads_only(volume, &region, *read_only, objects)?;
        Ok(Some(End::Region { region, read_only }))
    }

    /// What is shown of what a walk has ended at.
    pub(super) fn end(&self, end: End, objects: &Objects) -> Result<End, Problem> {
        let Asker::Pod(volume) = self else { return Ok(end) };
        let End::Region { region, read_only } = end else { return Ok(end) };
        let read_only = reads_only(volume, &region, read_only, objects)?;
        Ok(End::Region { region, read_only })
    }

    /// What is told of why nothing is there. Of what others have in their contexts a pod is not told whether it is there.
    pub(super) fn problem(&self, problem: Problem, walk: &Walk) -> Problem {
        match (self, walk.trace().first()) {
            (Asker::Pod(_), Some(referral)) if problem.kind == ProblemKind::NotFound => {
                let reason = format!("there is nothing at {} that this pod may attach to", referral.from);
                Problem::new(ProblemKind::NotFound, reason)
            }
            (Asker::Pod(_) | Asker::Anybody, _) => problem,
        }
    }

    /// The same of what is in a context. What others have there, and the pod may not attach to, it is not told of.
    pub(super) fn listing(&self, listing: Listing, walk: &Walk, tree: &Tree, objects: &Objects) -> Listing {
        let Asker::Pod(volume) = self else { return listing };
        let is_own = walk.trace().is_empty();
        let shown = |entry: Entry| match entry.what {
            What::Region { region, read_only } => {
                // By its own name: added below.
                if is_own && !tree.binds(&walk.place().below(&entry.name)).unwrap_or(false) {
                    return None;
                }
                let what = match reads_only(volume, &region, read_only, objects) {
                    Ok(read_only) => What::Region { region, read_only },
                    Err(problem) if is_own => What::Dangling(problem),
                    Err(_) => return None,
                };
                Some(Entry { what, ..entry })
            }
            What::Dangling(_) if !is_own => None,
            What::Context | What::Delegated(_) | What::Dangling(_) => Some(entry),
        };
        let mut entries: Vec<Entry> = listing.entries.into_iter().filter_map(shown).collect();
        if is_own && walk.place().path.is_empty() {
            let names = volume.regions.iter().filter_map(|region| region.name.split_once('/'));
            for name in names.map(|(_, name)| name).collect::<BTreeSet<_>>() {
                let what = match self.by_own_name(&walk.place().below(name), tree, objects) {
                    Ok(Some(End::Region { region, read_only })) => What::Region { region, read_only },
                    Ok(_) => continue,
                    Err(problem) => What::Dangling(problem),
                };
                entries.push(Entry { name: name.to_owned(), what });
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let notes = if is_own { listing.notes } else { Vec::new() };
        Listing { entries, notes, ..listing }
    }
}

fn not_found(denied: Denied) -> Problem {
    Problem::new(ProblemKind::NotFound, denied.to_string())
}

/// Whether a pod that attaches by a path may only read.
fn reads_only(volume: &Volume, region: &Region, bound: bool, objects: &Objects) -> Result<bool, Problem> {
    let Region { namespace, name, .. } = region;
    let full = format!("{namespace}/{name}");
    let asks = bound || named(volume, &full).is_some_and(|named| named.read_only);
    // One that another server tells of may be of another mesh.
    match declared(region, objects).and_then(|declared| granted(&declared.access, &volume.pod, asks)) {
        Some(mode) => Ok(mode == AccessMode::ReadOnly),
        None => {
            let account = format!("{}/{}", volume.pod.namespace, volume.pod.service_account);
            Err(not_found(Denied::Forbidden { name: full, account }))
        }
    }
}
