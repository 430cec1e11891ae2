//! The objects of a cluster, as far as the user may see them.

use kube::api::ListParams;
use pagemesh_crds::{MountTable, Region, validate, validate_mount_table};
use pagemesh_names::{End, Listing, Place, Problem, Remote, Table, Tree, Walk, follow};

use super::Resolved;
use crate::kubernetes::{Cluster, Look, Trouble, Within};

/// The tree of names that they make.
pub(super) struct Objects(Tree);

impl Objects {
    /// Reads them: of the whole cluster, or, if the user may not, of the namespace in which a place is.
    pub(super) async fn read(cluster: &Cluster, place: &Place) -> Result<Objects, Trouble> {
        match Objects::read_within(cluster, Within::Cluster).await {
            Err(Trouble::Forbidden(_)) if !place.namespace.is_empty() => {
                Objects::read_within(cluster, Within::Namespace(&place.namespace)).await
            }
            read => read,
        }
    }

    async fn read_within(cluster: &Cluster, within: Within<'_>) -> Result<Objects, Trouble> {
        let all = ListParams::default();
        let (regions, tables): (Look<Region>, Look<MountTable>) =
            tokio::join!(cluster.list(within, &all), cluster.list(within, &all));
        let (regions, tables) = (regions?, tables?);
        // What agents refuse they do not answer from either.
        let tables = tables.items.iter().filter(|table| validate_mount_table(table).is_ok()).map(Table::from);
        let regions = regions.items.iter().filter_map(|region| Some((&validate(region).ok()?).into()));
        Ok(Objects(Tree::new(tables, regions, matches!(within, Within::Cluster))))
    }

    /// What a path stands for. Name servers outside of the cluster are asked from here.
    pub(super) async fn resolve(&self, place: &Place) -> Resolved {
        let mut walk = Walk::new(place.clone());
        let end = follow::resolve(&self.0, &Remote, &mut walk).await;
        Resolved { trace: walk.into_parts().0, end, by: None }
    }

    /// What is in a context.
    pub(super) async fn list(&self, place: &Place) -> Result<Listing, Problem> {
        let mut walk = Walk::new(place.clone());
        match follow::list(&self.0, &Remote, &mut walk).await? {
            Ok(listing) => Ok(listing),
            Err(End::Region { region, read_only }) => Ok(Listing::of_region(&place.path, region, read_only)),
            Err(End::Context | End::Elsewhere(_)) => Ok(Listing::default()),
        }
    }
}
