//! What declares objects: a file, or one object of the API server. Whatever it is, it comes into force as a whole or not
//! at all.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use kube::api::ObjectMeta;
use pagemesh_crds::{Agent, MountTable, Object, ParseError, Region, parse_objects};

use super::{Files, Text};

/// Everything that is declared, by what declares it.
pub type Sources = BTreeMap<String, Source>;

/// One declaration.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// What it declares, or why that cannot be told.
    pub objects: Result<Vec<Object>, Unreadable>,
    /// Differs when what it declares is another thing than before, and is the same when somebody has only touched it.
    pub version: u64,
}

/// Why it cannot be told what is declared, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// Line of the file, where it is known.
    pub line: Option<u64>,
    /// Which of the objects, where it is known.
    pub object: Option<String>,
    /// The field, where it is known.
    pub field: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// The region that it is, where that is known and it is being deleted.
    pub deleting: Option<Deleting>,
}

/// That a region is being deleted, which must come into force even where nothing else of it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleting {
    /// Which region.
    pub uid: String,
    /// Its generation, which the deletion has raised.
    pub generation: i64,
}

impl Deleting {
    /// What metadata say.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Option<Deleting> {
        metadata.deletion_timestamp.as_ref()?;
        Some(Deleting { uid: metadata.uid.clone()?, generation: metadata.generation.unwrap_or_default() })
    }
}

impl Source {
    /// The region that it declares, if it is a region's own source and that is being deleted.
    pub(super) fn deleting(&self) -> Option<Deleting> {
        match &self.objects {
            Ok(objects) => match &objects[..] {
                [Object::Region(region)] => Deleting::of(&region.metadata),
                _ => None,
            },
            Err(unreadable) => unreadable.deleting.clone(),
        }
    }
}

impl From<ParseError> for Unreadable {
    fn from(error: ParseError) -> Unreadable {
        let object = (error.document > 1).then(|| format!("document {}", error.document));
        Unreadable { line: error.line, object, field: error.field, reason: error.reason, deleting: None }
    }
}

/// What the files of a directory declare.
#[must_use]
pub fn of_files(files: &Files) -> Sources {
    let source = |text: &Text| Source {
        objects: match text {
            Ok(text) => parse_objects(text).map_err(Unreadable::from),
            Err(reason) => Err(Unreadable { reason: reason.clone(), ..Unreadable::default() }),
        },
        version: hash(text),
    };
    files.iter().map(|(name, text)| (name.clone(), source(text))).collect()
}

/// What the API server has. Agents that nobody has given a number yet are passed over.
pub fn of_api<'a>(
    regions: impl Iterator<Item = &'a Region>,
    agents: impl Iterator<Item = &'a Agent>,
    tables: impl Iterator<Item = &'a MountTable>,
) -> Sources {
    let regions = regions.map(|region| {
        let epoch = region.status.as_ref().and_then(|status| Some(status.placement.as_ref()?.epoch));
        let version = hash(&(region.metadata.generation, epoch));
        let metadata = &region.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = format!("Region {namespace}/{}", metadata.name.as_deref().unwrap_or_default());
        (name, Source { objects: Ok(vec![Object::Region(region.clone())]), version })
    });
    let agents = agents.filter(|agent| agent.spec.id.is_some()).map(|agent| {
        let address = agent.status.as_ref().and_then(|status| status.address.as_ref());
        let version = hash(&(agent.metadata.generation, address));
        let name = format!("Agent {}", agent.metadata.name.as_deref().unwrap_or_default());
        (name, Source { objects: Ok(vec![Object::Agent(agent.clone())]), version })
    });
    let tables = tables.map(|table| {
        let metadata = &table.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = format!("MountTable {namespace}/{}", metadata.name.as_deref().unwrap_or_default());
        let version = hash(&metadata.generation);
        (name, Source { objects: Ok(vec![Object::MountTable(table.clone())]), version })
    });
    regions.chain(agents).chain(tables).collect()
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
