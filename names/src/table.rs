//! What a tree is made of.

use std::collections::BTreeMap;

use pagemesh_crds::{DelegatedContext, MountTable, NAMESPACE_DEFAULT, ValidRegion};

use crate::Place;

/// A Region that a name server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Kubernetes' own identity of it, where there is one.
    pub uid: Option<String>,
    /// Number of its placement; 0 if nobody has placed it.
    pub epoch: u64,
}

impl From<&ValidRegion> for Region {
    fn from(region: &ValidRegion) -> Region {
        Region {
            namespace: region.namespace.clone(),
            name: region.name.clone(),
            uid: region.uid.clone(),
            epoch: region.placement.as_ref().map_or(0, |placement| placement.epoch),
        }
    }
}

/// A mount: which Region, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) read_only: bool,
}

/// A MountTable, ready to be looked up in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// It is to be the namespace's default one.
    pub default: bool,
    /// When it was made, as text that sorts; empty without Kubernetes.
    pub created: String,
    pub(crate) mounts: BTreeMap<String, Target>,
    pub(crate) contexts: BTreeMap<String, Place>,
}

impl From<&MountTable> for Table {
    /// Of a table that [`pagemesh_crds::validate_mount_table`] has found good.
    fn from(table: &MountTable) -> Table {
        let metadata = &table.metadata;
        let namespace = metadata.namespace.clone().unwrap_or_else(|| NAMESPACE_DEFAULT.into());
        let mounts = table.spec.mounts.iter().map(|mount| {
            let target = Target {
                namespace: mount.namespace.clone().unwrap_or_else(|| namespace.clone()),
                name: mount.region.clone(),
                read_only: mount.read_only,
            };
            (mount.path.clone(), target)
        });
        let contexts = table.spec.contexts.iter().map(|context| (context.path.clone(), target(context)));
        Table {
            name: metadata.name.clone().unwrap_or_default(),
            default: table.spec.default,
            created: metadata.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default(),
            mounts: mounts.collect(),
            contexts: contexts.collect(),
            namespace,
        }
    }
}

fn target(context: &DelegatedContext) -> Place {
    let namespace = context.namespace.as_deref().unwrap_or_default();
    match &context.delegate {
        Some(delegate) => {
            Place { server: Some(delegate.to.clone()), ..Place::in_namespace(&delegate.context, "") }
        }
        None => Place::in_namespace(namespace, ""),
    }
}

impl Table {
    /// Whether something is bound below `path`.
    pub(crate) fn is_above_something(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let first =
            |keys: &mut dyn Iterator<Item = &String>| keys.next().is_some_and(|key| key.starts_with(&below));
        first(&mut self.mounts.range(below.clone()..).map(|(key, _)| key))
            || first(&mut self.contexts.range(below.clone()..).map(|(key, _)| key))
    }
}
