//! Whether a definition that a cluster has is the one that this pagemesh would install.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

/// Path of the first thing that differs; `None` if nothing does that has a meaning.
///
/// Both went through the same types, so what the API server adds (defaults) or drops (fields that say nothing) is all that
/// remains to be left out.
pub(super) fn difference(
    theirs: &CustomResourceDefinition,
    ours: &CustomResourceDefinition,
) -> Option<String> {
    compare("spec", &meaning(theirs), &meaning(ours))
}

/// What a definition means to who reads and writes objects of its kind.
fn meaning(definition: &CustomResourceDefinition) -> Value {
    let spec = serde_json::to_value(&definition.spec).unwrap_or_default();
    let versions = spec["versions"].as_array().into_iter().flatten().map(|version| {
        let columns = &version["additionalPrinterColumns"];
        let schema = schema(&version["schema"]["openAPIV3Schema"]);
        json!({
            "name": version["name"], "served": version["served"], "storage": version["storage"],
            "subresources": said(&version["subresources"]), "additionalPrinterColumns": said(columns),
            "selectableFields": said(&version["selectableFields"]), "schema": schema,
        })
    });
    let names = &spec["names"];
    json!({
        "group": spec["group"], "scope": spec["scope"],
        "names": {
            "kind": names["kind"], "plural": names["plural"],
            "shortNames": said(&names["shortNames"]), "categories": said(&names["categories"]),
        },
        "versions": versions.collect::<Vec<_>>(),
    })
}

/// A schema without descriptions, which explain and do not decide. A field may be named `description`; it is described by an
/// object.
fn schema(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, value)| !(*name == "description" && value.is_string()));
            let kept = kept
                .map(|(name, value)| (name.clone(), schema(value)))
                .filter(|(_, value)| !says_nothing(value));
            Value::Object(kept.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(schema).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// The same for what has no descriptions to be left out.
fn said(value: &Value) -> Value {
    if says_nothing(value) { Value::Null } else { value.clone() }
}

/// What Go leaves out when it writes JSON.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Array(items) => items.is_empty(),
        Value::Object(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn compare(path: &str, theirs: &Value, ours: &Value) -> Option<String> {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let names = theirs.keys().chain(ours.keys().filter(|name| !theirs.contains_key(*name)));
            names.into_iter().find_map(|name| {
                let value =
                    |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                compare(&format!("{path}.{name}"), &value(theirs), &value(ours))
            })
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            let pairs = theirs.iter().zip(ours).enumerate();
            pairs
                .into_iter()
                .find_map(|(index, (theirs, ours))| compare(&format!("{path}[{index}]"), theirs, ours))
        }
        (theirs, ours) => (theirs != ours).then(|| path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> CustomResourceDefinition {
        let all = pagemesh_crds::definitions();
        all.into_iter().find(|definition| definition.spec.names.kind == "Region").expect("ours")
    }

    /// As the API server would hand it out.
    fn changed(change: impl FnOnce(&mut Value)) -> CustomResourceDefinition {
        let mut value = serde_json::to_value(region()).expect("an object");
        change(&mut value);
        serde_json::from_value(value).expect("a definition")
    }

    #[test]
    fn what_the_api_server_adds_is_no_difference() {
        let served = changed(|definition| {
            definition["spec"]["conversion"] = json!({"strategy": "None"});
            definition["spec"]["names"]["listKind"] = json!("RegionList");
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] =
                json!("in other words");
            definition["status"] = json!({"acceptedNames": {"kind": "Region", "plural": "regions"}});
        });
        assert_eq!(difference(&served, &region()), None);
    }

    #[test]
    fn what_decides_is_found() {
        let schema = "spec.versions[0].schema.properties.spec";
        for (pointer, value, path) in [
            ("/spec/scope", json!("Cluster"), "spec.scope".to_owned()),
            ("/spec/versions/0/served", json!(false), "spec.versions[0].served".into()),
            ("/spec/names/shortNames", json!(["other"]), "spec.names.shortNames[0]".into()),
        ] {
            let served = changed(|definition| *definition.pointer_mut(pointer).expect("there") = value);
            assert_eq!(difference(&served, &region()).as_deref(), Some(path.as_str()));
        }
        let served = changed(|definition| {
            let spec =
                &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
            spec["properties"]["homes"] = json!({"type": "string"});
        });
        let path = difference(&served, &region()).expect("another type");
        assert!(path.starts_with(&format!("{schema}.properties.homes.")), "{path}");
    }
}
