//! Schemas of the parts of a pod that an AgentPool says: Kubernetes' own, bounded, and without what an agent has no use for.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::rules;

/// Labels of nodes.
pub(crate) fn node_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "x-kubernetes-validations": [rule(rules::LABEL_VALUE, rules::LABEL_VALUE_MESSAGE)],
        },
    })
}

/// Tolerations, with the rules that Kubernetes holds those of a pod to.
pub(crate) fn tolerations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "object",
            "description": "A taint that is put up with.",
            "properties": {
                "key": {
                    "type": "string",
                    "description": "Key of the taint; without one, `operator: Exists` means all taints.",
                    "maxLength": 317,
                },
                "operator": {
                    "type": "string",
                    "description": "Whether the value must be equal too, or the key is enough; without it `Equal`.",
                    "enum": ["Exists", "Equal"],
                },
                "value": {
                    "type": "string",
                    "description": "Value of the taint.",
                    "maxLength": 63,
                },
                "effect": {
                    "type": "string",
                    "description": "Effect of the taint; without one, all.",
                    "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"],
                },
                "tolerationSeconds": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "For how long the taint is put up with; without it, for ever.",
                },
            },
            "x-kubernetes-validations": [
                rule(rules::TOLERATION_OF_ALL, rules::TOLERATION_OF_ALL_MESSAGE),
                rule(rules::TOLERATION_EXISTS, rules::TOLERATION_EXISTS_MESSAGE),
                rule(rules::TOLERATION_SECONDS, rules::TOLERATION_SECONDS_MESSAGE),
            ],
        },
    })
}

/// Resources that an agent uses: name, name in CEL, what an amount is.
const RESOURCES: [(&str, &str, &str); 3] = [
    ("cpu", "cpu", "CPUs, such as `500m` or `2`."),
    ("memory", "memory", "Bytes, such as `128Mi`."),
    ("ephemeral-storage", "ephemeral__dash__storage", "Bytes, such as `1Gi`."),
];

/// Requests and limits of a container. They are named one by one, since rules for any number of any names cost more than
/// API servers of 1.30 allow.
pub(crate) fn resources(_: &mut SchemaGenerator) -> Schema {
    let within_limit = |(name, name_in_cel, _): (&str, &str, &str)| {
        let message = format!("requests.{name} is more than limits.{name}; write a request within the limit");
        rule(&rules::request_within_limit(name_in_cel), &message)
    };
    json_schema!({
        "type": "object",
        "properties": {
            "requests": amounts("What an agent is given at least."),
            "limits": amounts("What an agent may use at most."),
        },
        "x-kubernetes-validations": RESOURCES.map(within_limit),
    })
}

fn amounts(description: &str) -> Value {
    let amount = |(name, _, description): (&str, &str, &str)| {
        let schema = json!({
            "x-kubernetes-int-or-string": true,
            "description": description,
            "maxLength": 32,
            "minimum": 0,
            "pattern": "^[0-9]{1,15}([.][0-9]{1,9})?(Ki|Mi|Gi|Ti|n|u|m|k|M|G|T)?$",
        });
        (name.to_owned(), schema)
    };
    let properties: Map<String, Value> = RESOURCES.into_iter().map(amount).collect();
    json!({ "type": "object", "description": description, "properties": properties })
}

fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}
