//! The objects of the tables, looked at as the API server does: by the schema, then by the rules.

#[expect(unreachable_pub, reason = "the tests on a cluster use it, too")]
mod table;

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::cel::{ErrorKind, Validator, apply_defaults};
use pagemesh_crds::{definitions, parse_objects};
use serde_json::{Value, json};

use crate::table::{Case, Refusal};

/// The schemas by kind, as JSON.
fn schemas() -> BTreeMap<String, Value> {
    let schema = |definition: &CustomResourceDefinition| {
        let validation = definition.spec.versions[0].schema.as_ref().expect("a schema");
        serde_json::to_value(validation.open_api_v3_schema.as_ref().expect("a schema")).expect("JSON")
    };
    definitions().iter().map(|definition| (definition.spec.names.kind.clone(), schema(definition))).collect()
}

fn cases() -> Vec<Case> {
    Case::read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects"))
}

/// A structural schema as a plain one: what Kubernetes means by its own words, in those of JSON Schema.
fn plain(schema: &Value) -> Value {
    let mut plain = schema.clone();
    let Some(fields) = plain.as_object_mut() else { return plain };
    if fields.contains_key("x-kubernetes-int-or-string") {
        fields.insert("type".into(), json!(["integer", "string"]));
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|property| *property = self::plain(property));
        fields.insert("additionalProperties".into(), json!(false));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(inner) {
            *schema = self::plain(schema);
        }
    }
    plain
}

/// Entries of lists that are there twice although their schema calls the list a map or a set.
fn duplicates(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        let key = |item: &Value| match keys {
            Some(keys) => keys.iter().filter_map(Value::as_str).map(|key| item[key].clone()).collect(),
            None => vec![item.clone()],
        };
        let unique = schema["x-kubernetes-list-type"] == "map" || schema["x-kubernetes-list-type"] == "set";
        for (index, item) in list.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if unique && list[..index].iter().any(|other| key(other) == key(item)) {
                found.push(format!("{path}: is there twice"));
            }
            duplicates(items, item, &path, found);
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    for (name, property) in properties {
        if let Some(value) = value.get(name) {
            duplicates(property, value, &format!("{path}.{name}"), found);
        }
    }
}

/// Everything that is wrong with an object, as lines of `field: reason`.
fn findings(schema: &Value, case: &Case) -> Vec<String> {
    let mut checked = schema.clone();
    // What the API server checks by itself.
    checked["properties"]["apiVersion"] = json!({ "type": "string" });
    checked["properties"]["kind"] = json!({ "type": "string" });
    let mut plain = plain(&checked);
    plain["properties"]["metadata"] = json!({ "type": "object" });

    let object = apply_defaults(schema, &without_nulls(&case.object));
    let validator = jsonschema::draft7::new(&plain).expect("a schema that can be used");
    let errors = validator.iter_errors(&object);
    let mut findings: Vec<String> =
        errors.map(|error| format!("{}: {error}", dotted(&error.instance_path().to_string()))).collect();
    duplicates(schema, &object, "", &mut findings);
    // The API server evaluates no rules of an object that has not the shape that they are written for.
    if findings.is_empty()
        && let Err(errors) = Validator::new().validate(schema, &object, case.old.as_ref())
    {
        for error in errors {
            assert_eq!(error.kind, ErrorKind::ValidationFailure, "{} {}: {error:?}", case.kind, case.name);
            findings.push(error.to_string());
        }
    }
    findings.iter().map(|finding| finding.trim_start_matches('.').to_owned()).collect()
}

/// The API server drops nulls that the schema does not ask for, and ours asks for none.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let said = fields.iter().filter(|(_, value)| !value.is_null());
            said.map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// `/a/0/b` as `a[0].b`.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            path += &format!("[{part}]");
        } else {
            path += &format!(".{part}");
        }
    }
    path
}

/// Whether a finding is the expected one. The schema finds a field missing, or one too many, in the object that it is in.
fn is_expected(finding: &str, refusal: &Refusal) -> bool {
    let field = refusal.field.as_deref().unwrap_or_default();
    let (inside, name) = field.rsplit_once('.').unwrap_or(("", field));
    let of_field = finding.starts_with(field) || (finding.starts_with(inside) && finding.contains(name));
    of_field && refusal.saying.as_ref().is_none_or(|saying| finding.contains(saying))
}

#[test]
fn every_object_has_the_verdict_of_its_table() {
    let schemas = schemas();
    let cases = cases();
    let mut wrong = Vec::new();
    for case in &cases {
        let findings = findings(&schemas[&case.kind], case);
        let as_expected = match &case.refused {
            None => findings.is_empty(),
            Some(refusal) => findings.iter().any(|finding| is_expected(finding, refusal)),
        };
        if !as_expected {
            wrong.push(format!(
                "{} {}: expected {:?}, found {findings:#?}",
                case.kind, case.name, case.refused
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// What Kubernetes takes, a file may say, and the other way round.
#[test]
fn files_have_the_same_verdicts() {
    // Only Kubernetes knows pods, hands out ids and stands between two versions of an object.
    let kubernetes_alone = |case: &Case| {
        let field = case.refused.as_ref().and_then(|refusal| refusal.field.as_deref()).unwrap_or_default();
        case.old.is_some()
            || ["spec.nodeSelector", "spec.tolerations", "spec.resources", "spec.image"]
                .iter()
                .any(|part| field.starts_with(part))
            || case.kind == "Agent" && case.object["spec"]["id"].is_null()
    };
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|case| !kubernetes_alone(case)) {
        let said = match parse_objects(&case.object.to_string()) {
            Err(error) => Err(error.to_string()),
            Ok(objects) => objects[0].check().map_err(|findings| format!("{findings:?}")),
        };
        if said.is_err() != case.refused.is_some() {
            wrong.push(format!("{} {}: expected {:?}, found {said:?}", case.kind, case.name, case.refused));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_refuses_something() {
    let cases = cases();
    for (kind, schema) in schemas() {
        each(&schema, "", &mut |schema, path| {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let message = rule["message"].as_str().unwrap_or_default();
                assert!(
                    message.contains("; ") || message.contains(": "),
                    "{kind}{path}: what to write? {message}"
                );
                let refuses = |case: &&Case| {
                    let saying = case.refused.as_ref().and_then(|refusal| refusal.saying.as_ref());
                    case.kind == kind && saying.is_some_and(|saying| message.contains(saying))
                };
                assert!(cases.iter().any(|case| refuses(&case)), "{kind}{path}: no case for: {message}");
            }
        });
    }
}

/// Whoever may write an object may not fill the API server's memory with it; and unbounded rules cost too much.
#[test]
fn everything_is_bounded() {
    for (kind, schema) in schemas() {
        each(&schema, "", &mut |schema, path| {
            let bounded = |words: &[&str]| words.iter().any(|word| schema.get(*word).is_some());
            if schema["type"] == "integer" {
                assert!(bounded(&["maximum"]), "{kind}{path}: has no maximum: {schema}");
            }
            let bound = match schema["type"].as_str() {
                Some("string") => ["maxLength", "enum", "format"].as_slice(),
                Some("array") => &["maxItems"],
                Some("integer") => &["minimum"],
                Some("object") if schema["properties"].is_object() => return,
                Some("object") => &["maxProperties"],
                Some("boolean") => return,
                None if schema["x-kubernetes-int-or-string"] == true => &["maxLength"],
                Some(_) | None => panic!("{kind}{path}: of no type: {schema}"),
            };
            assert!(bounded(bound), "{kind}{path}: has none of {bound:?}: {schema}");
            let described = path.is_empty() || path.ends_with(']') || schema["description"].is_string();
            assert!(described, "{kind}{path}: has no description");
        });
    }
}

/// Calls `look` for a schema and all within it, but those of the values in `metadata`.
fn each(schema: &Value, path: &str, look: &mut impl FnMut(&Value, &str)) {
    look(schema, path);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        each(property, &format!("{path}.{name}"), look);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = schema.get(inner) {
            each(schema, &format!("{path}[]"), look);
        }
    }
}
