//! Takes out what nobody else may see. Text and objects both go through here, whole, before they get into a bundle.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value};

/// What stands where something was.
const REMOVED: &str = "(removed)";
/// Annotations that are kept begin with it: those of others may hold anything, a whole object with its environment included.
const OUR_ANNOTATIONS: &str = "pagemesh.io/";
/// Fields whose text is a secret, whatever object they are in.
const SECRET_FIELDS: [&str; 8] =
    ["token", "password", "passwd", "secretkey", "apikey", "api-key", "authorization", "bearertoken"];

/// What tokens look like in text: JSON web tokens, what follows `Bearer`, passwords in URLs, and words that say so.
static TOKENS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"(?P<keep>)eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*",
        r"(?P<keep>(?i:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}",
        r"(?P<keep>[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@",
        r#"(?P<keep>(?i:passw(?:or)?d|secret|token|api[_-]?key|authorization)["']?\s*[=:]\s*["']?)[^\s"',;}]+"#,
        r"(?P<keep>-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
    ]
    .into_iter()
    .map(|pattern| Regex::new(pattern).expect("the pattern is fixed, and tests use it"))
    .collect()
});

/// Takes out of text what looks like a secret.
pub(super) fn text(text: &str) -> String {
    TOKENS.iter().fold(text.to_owned(), |text, token| {
        let replace = |found: &Captures<'_>| {
            let at = if found[0].ends_with('@') { "@" } else { "" };
            format!("{}{REMOVED}{at}", &found["keep"])
        };
        token.replace_all(&text, replace).into_owned()
    })
}

/// Takes out of an object what may be one, and what only fills the bundle.
pub(super) fn object(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        of_metadata(metadata);
    }
    value(object);
}

fn of_metadata(metadata: &mut Map<String, Value>) {
    metadata.remove("managedFields");
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| name.starts_with(OUR_ANNOTATIONS));
    }
}

fn value(any: &mut Value) {
    match any {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                match name.as_str() {
                    "env" => environment(field),
                    "args" | "command" => arguments(field),
                    // Templates have metadata, too.
                    "metadata" => {
                        if let Some(metadata) = field.as_object_mut() {
                            of_metadata(metadata);
                        }
                        value(field);
                    }
                    name if field.is_string()
                        && SECRET_FIELDS.contains(&name.to_ascii_lowercase().as_str()) =>
                    {
                        *field = REMOVED.into();
                    }
                    _ => value(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(value),
        Value::String(string) => *string = text(string),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Keeps the names of environment variables; where a value is read from is kept, too.
fn environment(variables: &mut Value) {
    for variable in variables.as_array_mut().into_iter().flatten() {
        if let Some(value) = variable.get_mut("value") {
            *value = REMOVED.into();
        }
    }
}

/// Arguments hand environment variables on, as `--agent-env NAME=VALUE`.
fn arguments(arguments: &mut Value) {
    let mut is_variable = false;
    for argument in arguments.as_array_mut().into_iter().flatten() {
        let Value::String(string) = argument else { continue };
        let (option, variable) = match string.strip_prefix("--agent-env=") {
            Some(variable) => ("--agent-env=", variable),
            None => ("", string.as_str()),
        };
        *string = match variable.split_once('=') {
            Some((name, _)) if is_variable || !option.is_empty() => format!("{option}{name}={REMOVED}"),
            Some(_) | None => text(string),
        };
        is_variable = string == "--agent-env";
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_go_out_of_text() {
        for (secret, before) in [
            (
                "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
                "got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl!",
            ),
            ("abcdefgh12345", "Authorization: Bearer abcdefgh12345"),
            ("hunter2", "https://user:hunter2@example.org/x"),
            ("hunter2", "password=hunter2 next"),
            ("hunter2", "{\"token\": \"hunter2\", \"a\": 1}"),
            ("MIIabc", "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----"),
            ("MIIabc", "-----BEGIN PRIVATE KEY-----\nMIIabc"),
        ] {
            let after = text(before);
            assert!(!after.contains(secret), "{after}");
            assert!(after.contains(REMOVED), "{after}");
        }
        let plain = "region default/table: epoch 3 at http://10.0.0.1:7480/x, user@example.org";
        assert_eq!(text(plain), plain);
        assert_eq!(text("https://u:p@h/"), "https://u:(removed)@h/");
    }

    #[test]
    fn objects_keep_what_explains_and_nothing_else() {
        let mut deployment = json!({
            "metadata": {
                "name": "operator", "managedFields": [{"manager": "helm"}],
                "annotations": {
                    "pagemesh.io/traceparent": "00-a-b-01",
                    "kubectl.kubernetes.io/last-applied-configuration": "{\"env\":\"s3cr3t\"}",
                },
            },
            "spec": {"template": {
                "metadata": {"annotations": {"other.io/key": "s3cr3t"}},
                "spec": {"containers": [{
                    "env": [
                        {"name": "OTEL_EXPORTER_OTLP_HEADERS", "value": "k=s3cr3t"},
                        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    ],
                    "args": ["--agent-env", "A=s3cr3t", "--agent-env=B=s3cr3t", "--log", "info"],
                }]},
            }},
            "data": {"Token": "s3cr3t"},
        });
        object(&mut deployment);
        let written = deployment.to_string();
        assert!(!written.contains("s3cr3t") && !written.contains("managedFields"), "{written}");
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["env"][0]["name"], "OTEL_EXPORTER_OTLP_HEADERS");
        assert_eq!(container["env"][1]["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName");
        assert_eq!(
            container["args"],
            json!(["--agent-env", "A=(removed)", "--agent-env=B=(removed)", "--log", "info"])
        );
        assert_eq!(deployment["metadata"]["annotations"], json!({"pagemesh.io/traceparent": "00-a-b-01"}));
    }
}
