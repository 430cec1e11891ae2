//! Who asks for names, and what that one is shown.

use std::sync::Arc;

use pagemesh_crds::{AccessMode, NAMESPACE_DEFAULT};
use pagemesh_names::proto::Query;
use pagemesh_names::{End, Entry, Listing, Place, Problem, ProblemKind, Region, Tree, Walk, What};

use crate::config::Objects;
use crate::control::{Denied, granted, named};
use crate::volume::{PodIdentity, Volume};

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
        let place = Place::parse(own.0, path)?.with_table(own.1)?;
        if place.namespace != *own.0 {
            let reason =
                format!("a pod is not shown {place}: it sees its own namespace, and the contexts in it");
            return Err(Problem::new(ProblemKind::NotFound, reason));
        }
        Ok(place)
    }

    /// What is shown of what a walk has ended at.
    pub(super) fn end(&self, end: End, walk: &Walk, tree: &Tree, objects: &Objects) -> Result<End, Problem> {
        let Asker::Pod(volume) = self else { return Ok(end) };
        if matches!(end, End::Region { .. }) && walk.trace().is_empty() {
            check_named(volume, walk.place(), tree)?;
        }
        match end {
            // What another server has is not ours to hide.
            End::Region { region, read_only } if walk.place().server.is_none() => {
                let read_only = reads_only(&volume.pod, &region, read_only, objects)?;
                Ok(End::Region { region, read_only })
            }
            end @ (End::Region { .. } | End::Context | End::Elsewhere(_)) => Ok(end),
        }
    }

    /// The same of what is in a context. What others have there, and the pod may not attach to, it is not told of.
    pub(super) fn listing(
        &self,
        mut listing: Listing,
        walk: &Walk,
        tree: &Tree,
        objects: &Objects,
    ) -> Listing {
        let Asker::Pod(volume) = self else { return listing };
        if walk.place().server.is_some() {
            return listing;
        }
        let is_own = walk.place().namespace == volume.pod.namespace;
        let named = |entry: &Entry| {
            let place = Place { path: entry.name.clone(), ..walk.place().clone() };
            !walk.place().path.is_empty() || check_named(volume, &place, tree).is_ok()
        };
        let shown = |entry: Entry| match entry.what {
            What::Region { .. } if walk.trace().is_empty() && !named(&entry) => None,
            What::Region { region, read_only } => {
                let what = match reads_only(&volume.pod, &region, read_only, objects) {
                    Ok(read_only) => What::Region { region, read_only },
                    Err(problem) if is_own => What::Dangling(problem),
                    Err(_) => return None,
                };
                Some(Entry { what, ..entry })
            }
            What::Context | What::Delegated(_) | What::Dangling(_) => Some(entry),
        };
        listing.entries = listing.entries.into_iter().filter_map(shown).collect();
        listing
    }
}

/// Checks that a pod would be let in by the name of the Region that is at a place, where no table binds it.
fn check_named(volume: &Volume, place: &Place, tree: &Tree) -> Result<(), Problem> {
    if tree.binds(place)? || named(volume, &place.path).is_some() {
        return Ok(());
    }
    let reason = Denied::NotInVolume(place.path.clone()).to_string();
    Err(Problem::new(ProblemKind::NotFound, reason))
}

/// Whether a pod that attaches by a path may only read.
fn reads_only(pod: &PodIdentity, region: &Region, asks: bool, objects: &Objects) -> Result<bool, Problem> {
    let Region { namespace, name, .. } = region;
    let declared = objects.named(namespace, name);
    match declared.and_then(|(_, declared)| granted(&declared.access, pod, asks)) {
        Some(mode) => Ok(mode == AccessMode::ReadOnly),
        None => {
            let reason = format!(
                "service account {}/{} may not attach to region {namespace}/{name}: allow it in spec.access of the Region",
                pod.namespace, pod.service_account
            );
            Err(Problem::new(ProblemKind::NotFound, reason))
        }
    }
}
