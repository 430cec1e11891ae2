//! The CustomResourceDefinitions of our kinds, as the API server takes them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::schema::finish;
use crate::{Agent, AgentPool, MountTable, Region, RegionClass};

/// Helm keeps what bears this: definitions and, with them, all objects outlive an uninstallation.
const KEEP: (&str, &str) = ("helm.sh/resource-policy", "keep");

/// The definitions of all our kinds, in the order of their names.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let mut definitions =
        vec![AgentPool::crd(), Agent::crd(), MountTable::crd(), RegionClass::crd(), Region::crd()];
    for definition in &mut definitions {
        let annotations = definition.metadata.annotations.get_or_insert_default();
        annotations.insert(KEEP.0.to_owned(), KEEP.1.to_owned());
        let schemas = definition.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
        schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()).for_each(finish);
    }
    definitions
}

/// The definitions of all our kinds as one YAML text, a document for each.
#[must_use]
pub fn definitions_yaml() -> String {
    definitions().iter().map(|definition| format!("---\n{}", definition_yaml(definition))).collect()
}

/// One definition as YAML.
#[must_use]
pub fn definition_yaml(definition: &CustomResourceDefinition) -> String {
    // Plain data with string keys: there is nothing in it that YAML cannot say.
    let mut value = serde_json::to_value(definition).expect("a definition can be written as JSON");
    write_whole_numbers_whole(&mut value);
    serde_yaml::to_string(&value).expect("a definition can be written as YAML")
}

/// Limits are floating-point numbers in the API, and would be written as `64.0`.
fn write_whole_numbers_whole(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0);
            if let Some(whole) = whole.and_then(|float| format!("{float}").parse::<i64>().ok()) {
                *value = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers_whole),
        Value::Object(fields) => fields.values_mut().for_each(write_whole_numbers_whole),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
