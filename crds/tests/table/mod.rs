//! Objects with the verdict of the API server, from `tests/objects`: for the tests here, which look at them without one, and
//! for the tests on a cluster, which send them to one.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

/// An object, and what becomes of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its kind.
    pub kind: String,
    /// What it is, for people.
    pub name: String,
    /// The object. One with a status is sent to the status subresource of an object with the same spec.
    pub object: Value,
    /// The object that it is to take the place of; without it, the object is new.
    pub old: Option<Value>,
    /// Why it is refused; without it, it is not.
    pub refused: Option<Refusal>,
}

/// What a refusal has in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Path of the field, or of what it is in.
    pub field: Option<String>,
    /// Part of our rule's sentence; without it, the schema refuses.
    pub saying: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kind: String,
    cases: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    metadata: Option<Value>,
    spec: Option<Value>,
    status: Option<Value>,
    /// The spec before.
    old: Option<Value>,
    refused: Option<Refusal>,
}

impl Case {
    /// Reads all tables in `folder`, in the order of their names.
    pub fn read_all(folder: &Path) -> Vec<Case> {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> =
            entries.map(|entry| entry.expect("a folder that can be read").path()).collect();
        paths.sort();
        paths.iter().flat_map(|path| read(path)).collect()
    }
}

fn read(path: &Path) -> Vec<Case> {
    let wrong = |error: &dyn std::fmt::Display| -> ! { panic!("{}: {error}", path.display()) };
    let text = fs::read_to_string(path).unwrap_or_else(|error| wrong(&error));
    let file: File = serde_yaml::from_str(&text).unwrap_or_else(|error| wrong(&error));
    let kind = file.kind;
    file.cases.into_iter().map(|entry| case(&kind, entry)).collect()
}

fn case(kind: &str, entry: Entry) -> Case {
    let metadata = entry.metadata.unwrap_or_else(|| json!({ "name": "t" }));
    let object = |spec: Option<Value>| {
        let mut object = json!({ "apiVersion": "pagemesh.io/v1alpha1", "kind": kind, "metadata": metadata });
        if let Some(spec) = spec {
            object["spec"] = spec;
        }
        object
    };
    // A status is written to an object that is there.
    let old = entry
        .old
        .or_else(|| entry.spec.clone().filter(|_| entry.status.is_some()))
        .map(|spec| object(Some(spec)));
    let mut new = object(entry.spec);
    if let Some(status) = entry.status {
        new["status"] = status;
    }
    Case { kind: kind.to_owned(), name: entry.name, object: new, old, refused: entry.refused }
}
