//! Reads objects from YAML, as strictly as it can: what is not understood is refused, with its place.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_yaml::{MessageFormatter, UserMessageFormatter};
use thiserror::Error;

use crate::{API_VERSION, Agent, AgentSpec, AgentStatus, Region, RegionSpec, RegionStatus};

/// Longest text that is read. A mesh's objects take some kilobytes.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;

/// One of our objects.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A region.
    Region(Region),
    /// An agent.
    Agent(Agent),
}

/// Why a text is not a list of our objects: which document, where in it, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("document {document}{}{}: {reason}", Place(", line ", line.as_ref()), Place(", field ", field.as_ref()))]
pub struct ParseError {
    /// Which document of the text, from 1.
    pub document: usize,
    /// Line of the text, from 1, where it is known.
    pub line: Option<u64>,
    /// Path of the field, as in `spec.size`, where it is known.
    pub field: Option<String>,
    /// What is wrong.
    pub reason: String,
}

/// A part of an error's text that is there only when its value is.
struct Place<'a, T>(&'static str, Option<&'a T>);

impl<T: std::fmt::Display> std::fmt::Display for Place<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.1 {
            Some(value) => write!(f, "{}{value}", self.0),
            None => Ok(()),
        }
    }
}

/// Reads all objects of a YAML text, in order. Documents with nothing but comments count but yield no object.
///
/// Their values are not checked beyond their types: see [`validate`](crate::validate).
///
/// # Errors
/// At the first document that is not YAML, is of another kind or version than ours, or has a field that we do not know.
pub fn parse_objects(text: &str) -> Result<Vec<Object>, ParseError> {
    if text.len() > SOURCE_BYTES_MAX {
        let reason =
            format!("the text has {} bytes; at most {SOURCE_BYTES_MAX} are read, so split it", text.len());
        return Err(ParseError { document: 1, line: None, field: None, reason });
    }
    let documents = split(text).enumerate().filter(|(_, document)| !document.is_blank());
    documents.map(|(index, document)| document.object(index + 1)).collect()
}

/// One document of a text.
struct Document<'a> {
    text: &'a str,
    /// Lines of the whole text that are before it.
    lines_before: u64,
}

/// Splits a text at its `---` lines. YAML allows no such line inside of a document, not even in a quoted or block
/// scalar, so no parser is needed to find them.
fn split(text: &str) -> impl Iterator<Item = Document<'_>> {
    let mut rest = text;
    let mut lines_before = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut len = 0;
        let mut lines = 0;
        for line in rest.split_inclusive('\n') {
            // Comments in front of a `---` line belong to the document that it begins.
            if marker(line).is_some() && !rest[..len].lines().all(says_nothing) {
                break;
            }
            len += line.len();
            lines += 1;
        }
        let document = Document { text: &rest[..len], lines_before };
        rest = &rest[len..];
        lines_before += lines;
        Some(document)
    })
}

/// What follows the `---` of a line that begins a document.
fn marker(line: &str) -> Option<&str> {
    line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a line is blank or a comment.
fn says_nothing(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with('#')
}

/// What tells how to read the rest.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: Option<String>,
    kind: Option<String>,
}

/// A whole object. kube's own types accept unknown fields at the top and in the metadata; a misspelt
/// `namespace` must not go unnoticed.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope<Spec, Status> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: Metadata,
    spec: Spec,
    status: Option<Status>,
}

/// The metadata that we use, and those that Kubernetes adds, so that what `kubectl get -o yaml` prints can be read.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    #[serde(rename = "creationTimestamp")]
    _creation_timestamp: Option<IgnoredAny>,
    #[serde(rename = "finalizers")]
    _finalizers: Option<IgnoredAny>,
    #[serde(rename = "generation")]
    _generation: Option<IgnoredAny>,
    #[serde(rename = "managedFields")]
    _managed_fields: Option<IgnoredAny>,
    #[serde(rename = "ownerReferences")]
    _owner_references: Option<IgnoredAny>,
    #[serde(rename = "resourceVersion")]
    _resource_version: Option<IgnoredAny>,
    #[serde(rename = "uid")]
    _uid: Option<IgnoredAny>,
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> ObjectMeta {
        ObjectMeta {
            name: Some(metadata.name),
            namespace: metadata.namespace,
            labels: metadata.labels,
            annotations: metadata.annotations,
            ..ObjectMeta::default()
        }
    }
}

impl Document<'_> {
    fn is_blank(&self) -> bool {
        self.text.lines().all(|line| says_nothing(marker(line).unwrap_or(line)))
    }

    fn object(&self, number: usize) -> Result<Object, ParseError> {
        let at = |field: &str, reason: String| ParseError {
            document: number,
            line: None,
            field: Some(field.into()),
            reason,
        };
        let head: Head = self.read(number)?;
        if head.api_version.as_deref() != Some(API_VERSION) {
            return Err(at("apiVersion", format!("is {}; write {API_VERSION}", quoted(head.api_version))));
        }
        match head.kind.as_deref() {
            Some("Region") => {
                let read: Envelope<RegionSpec, RegionStatus> = self.read(number)?;
                Ok(Object::Region(Region {
                    metadata: read.metadata.into(),
                    spec: read.spec,
                    status: read.status,
                }))
            }
            Some("Agent") => {
                let read: Envelope<AgentSpec, AgentStatus> = self.read(number)?;
                Ok(Object::Agent(Agent {
                    metadata: read.metadata.into(),
                    spec: read.spec,
                    status: read.status,
                }))
            }
            Some(_) | None => Err(at("kind", format!("is {}; write Region or Agent", quoted(head.kind)))),
        }
    }

    fn read<T: DeserializeOwned>(&self, number: usize) -> Result<T, ParseError> {
        // Our objects need no aliases; a few are harmless, exponentially many are an attack.
        let options = serde_yaml::options! {
            with_snippet: false,
            alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 10_000 },
        };
        let mut field = None;
        let result =
            serde_yaml::with_deserializer_from_str_with_options(self.text, options, |deserializer| {
                let mut track = serde_path_to_error::Track::new();
                T::deserialize(serde_path_to_error::Deserializer::new(deserializer, &mut track)).inspect_err(
                    |_| {
                        field = Some(track.path().to_string()).filter(|path| path != ".");
                    },
                )
            });
        result.map_err(|error| ParseError {
            document: number,
            line: error.location().map(|place| self.lines_before + place.line()),
            field,
            // Not the default one, which advises programmers on the reader's options.
            reason: UserMessageFormatter.format_message(&error).into_owned(),
        })
    }
}

fn quoted(value: Option<String>) -> String {
    match value {
        Some(value) => format!("`{}`", value.escape_debug()),
        None => "absent".into(),
    }
}
