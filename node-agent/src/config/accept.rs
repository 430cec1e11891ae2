//! Which files come into force. A file does so as a whole or not at all, so that what belongs together stays so.

use std::collections::BTreeSet;
use std::fmt;

use pagemesh_crds::{
    FieldError, Object, ParseError, ValidAgent, ValidRegion, parse_objects, validate, validate_agent,
};
use pagemesh_protocol::RegionId;

use super::{Declared, Files, Me, Objects, Text};

/// Why a file was refused: one line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The file's name.
    pub file: String,
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
        write!(f, "{}", self.file)?;
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
}

impl Valid {
    fn name(&self) -> String {
        match self {
            Valid::Region(region) => format!("Region {}/{}", region.namespace, region.name),
            Valid::Agent(agent) => format!("Agent {}", agent.name),
        }
    }
}

/// Decides what is in force after `last`, when the directory holds `files`. A file that is refused leaves the objects
/// that came from it as they were.
#[must_use]
pub fn accept(last: &Objects, files: &Files, me: &Me) -> (Objects, Vec<Refusal>) {
    let mut next = last.clone();
    next.regions.values_mut().for_each(|declared| declared.present = false);
    next.agents.values_mut().for_each(|declared| declared.present = false);

    let mut refusals = Vec::new();
    let mut good = Vec::new();
    for (file, text) in files {
        match check_alone(file, text, last, me) {
            Ok(objects) => good.push((file, objects)),
            Err(refusal) => refusals.push(refusal),
        }
    }
    let refused: BTreeSet<&str> = refusals.iter().map(|refusal| refusal.file.as_str()).collect();
    keep(&mut next, last, |file| refused.contains(file));
    // What stays comes before what is new: a new file does not unseat an object that another has in force.
    good.sort_by_key(|(file, objects)| !objects.iter().any(|object| is_from(last, object, file)));
    for (file, objects) in good {
        match gather(&next, file, objects) {
            Ok(mut own) => {
                next.regions.append(&mut own.regions);
                next.agents.append(&mut own.agents);
            }
            Err(refusal) => {
                keep(&mut next, last, |name| name == file);
                refusals.push(refusal);
            }
        }
    }
    refusals.sort_by(|a, b| a.file.cmp(&b.file));
    (next, refusals)
}

fn is_from(last: &Objects, object: &Valid, file: &str) -> bool {
    match object {
        Valid::Region(region) => {
            let declared = last.regions.get(&RegionId(region.id()));
            declared.is_some_and(|declared| declared.present && declared.file == file)
        }
        Valid::Agent(agent) => {
            let declared = last.agents.get(&agent.name);
            declared.is_some_and(|declared| declared.present && declared.file == file)
        }
    }
}

/// The objects of one file, if none is in the way of another or of what is in force.
fn gather(next: &Objects, file: &str, objects: Vec<Valid>) -> Result<Objects, Refusal> {
    let mut own = Objects::default();
    for object in objects {
        if let Some((field, reason)) = conflict(next, &object).or_else(|| conflict(&own, &object)) {
            let field = Some(field.to_owned());
            return Err(Refusal {
                file: file.into(),
                line: None,
                object: Some(object.name()),
                field,
                reason,
            });
        }
        insert(&mut own, object, file);
    }
    Ok(own)
}

fn insert(objects: &mut Objects, object: Valid, file: &str) {
    let file = file.to_owned();
    match object {
        Valid::Region(object) => {
            objects.regions.insert(RegionId(object.id()), Declared { object, file, present: true });
        }
        Valid::Agent(object) => {
            objects.agents.insert(object.name.clone(), Declared { object, file, present: true });
        }
    }
}

/// Everything that a file's text and the last good state alone can tell.
fn check_alone(file: &str, text: &Text, last: &Objects, me: &Me) -> Result<Vec<Valid>, Refusal> {
    let text = text.as_ref().map_err(|reason| Refusal {
        file: file.into(),
        line: None,
        object: None,
        field: None,
        reason: reason.clone(),
    })?;
    let objects = parse_objects(text).map_err(|error| unreadable(file, error))?;
    let check = |object: Object| {
        let (name, result) = match object {
            Object::Region(region) => {
                let metadata = &region.metadata;
                let namespace = metadata.namespace.as_deref().unwrap_or(pagemesh_crds::NAMESPACE_DEFAULT);
                let name = format!("Region {namespace}/{}", metadata.name.as_deref().unwrap_or_default());
                (name, validate(&region).and_then(|region| check_region(region, last)).map(Valid::Region))
            }
            Object::Agent(agent) => {
                let name = format!("Agent {}", agent.metadata.name.as_deref().unwrap_or_default());
                (
                    name,
                    validate_agent(&agent).and_then(|agent| check_agent(agent, last, me)).map(Valid::Agent),
                )
            }
        };
        result.map_err(|errors| wrong(file, name, errors))
    };
    objects.into_iter().map(check).collect()
}

fn unreadable(file: &str, error: ParseError) -> Refusal {
    let object = (error.document > 1).then(|| format!("document {}", error.document));
    Refusal { file: file.into(), line: error.line, object, field: error.field, reason: error.reason }
}

/// One line for all that is wrong with an object.
fn wrong(file: &str, object: String, errors: Vec<FieldError>) -> Refusal {
    let mut errors = errors.into_iter();
    let (field, mut reason) = errors.next().map(|error| (error.field, error.reason)).unzip();
    for error in errors {
        let reason = reason.get_or_insert_default();
        reason.push_str(&format!("; {error}"));
    }
    Refusal { file: file.into(), line: None, object: Some(object), field, reason: reason.unwrap_or_default() }
}

fn error<T>(field: &str, reason: String) -> Result<T, Vec<FieldError>> {
    Err(vec![FieldError { field: field.into(), reason }])
}

/// What may change in a region. Shards and peers hold pages of it, so its shape stays as it was.
fn check_region(new: ValidRegion, last: &Objects) -> Result<ValidRegion, Vec<FieldError>> {
    let id = RegionId(new.id());
    let Some(old) = last.regions.get(&id).map(|declared| &declared.object) else {
        return Ok(new);
    };
    if (&old.namespace, &old.name) != (&new.namespace, &new.name) {
        return error(
            "metadata.name",
            format!(
                "hashes to the same number as region {}/{}: choose another name",
                old.namespace, old.name
            ),
        );
    }
    // Until it is placed nobody holds anything of it.
    let Some(old_placement) = &old.placement else {
        return Ok(new);
    };
    if new.page_size_bytes != old.page_size_bytes {
        return error("spec.pageSize", frozen("page size", old.page_size_bytes, new.page_size_bytes));
    }
    if new.size_bytes != old.size_bytes {
        return error("spec.size", frozen("size", old.size_bytes, new.size_bytes));
    }
    if new.consistency != old.consistency {
        let (old, new) = (old.consistency.name(), new.consistency.name());
        return error("spec.consistency", frozen("consistency", old, new));
    }
    let Some(new_placement) = &new.placement else {
        return error(
            "status.placement",
            "is gone, but a region that is placed stays placed: put it back".into(),
        );
    };
    if new_placement.homes != old_placement.homes {
        return error(
            "status.placement.homes",
            format!(
                "were [{}]; pages cannot move to other homes in this release: put them back",
                old_placement.homes.iter().map(|home| home.agent.as_str()).collect::<Vec<_>>().join(", ")
            ),
        );
    }
    if new_placement.epoch < old_placement.epoch {
        return error(
            "status.placement.epoch",
            format!("goes back from {} to {}; an epoch only rises", old_placement.epoch, new_placement.epoch),
        );
    }
    if new.coherence != old.coherence && new_placement.epoch == old_placement.epoch {
        return error(
            "spec.coherence",
            format!(
                "changes only with the epoch: raise status.placement.epoch above {}",
                old_placement.epoch
            ),
        );
    }
    Ok(new)
}

fn frozen(what: &str, old: impl fmt::Display, new: impl fmt::Display) -> String {
    format!("the {what} cannot change from {old} to {new} in this release: put it back, or make a new region")
}

/// What may change in an agent: only its address. Directories and placements name it by its number.
fn check_agent(new: ValidAgent, last: &Objects, me: &Me) -> Result<ValidAgent, Vec<FieldError>> {
    if (new.name == me.name) != (new.id == me.id.0) {
        return error(
            "spec.id",
            format!("disagrees with this agent, which is {} with id {}", me.name, me.id.0),
        );
    }
    match last.agents.get(&new.name).map(|declared| declared.object.id) {
        Some(old) if old != new.id => error(
            "spec.id",
            format!("cannot change from {old} to {}: put it back, or rename the agent", new.id),
        ),
        Some(_) | None => Ok(new),
    }
}

/// What is in an object's way: the field, and a sentence.
fn conflict(next: &Objects, object: &Valid) -> Option<(&'static str, String)> {
    match object {
        Valid::Region(region) => {
            let other = next.regions.get(&RegionId(region.id())).filter(|declared| declared.present)?;
            let (namespace, name) = (&other.object.namespace, &other.object.name);
            let why = if (namespace, name) == (&region.namespace, &region.name) {
                format!("is declared in {} already: remove one of the two", other.file)
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
                return Some((
                    "metadata.name",
                    format!("is declared in {} already: remove one of the two", other.file),
                ));
            }
            let why =
                format!("{} is the id of agent {} already: choose another", agent.id, other.object.name);
            Some(("spec.id", why))
        }
    }
}

/// Leaves in force what came from the files that `refused` names, where nothing else has taken its place.
fn keep(next: &mut Objects, last: &Objects, refused: impl Fn(&str) -> bool) {
    let regions = last.regions.values().filter(|declared| declared.present && refused(&declared.file));
    let regions = regions.map(|declared| (Valid::Region(declared.object.clone()), &declared.file));
    let agents = last.agents.values().filter(|declared| declared.present && refused(&declared.file));
    let agents = agents.map(|declared| (Valid::Agent(declared.object.clone()), &declared.file));
    for (object, file) in regions.chain(agents) {
        if conflict(next, &object).is_none() {
            insert(next, object, file);
        }
    }
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
