//! What of what is declared comes into force. A source (a file, an object of the API server) does so as a whole or not at
//! all, so that what belongs together stays so.

use std::collections::BTreeSet;
use std::fmt;

use pagemesh_crds::{
    FieldError, Object, ValidAgent, ValidRegion, validate, validate_agent, validate_mount_table,
};
use pagemesh_names::Table;
use pagemesh_protocol::RegionId;

use super::follow::{check_agent, check_region};
use super::{Declared, Deleting, Me, Objects, Source, Sources, Unreadable};

/// Why a source was refused: one line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What declares it: a file's name, or the object's.
    pub source: String,
    /// Line in it, where it is known.
    pub line: Option<u64>,
    /// The object, as in `Region default/table`, where it is known.
    pub object: Option<String>,
    /// The field, as in `spec.size`, where it is known.
    pub field: Option<String>,
    /// What is wrong and what to do.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(object) = &self.object {
            write!(f, ", {object}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ", field {field}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// An object that has passed the checks that need no other object.
enum Valid {
    Region(ValidRegion),
    Agent(ValidAgent),
    Table(Table),
}

impl Valid {
    fn name(&self) -> String {
        match self {
            Valid::Region(region) => format!("Region {}/{}", region.namespace, region.name),
            Valid::Agent(agent) => format!("Agent {}", agent.name),
            Valid::Table(table) => format!("MountTable {}/{}", table.namespace, table.name),
        }
    }
}

/// Decides what is in force after `last`, when `sources` is all that is declared. A source that is refused leaves the
/// objects that came from it as they were.
#[must_use]
pub fn accept(last: &Objects, sources: &Sources, me: &Me) -> (Objects, Vec<Refusal>) {
    let mut next = last.clone();
    next.regions.values_mut().for_each(|declared| declared.present = false);
    next.agents.values_mut().for_each(|declared| declared.present = false);
    next.tables.clear();
    next.names.clear();

    let mut refusals = Vec::new();
    let mut good = Vec::new();
    for (name, source) in sources {
        match check_alone(name, source, last, me) {
            Ok(objects) => good.push((name, objects)),
            Err(refusal) => refusals.push(refusal),
        }
    }
    let refused: BTreeSet<&str> = refusals.iter().map(|refusal| refusal.source.as_str()).collect();
    keep(&mut next, last, sources, |source| refused.contains(source));
    // What stays comes before what is new: a new source does not unseat an object that another has in force.
    good.sort_by_key(|(source, objects)| !objects.iter().any(|object| is_from(last, object, source)));
    for (source, objects) in good {
        match gather(&next, source, objects) {
            Ok(mut own) => {
                next.regions.append(&mut own.regions);
                next.agents.append(&mut own.agents);
                next.tables.append(&mut own.tables);
                next.names.append(&mut own.names);
            }
            Err(refusal) => {
                keep(&mut next, last, sources, |name| name == source);
                refusals.push(refusal);
            }
        }
    }
    forget(&mut next);
    refusals.sort_by(|a, b| a.source.cmp(&b.source));
    (next, refusals)
}

/// Drops what is gone and cannot come back: what has a uid. Anything else may be declared again as the same.
fn forget(next: &mut Objects) {
    let Objects { regions, agents, tables: _, tables_missing: _, names: _, dropped } = next;
    regions.retain(|id, declared| {
        let gone = !declared.present && declared.object.uid.is_some();
        if gone {
            dropped.insert(*id);
        }
        !gone
    });
    agents.retain(|_, declared| declared.present || declared.object.uid.is_none());
}

fn is_from(last: &Objects, object: &Valid, source: &str) -> bool {
    match object {
        Valid::Region(region) => {
            let declared = last.regions.get(&RegionId(region.id()));
            declared.is_some_and(|declared| declared.present && declared.source == source)
        }
        Valid::Agent(agent) => {
            let declared = last.agents.get(&agent.name);
            declared.is_some_and(|declared| declared.present && declared.source == source)
        }
        Valid::Table(table) => {
            let declared = last.tables.get(&(table.namespace.clone(), table.name.clone()));
            declared.is_some_and(|declared| declared.source == source)
        }
    }
}

/// The objects of one source, if none is in the way of another or of what is in force.
fn gather(next: &Objects, source: &str, objects: Vec<Valid>) -> Result<Objects, Refusal> {
    let mut own = Objects::default();
    for object in objects {
        if let Some((field, reason)) = conflict(next, &object).or_else(|| conflict(&own, &object)) {
            let field = Some(field.to_owned());
            return Err(Refusal {
                source: source.into(),
                line: None,
                object: Some(object.name()),
                field,
                reason,
            });
        }
        insert(&mut own, object, source);
    }
    Ok(own)
}

fn insert(objects: &mut Objects, object: Valid, source: &str) {
    let source = source.to_owned();
    match object {
        Valid::Region(object) => {
            let id = RegionId(object.id());
            objects.names.insert((object.namespace.clone(), object.name.clone()), id);
            objects.regions.insert(id, Declared { object, source, present: true });
        }
        Valid::Agent(object) => {
            objects.agents.insert(object.name.clone(), Declared { object, source, present: true });
        }
        Valid::Table(object) => {
            let name = (object.namespace.clone(), object.name.clone());
            objects.tables.insert(name, Declared { object, source, present: true });
        }
    }
}

/// Everything that a source and the last good state alone can tell.
fn check_alone(name: &str, source: &Source, last: &Objects, me: &Me) -> Result<Vec<Valid>, Refusal> {
    let objects = source.objects.as_ref().map_err(|unreadable| {
        let Unreadable { line, object, field, reason, deleting: _ } = unreadable.clone();
        Refusal { source: name.into(), line, object, field, reason }
    })?;
    let check = |object: &Object| {
        let result = match object {
            Object::Region(region) => {
                validate(region).and_then(|region| check_region(region, last)).map(|v| Some(Valid::Region(v)))
            }
            Object::Agent(agent) => validate_agent(agent)
                .and_then(|agent| check_agent(agent, last, me))
                .map(|v| Some(Valid::Agent(v))),
            // Right or refused, but for Kubernetes alone.
            Object::MountTable(table) => {
                validate_mount_table(table).map(|()| Some(Valid::Table(Table::from(table))))
            }
            Object::RegionClass(_) | Object::AgentPool(_) => object.check().map(|()| None),
        };
        result.map_err(|errors| wrong(name, object.describe(), errors))
    };
    objects.iter().filter_map(|object| check(object).transpose()).collect()
}

/// One line for all that is wrong with an object.
fn wrong(source: &str, object: String, errors: Vec<FieldError>) -> Refusal {
    let mut errors = errors.into_iter();
    let (field, mut reason) = errors.next().map(|error| (error.field, error.reason)).unzip();
    for error in errors {
        let reason = reason.get_or_insert_default();
        reason.push_str(&format!("; {error}"));
    }
    // An object of the API server has its own name.
    let object = Some(object).filter(|object| object != source);
    Refusal { source: source.into(), line: None, object, field, reason: reason.unwrap_or_default() }
}

/// What is in an object's way: the field, and a sentence.
fn conflict(next: &Objects, object: &Valid) -> Option<(&'static str, String)> {
    let declared_twice = |source: &str| format!("is declared in {source} already: remove one of the two");
    match object {
        Valid::Region(region) => {
            let known = |id| next.regions.get(&id).filter(|declared| declared.present);
            let name = (region.namespace.clone(), region.name.clone());
            let same_name = next.names.get(&name).and_then(|id| known(*id));
            let other = same_name.or_else(|| known(RegionId(region.id())))?;
            let (namespace, name) = (&other.object.namespace, &other.object.name);
            let why = if same_name.is_some() {
                declared_twice(&other.source)
            } else {
                format!("hashes to the same number as region {namespace}/{name}: choose another name")
            };
            Some(("metadata.name", why))
        }
        Valid::Agent(agent) => {
            let mut present = next.agents.values().filter(|declared| declared.present);
            let other =
                present.find(|other| other.object.name == agent.name || other.object.id == agent.id)?;
            if other.object.name == agent.name {
                return Some(("metadata.name", declared_twice(&other.source)));
            }
            let why =
                format!("{} is the id of agent {} already: choose another", agent.id, other.object.name);
            Some(("spec.id", why))
        }
        Valid::Table(table) => {
            let other = next.tables.get(&(table.namespace.clone(), table.name.clone()))?;
            Some(("metadata.name", declared_twice(&other.source)))
        }
    }
}

/// Leaves in force what came from the sources that `refused` names, where nothing else has taken its place.
fn keep(next: &mut Objects, last: &Objects, sources: &Sources, refused: impl Fn(&str) -> bool) {
    let regions = last.regions.values().filter(|declared| declared.present && refused(&declared.source));
    let regions = regions.map(|Declared { object, source, .. }| {
        let mut region = object.clone();
        // Else whoever deletes it would wait for this agent for ever.
        if let Some(Deleting { uid, generation }) = sources.get(source).and_then(Source::deleting)
            && region.uid.as_ref() == Some(&uid)
        {
            (region.deleting, region.generation) = (true, region.generation.max(generation));
        }
        (Valid::Region(region), source)
    });
    let agents = last.agents.values().filter(|declared| declared.present && refused(&declared.source));
    let agents = agents.map(|declared| (Valid::Agent(declared.object.clone()), &declared.source));
    let tables = last.tables.values().filter(|declared| refused(&declared.source));
    let tables = tables.map(|declared| (Valid::Table(declared.object.clone()), &declared.source));
    for (object, source) in regions.chain(agents).chain(tables) {
        if conflict(next, &object).is_none() {
            insert(next, object, source);
        }
    }
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "accept_api_tests.rs"]
mod api_tests;
