//! The reference of all fields, for the book.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// The page of the book.
pub(crate) fn reference(definitions: &[CustomResourceDefinition], update: &str) -> String {
    let mut page = format!(
        "<!-- Written from the types of pagemesh-crds; do not edit. Anew: {update} -->\n\
         # Reference of the objects\n\n\
         Group `pagemesh.io`, version `v1alpha1`. How to write them: [Objects](objects.md). What the cluster takes is in the \
         definitions that `pagemesh crd` prints; `kubectl explain regions.spec` says the same as this page.\n\n\
         A *quantity* is a number of bytes as Kubernetes writes it: a whole number, with `Ki`, `Mi`, `Gi` or `Ti` (powers of \
         1024) or `k`, `M`, `G` or `T` (of 1000) or nothing behind it.\n"
    );
    // The one that everybody writes comes first.
    let mut definitions: Vec<_> = definitions.iter().collect();
    let order = ["Region", "RegionClass", "MountTable", "AgentPool", "Agent"];
    definitions.sort_by_key(|definition| order.iter().position(|kind| *kind == definition.spec.names.kind));
    let mut conditions = None;
    for definition in definitions {
        let schema = schema(definition);
        describe(definition, &schema, &mut page);
        for part in ["spec", "status"] {
            if let Some(inner) = schema["properties"].get(part) {
                let required = if is_required(&schema, part) { " (required)" } else { "" };
                writeln!(page, "\n### {}: {part}{required}\n\n{}\n", definition.spec.names.kind, text(inner))
                    .unwrap();
                write_fields(inner, &mut page);
                conditions = conditions.or_else(|| inner["properties"].get("conditions").cloned());
            }
        }
        write_rules(&schema, &mut page);
    }
    if let Some(conditions) = conditions {
        let about = "What `status.conditions` of each kind consists of.";
        writeln!(page, "\n## Conditions\n\n{about}\n").unwrap();
        write_fields(&conditions["items"], &mut page);
    }
    page
}

fn schema(definition: &CustomResourceDefinition) -> Value {
    let validation = definition.spec.versions[0].schema.as_ref().expect("a schema");
    serde_json::to_value(&validation.open_api_v3_schema).expect("JSON")
}

fn describe(definition: &CustomResourceDefinition, schema: &Value, page: &mut String) {
    let names = &definition.spec.names;
    let scope = if definition.spec.scope == "Namespaced" { "in a namespace" } else { "of the whole cluster" };
    let short = names.short_names.iter().flatten().map(|name| format!("`{name}`")).collect::<Vec<_>>();
    let short = if short.is_empty() { String::new() } else { format!(", in short {}", short.join(", ")) };
    writeln!(page, "\n## {}\n\n{}\n", names.kind, text(schema)).unwrap();
    writeln!(page, "It is {scope}. `kubectl get {}`{short}.", names.plural).unwrap();
}

/// A table of all fields of an object, those within others as well.
fn write_fields(schema: &Value, page: &mut String) {
    let mut rows = Vec::new();
    add_fields(schema, "", &mut rows);
    page.push_str("| field | type | default | limits | meaning |\n|---|---|---|---|---|\n");
    for row in rows {
        writeln!(page, "| {} |", row.map(|cell| cell.replace('|', "\\|")).join(" | ")).unwrap();
    }
}

fn add_fields(schema: &Value, path: &str, rows: &mut Vec<[String; 5]>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let required = if is_required(schema, name) { " (required)" } else { "" };
        let name = format!("`{path}`{required}");
        if name.starts_with("`conditions`") {
            rows.push([
                name,
                "list of [conditions](#conditions)".into(),
                String::new(),
                limits(field),
                text(field),
            ]);
            continue;
        }
        rows.push([name, type_of(field), default(field), limits(field), text(field)]);
        add_fields(field, &path, rows);
        for (inner, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
            if let Some(inner) = field.get(inner) {
                add_fields(inner, &format!("{path}{suffix}"), rows);
            }
        }
    }
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|required| required.iter().any(|field| field == name))
}

fn text(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace("\n\n", " ")
}

fn type_of(schema: &Value) -> String {
    if schema["x-kubernetes-int-or-string"] == true {
        // Those of other resources may be fractions.
        return if schema["pattern"].is_string() { "text or integer" } else { "quantity" }.into();
    }
    match (schema["type"].as_str(), schema.get("items"), schema.get("additionalProperties")) {
        (Some("array"), Some(items), _) => format!("list of {}s", type_of(items)),
        (Some("object"), _, Some(values)) => {
            format!("map to {}s", type_of(values))
        }
        (Some("string"), ..) if schema["format"] == "date-time" => "time".into(),
        (Some(name), ..) => name.into(),
        (None, ..) => "anything".into(),
    }
}

fn default(schema: &Value) -> String {
    match schema.get("default") {
        // An object's default is that of its fields.
        None | Some(Value::Object(_)) => String::new(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
    }
}

fn limits(schema: &Value) -> String {
    let number = |word: &str| schema[word].as_f64();
    let mut limits = Vec::new();
    let values: Vec<_> = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !values.is_empty() {
        limits.push(format!("`{}`", values.join("`, `")));
    }
    match (number("minimum"), number("maximum")) {
        (Some(min), Some(max)) => limits.push(format!("{min} to {max}")),
        (Some(min), None) => limits.push(format!("at least {min}")),
        (None, Some(max)) => limits.push(format!("at most {max}")),
        (None, None) => {}
    }
    if let Some(max) = number("maxLength").filter(|_| schema["x-kubernetes-int-or-string"] != true) {
        limits.push(format!("at most {max} characters"));
    }
    for word in ["maxItems", "maxProperties"] {
        match (number("minItems"), number(word)) {
            (Some(min), Some(max)) => limits.push(format!("{min} to {max} entries")),
            (None, Some(max)) => limits.push(format!("at most {max} entries")),
            (_, None) => {}
        }
    }
    let keys =
        schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
    limits.extend(keys.map(|key| format!("one for each `{key}`")));
    if schema["x-kubernetes-list-type"] == "set" {
        limits.push("none twice".into());
    }
    limits.join(", ")
}

/// What is refused, in the words of the refusal.
fn write_rules(schema: &Value, page: &mut String) {
    let mut rules = Vec::new();
    add_rules(schema, "", &mut rules);
    if rules.is_empty() {
        return;
    }
    page.push_str("\nRefused, in these words:\n\n");
    for (path, message, is_update) in rules {
        let update = if is_update { " (of an update)" } else { "" };
        let path = if path.is_empty() { String::new() } else { format!("`{path}`{update}: ") };
        writeln!(page, "- {path}{message}").unwrap();
    }
}

fn add_rules(schema: &Value, path: &str, rules: &mut Vec<(String, String, bool)>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = rule["message"].as_str().unwrap_or_default().to_owned();
        let is_update = rule["rule"].as_str().is_some_and(|rule| rule.contains("oldSelf"));
        let field = rule["fieldPath"].as_str().unwrap_or_default();
        rules.push((format!("{path}{field}"), message, is_update));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        add_rules(property, &path, rules);
    }
    for (inner, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let Some(inner) = schema.get(inner) {
            add_rules(inner, &format!("{path}{suffix}"), rules);
        }
    }
}
