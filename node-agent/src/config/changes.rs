//! What a new state of the objects changes, for the log.

use std::collections::BTreeMap;
use std::fmt;

use pagemesh_crds::ValidRegion;

use super::{Declared, Objects};

/// One difference between two states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `Region`, `Agent` or `MountTable`.
    pub kind: &'static str,
    /// Its name, with the namespace if it has one.
    pub name: String,
    /// What happened to it.
    pub what: What,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is in force now and was not.
    Declared,
    /// It is not what it was.
    Changed,
    /// It is not in force any more.
    Removed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Declared => "declared",
            What::Changed => "changed",
            What::Removed => "removed",
        };
        write!(f, "{} {} {what}", self.kind, self.name)
    }
}

/// Lists the differences, in the order of names. Moving an object to another source is none.
#[must_use]
pub fn changes(old: &Objects, new: &Objects) -> Vec<Change> {
    let region_name =
        |declared: &Declared<ValidRegion>| format!("{}/{}", declared.object.namespace, declared.object.name);
    let regions = differences(&old.regions, &new.regions).map(|(_, declared, what)| Change {
        kind: "Region",
        name: region_name(declared),
        what,
    });
    let agents = differences(&old.agents, &new.agents).map(|(name, _, what)| Change {
        kind: "Agent",
        name: name.clone(),
        what,
    });
    let tables = differences(&old.tables, &new.tables).map(|((namespace, name), _, what)| Change {
        kind: "MountTable",
        name: format!("{namespace}/{name}"),
        what,
    });
    let mut changes: Vec<_> = regions.chain(agents).chain(tables).collect();
    changes.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    changes
}

fn differences<'a, K: Ord, T: PartialEq>(
    old: &'a BTreeMap<K, Declared<T>>,
    new: &'a BTreeMap<K, Declared<T>>,
) -> impl Iterator<Item = (&'a K, &'a Declared<T>, What)> {
    let there = new.iter().filter_map(|(key, declared)| {
        let what = difference(old.get(key), declared)?;
        Some((key, declared, what))
    });
    // Those that were forgotten altogether.
    let gone = old.iter().filter(|(key, declared)| declared.present && !new.contains_key(key));
    there.chain(gone.map(|(key, declared)| (key, declared, What::Removed)))
}

fn difference<T: PartialEq>(old: Option<&Declared<T>>, new: &Declared<T>) -> Option<What> {
    let old = old.filter(|declared| declared.present);
    match (old, new.present) {
        (None, true) => Some(What::Declared),
        (Some(_), false) => Some(What::Removed),
        (Some(old), true) => (old.object != new.object).then_some(What::Changed),
        (None, false) => None,
    }
}
