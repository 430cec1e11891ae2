//! What a new state of the objects changes, for the log.

use std::fmt;

use pagemesh_protocol::RegionId;

use super::{Declared, Objects};

/// One difference between two states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `Region` or `Agent`.
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

/// Lists the differences, in the order of names. Moving an object to another file is none.
#[must_use]
pub fn changes(old: &Objects, new: &Objects) -> Vec<Change> {
    // Objects are never forgotten, so whatever the old state knows the new one knows too.
    let regions = new.regions.iter().filter_map(|(id, declared): (&RegionId, _)| {
        let what = difference(old.regions.get(id), declared)?;
        let name = format!("{}/{}", declared.object.namespace, declared.object.name);
        Some(Change { kind: "Region", name, what })
    });
    let agents = new.agents.iter().filter_map(|(name, declared)| {
        let what = difference(old.agents.get(name), declared)?;
        Some(Change { kind: "Agent", name: name.clone(), what })
    });
    let mut changes: Vec<_> = regions.chain(agents).collect();
    changes.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    changes
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
