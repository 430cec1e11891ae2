//! Documents of a file: what in them is a pod or makes pods.

use serde_json::Value;
use serde_yaml::{MessageFormatter, UserMessageFormatter};

use super::pod::{self, ASKING, Outcome};
use crate::output;

/// Where a pod template is in what makes pods. Kinds are not asked for, so that those of other projects work as well.
const TEMPLATES: [&str; 3] = ["/spec/template", "/spec/jobTemplate/spec/template", "/template"];

/// What is to be known besides the document.
pub(super) struct Settings {
    /// The keeper's container.
    pub(super) keeper: Value,
    /// Namespaces in which nothing is attached.
    pub(super) left_out: Vec<String>,
}

/// A document, and what was found in it.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Some pod was given something.
    pub(super) changed: bool,
    /// Some pod asks for regions.
    pub(super) asked: bool,
    /// What somebody should know, in sentences.
    pub(super) notes: Vec<String>,
}

/// Reads one document of YAML or JSON. `None` is one that has nothing but comments.
///
/// # Errors
/// A sentence with the line.
pub(super) fn read(text: &str) -> Result<Option<Value>, String> {
    // As kubectl reads it: in YAML 1.1, `0644` is octal and `yes` is true.
    let options = serde_yaml::options! { with_snippet: false, legacy_octal_numbers: true };
    let value: Value = serde_yaml::from_str_with_options(text, options).map_err(|error| {
        let reason = output::escape(&UserMessageFormatter.format_message(&error));
        match error.location() {
            Some(place) => format!("line {} of it: {reason}", place.line()),
            None => reason,
        }
    })?;
    match value {
        Value::Null => Ok(None),
        Value::Object(_) => Ok(Some(value)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err("it is no object; write apiVersion, kind, metadata and spec".into())
        }
    }
}

/// Changes the pods of a document, those in lists too.
///
/// # Errors
/// A sentence that names the object.
pub(super) fn attach(object: &mut Value, settings: &Settings) -> Result<Findings, String> {
    let mut findings = Findings::default();
    walk(object, None, settings, &mut findings)?;
    Ok(findings)
}

/// `kind` is that of the items of a list which do not say theirs.
fn walk(
    object: &mut Value,
    kind: Option<&str>,
    settings: &Settings,
    findings: &mut Findings,
) -> Result<(), String> {
    let kind = object["kind"].as_str().or(kind).unwrap_or_default().to_owned();
    if let Some(of) = kind.strip_suffix("List")
        && let Some(items) = object.get_mut("items").and_then(Value::as_array_mut)
    {
        let of = Some(of).filter(|of| !of.is_empty());
        return items.iter_mut().try_for_each(|item| walk(item, of, settings, findings));
    }
    let named = name_of(object, &kind);
    let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
    let is_pod = kind == "Pod";
    let asking = |object: &Value| {
        ASKING.into_iter().find(|asking| object["metadata"]["annotations"].get(*asking).is_some())
    };
    let own_annotation = asking(object);
    let pod = if is_pod { Some(object) } else { template(object) };
    let Some(pod) = pod else { return Ok(()) };
    let said = |reason: String| format!("{named}: {reason}");
    if let Some(namespace) = namespace.as_ref().filter(|namespace| settings.left_out.contains(namespace)) {
        let asks = asking(pod).is_some();
        findings.asked |= asks;
        findings.notes.extend(asks.then(|| {
            said(format!(
                "left as it is, for nothing is attached in the namespace {}",
                output::escape(namespace)
            ))
        }));
        return Ok(());
    }
    match pod::attach(pod, namespace.as_deref(), &settings.keeper).map_err(said)? {
        Outcome::Changed => (findings.changed, findings.asked) = (true, true),
        Outcome::AsBefore => findings.asked = true,
        Outcome::NotAsked => findings.notes.extend(own_annotation.filter(|_| !is_pod).map(|annotation| {
            said(format!(
                "the annotation {annotation} is on it and not on its pods; write it in the pod template's \
                 metadata.annotations"
            ))
        })),
    }
    Ok(())
}

/// The pod template of what has one.
fn template(object: &mut Value) -> Option<&mut Value> {
    let path = TEMPLATES.into_iter().find(|path| {
        object.pointer(path).is_some_and(|template| template["spec"]["containers"].is_array())
    })?;
    object.pointer_mut(path)
}

/// An object in a sentence.
fn name_of(object: &Value, kind: &str) -> String {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let metadata = &object["metadata"];
    let name = text(&metadata["name"])
        .or_else(|| text(&metadata["generateName"]).map(|start| start + "..."))
        .unwrap_or_else(|| "without a name".into());
    output::escape(&match text(&metadata["namespace"]) {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    })
}
