//! Reads objects from YAML, as strictly as it can: what is not understood is refused, with its place.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_yaml::{MessageFormatter, UserMessageFormatter};
use thiserror::Error;

use crate::unknown_fields::{self, FieldPath, unknown_field};
use crate::{API_VERSION, Agent, AgentPool, MountTable, Object, Region, RegionClass};

/// Longest text that is read. A mesh's objects take some kilobytes.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;

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

/// The documents of a YAML text, each with the `---` line that begins it and with its comments, so that they make up the text.
pub fn split_documents(text: &str) -> impl Iterator<Item = &str> {
    split(text).map(|document| document.text)
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

/// A whole object.
#[derive(serde::Deserialize)]
struct Envelope<Spec, Status> {
    metadata: Metadata,
    spec: Spec,
    status: Option<Status>,
}

/// The status of a kind that has none.
enum NoStatus {}

impl<'de> serde::Deserialize<'de> for NoStatus {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<NoStatus, D::Error> {
        Err(serde::de::Error::custom("this kind has no status; leave it out"))
    }
}

/// The metadata that we use.
#[derive(serde::Deserialize)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    uid: Option<String>,
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> ObjectMeta {
        ObjectMeta {
            name: Some(metadata.name),
            namespace: metadata.namespace,
            labels: metadata.labels,
            annotations: metadata.annotations,
            uid: metadata.uid,
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
        let head: Head = self.read(number, |_| ())?;
        if head.api_version.as_deref() != Some(API_VERSION) {
            return Err(at("apiVersion", format!("is {}; write {API_VERSION}", quoted(head.api_version))));
        }
        match head.kind.as_deref() {
            Some("Region") => {
                let Envelope { metadata, spec, status } = self.read_strictly(number, "Region")?;
                Ok(Object::Region(Region { metadata: metadata.into(), spec, status }))
            }
            Some("RegionClass") => {
                let Envelope { metadata, spec, status: None::<NoStatus> } =
                    self.read_strictly(number, "RegionClass")?;
                Ok(Object::RegionClass(RegionClass { metadata: metadata.into(), spec }))
            }
            Some("MountTable") => {
                let Envelope { metadata, spec, status: None::<NoStatus> } =
                    self.read_strictly(number, "MountTable")?;
                Ok(Object::MountTable(MountTable { metadata: metadata.into(), spec }))
            }
            Some("AgentPool") => {
                let Envelope { metadata, spec, status } = self.read_strictly(number, "AgentPool")?;
                Ok(Object::AgentPool(AgentPool { metadata: metadata.into(), spec, status }))
            }
            Some("Agent") => {
                let Envelope { metadata, spec, status } = self.read_strictly(number, "Agent")?;
                Ok(Object::Agent(Agent { metadata: metadata.into(), spec, status }))
            }
            Some(_) | None => {
                let kinds = "Region, RegionClass, MountTable, AgentPool or Agent";
                Err(at("kind", format!("is {}; write {kinds}", quoted(head.kind))))
            }
        }
    }

    /// Reads all of it. Objects of the API server may have fields that a later release has added, so our types take them;
    /// in a file such a field is misspelt.
    fn read_strictly<T: DeserializeOwned>(&self, number: usize, kind: &str) -> Result<T, ParseError> {
        let mut unknown = None;
        let result = self.read(number, |path| unknown = unknown.take().or_else(|| unknown_field(path)));
        match unknown {
            None => result,
            Some(path) => Err(ParseError {
                document: number,
                line: self.line_of(&path),
                reason: unknown_fields::reason(kind, &path),
                field: Some(path.to_string()),
            }),
        }
    }

    fn line_of(&self, path: &FieldPath) -> Option<u64> {
        let result =
            serde_yaml::with_deserializer_from_str_with_options(self.text, options(), |deserializer| {
                path.stop_at().deserialize(deserializer)
            });
        let error = result.err()?;
        error.location().map(|place| self.lines_before + place.line())
    }

    /// Reads what `T` knows and tells `ignored` of the rest.
    fn read<T: DeserializeOwned>(
        &self,
        number: usize,
        mut ignored: impl FnMut(serde_ignored::Path<'_>),
    ) -> Result<T, ParseError> {
        let mut field = None;
        let result =
            serde_yaml::with_deserializer_from_str_with_options(self.text, options(), |deserializer| {
                let mut track = serde_path_to_error::Track::new();
                let deserializer = serde_path_to_error::Deserializer::new(deserializer, &mut track);
                T::deserialize(serde_ignored::Deserializer::new(deserializer, &mut ignored)).inspect_err(
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

/// Our objects need no aliases; a few are harmless, exponentially many are an attack.
fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        with_snippet: false,
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 10_000 },
    }
}

fn quoted(value: Option<String>) -> String {
    match value {
        Some(value) => format!("`{}`", value.escape_debug()),
        None => "absent".into(),
    }
}
