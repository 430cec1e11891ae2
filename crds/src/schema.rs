//! What the derived schemas need on top, so that Kubernetes takes them and people can read them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// A DNS label, as names of namespaces are.
pub(crate) const PATTERN_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A DNS subdomain, as names of nodes are.
pub(crate) const PATTERN_SUBDOMAIN: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A number in hexadecimal.
pub(crate) const PATTERN_INCARNATION: &str = "^[0-9a-f]{1,32}$";
/// An IP address and a port.
pub(crate) const PATTERN_ADDRESS: &str = r"^([0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$";

/// A number of bytes: text, or a plain number. No text of one is longer than this, and no rule costs much.
pub(crate) fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true, "maxLength": 20 })
}

/// Conditions, with the limits that Kubernetes' own have.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the state.",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {
                    "type": "string",
                    "description": "Which aspect.",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
                },
                "status": {
                    "type": "string",
                    "description": "Whether it holds.",
                    "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "type": "string",
                    "description": "Why, in one word for programs.",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "type": "string",
                    "description": "Why, and what to do, in a sentence for people.",
                    "maxLength": 32768,
                },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the status last changed.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "The generation of the spec that it speaks of.",
                },
            },
        },
    })
}

/// Adds to the description of a field what each of its values means. Kubernetes' schemas have no place of their own for
/// that.
pub(crate) fn explain_values(schema: &mut Schema) {
    let Some(variants) = variants(schema.as_value()) else { return };
    let meanings: Vec<String> = variants.iter().filter_map(meaning).collect();
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let description = format!("{description}\n\n{}", meanings.join(" "));
    schema.insert("description".to_owned(), description.into());
    // What describes the type of an optional field would later take the place of what describes the field.
    let types = schema.get_mut("anyOf").and_then(Value::as_array_mut).into_iter().flatten();
    types.filter_map(Value::as_object_mut).for_each(|inner| drop(inner.remove("description")));
}

/// The variants of an enum or of an optional one.
fn variants(schema: &Value) -> Option<&Vec<Value>> {
    let optional = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    [schema].into_iter().chain(optional).find_map(|schema| schema.get("oneOf")?.as_array())
}

fn meaning(variant: &Value) -> Option<String> {
    let name = variant.get("const")?.as_str()?;
    let meaning = variant.get("description")?.as_str()?;
    Some(format!("`{name}`: {meaning}"))
}

/// Turns a derived schema, and all within it, into what the API server takes without a warning.
pub(crate) fn finish(schema: &mut JSONSchemaProps) {
    schema.title = None;
    // An absent field and `null` would be two ways to say one thing, and rules would have to know both.
    schema.nullable = None;
    // Kubernetes knows two widths of integers, both signed; limits say the rest. It takes larger ones, too, which nobody could read.
    schema.maximum = schema.maximum.or(maximum(schema.format.as_deref()));
    schema.format = match schema.format.as_deref() {
        Some("uint8" | "uint16" | "int8" | "int16" | "int32") => Some("int32".to_owned()),
        Some("uint32" | "uint64" | "uint" | "int64") => Some("int64".to_owned()),
        Some(_) | None => schema.format.take(),
    };
    // A doc comment's line breaks are those of its source.
    schema.description = schema.description.take().map(|text| unwrap_lines(&text));

    let properties = schema.properties.iter_mut().flat_map(|properties| properties.values_mut());
    properties.for_each(finish);
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(items)) => finish(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(finish),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        finish(values);
    }
}

/// The largest number of a type, as far as floating-point numbers, which limits are, tell it from the next.
fn maximum(format: Option<&str>) -> Option<f64> {
    match format? {
        "uint8" => Some(u8::MAX.into()),
        "uint16" => Some(u16::MAX.into()),
        "uint32" => Some(u32::MAX.into()),
        "int8" => Some(i8::MAX.into()),
        "int16" => Some(i16::MAX.into()),
        "int32" => Some(i32::MAX.into()),
        "uint" | "uint64" | "int64" => Some(((1_u64 << 53) - 1) as f64),
        _ => None,
    }
}

/// Joins the lines of each paragraph.
fn unwrap_lines(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}
