//! Gives a pod what it needs to be attached. The chart's MutatingAdmissionPolicy does the same
//! (`charts/pagemesh/templates/injection/mutate.yaml`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use pagemesh_crds::{
    ANNOTATION_ATTACH, ANNOTATION_MOUNT_TABLE, ATTRIBUTE_MOUNT_TABLE, ATTRIBUTE_REGIONS, AttachedRegion,
    CSI_DRIVER, ENV_PRELOAD, ENV_SOCKET, KEEPER_CONTAINER, LIBRARY_PATH, MOUNT_PATH, SOCKET_PATH, VOLUME,
};
use serde_json::{Map, Value, json};

use super::problem::{self, Wish};
use crate::output;

/// Annotation of what stands for a pod that a kubelet has from a file: it must be as that pod is.
const ANNOTATION_MIRROR: &str = "kubernetes.io/config.mirror";

/// Annotations of which each asks that the pod be attached.
pub(super) const ASKING: [&str; 2] = [ANNOTATION_ATTACH, ANNOTATION_MOUNT_TABLE];

/// What became of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It does not ask for regions.
    NotAsked,
    /// It has all it needs, and has had it before.
    AsBefore,
    /// It has been given something.
    Changed,
}

/// Changes a pod or a pod template, which has `metadata` and `spec`, as its annotations ask.
///
/// # Errors
/// A sentence that says why it cannot be attached. The pod is as it was.
pub(super) fn attach(pod: &mut Value, namespace: Option<&str>, keeper: &Value) -> Result<Outcome, String> {
    let annotations = annotations(pod)?;
    let asks = ASKING.iter().any(|asking| annotations.contains_key(*asking));
    if !asks || annotations.contains_key(ANNOTATION_MIRROR) {
        return Ok(Outcome::NotAsked);
    }
    let typed: PodSpec = serde_json::from_value(pod["spec"].clone()).map_err(|error| {
        format!("its spec is not that of a pod ({}); correct it", output::escape(&error.to_string()))
    })?;
    let wish = problem::wish(&annotations, &typed, namespace)?;
    let before = pod["spec"].clone();
    // A pod's spec that could be read is a map.
    if let Some(spec) = pod["spec"].as_object_mut() {
        change(spec, &wish, keeper);
    }
    Ok(if pod["spec"] == before { Outcome::AsBefore } else { Outcome::Changed })
}

/// Those of our annotations that are there, and that of a mirror.
fn annotations(pod: &Value) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for (name, value) in pod["metadata"]["annotations"].as_object().into_iter().flatten() {
        let Some(text) = value.as_str() else {
            if name.starts_with("pagemesh.io/") {
                return Err(format!(
                    "the annotation {} is not a text; put it in quotes",
                    output::escape(name)
                ));
            }
            continue;
        };
        found.insert(name.clone(), text.to_owned());
    }
    Ok(found)
}

fn change(spec: &mut Map<String, Value>, wish: &Wish, keeper: &Value) {
    volume(list(spec, "volumes"), &attributes(wish));
    for key in ["containers", "initContainers"] {
        // Not `list`: a pod without init containers gets no empty list of them.
        for container in spec.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            if container["name"].as_str().is_some_and(|name| wish.chooses(name))
                && let Some(container) = container.as_object_mut()
            {
                mount(list(container, "volumeMounts"));
                environment(list(container, "env"));
            }
        }
    }
    let is_host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    let init_containers = list(spec, "initContainers");
    if position(init_containers, KEEPER_CONTAINER).is_none() {
        let mut keeper = keeper.clone();
        // On the node's own network its port would be the node's, and one such pod would keep the next one out.
        if is_host_network && let Some(keeper) = keeper.as_object_mut() {
            keeper.remove("ports");
        }
        init_containers.insert(0, keeper);
    }
}

/// The attributes of the pod's volume.
fn attributes(wish: &Wish) -> Map<String, Value> {
    let regions = wish.regions.iter().map(AttachedRegion::to_string).collect::<Vec<_>>().join(",");
    let regions = (!regions.is_empty()).then_some((ATTRIBUTE_REGIONS, regions));
    let table = wish.table.clone().map(|table| (ATTRIBUTE_MOUNT_TABLE, table));
    regions.into_iter().chain(table).map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
}

fn volume(volumes: &mut Vec<Value>, attributes: &Map<String, Value>) {
    let volume = json!({
        "name": VOLUME,
        "csi": {"driver": CSI_DRIVER, "readOnly": true, "volumeAttributes": attributes},
    });
    let attribute = |of: &Value, name| of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let ours = &volume["csi"]["volumeAttributes"];
    let is_same = |volume: &Value| {
        let there = &volume["csi"]["volumeAttributes"];
        [ATTRIBUTE_REGIONS, ATTRIBUTE_MOUNT_TABLE]
            .iter()
            .all(|name| attribute(there, name) == attribute(ours, name))
    };
    match position(volumes, VOLUME) {
        Some(there) if is_same(&volumes[there]) => {}
        Some(there) => volumes[there] = volume,
        // What the API server adds by itself comes last, so ours come first to have one place whoever adds them.
        None => volumes.insert(0, volume),
    }
}

fn mount(mounts: &mut Vec<Value>) {
    let is_there = |mount: &Value| {
        let path = mount["mountPath"].as_str().unwrap_or_default();
        path.strip_suffix('/').unwrap_or(path) == MOUNT_PATH
    };
    if !mounts.iter().any(is_there) {
        mounts.insert(0, json!({"name": VOLUME, "mountPath": MOUNT_PATH, "readOnly": true}));
    }
}

fn environment(variables: &mut Vec<Value>) {
    match position(variables, ENV_PRELOAD) {
        Some(there) => {
            let before = variables[there]["value"].as_str().unwrap_or_default();
            let after = preloading(before);
            if after != before {
                variables[there]["value"] = Value::String(after);
            }
        }
        None => variables.insert(0, json!({"name": ENV_PRELOAD, "value": LIBRARY_PATH})),
    }
    if position(variables, ENV_SOCKET).is_none() {
        variables.insert(0, json!({"name": ENV_SOCKET, "value": SOCKET_PATH}));
    }
}

/// A value of `LD_PRELOAD` with our library in it, in front of the others unless it is there.
fn preloading(before: &str) -> String {
    match before {
        "" => LIBRARY_PATH.to_owned(),
        _ if before.split([':', ' ']).any(|library| library == LIBRARY_PATH) => before.to_owned(),
        _ => format!("{LIBRARY_PATH}:{before}"),
    }
}

fn position(list: &[Value], name: &str) -> Option<usize> {
    list.iter().position(|item| item["name"] == name)
}

/// A list of a map, made if it is not there.
fn list<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let value = map.entry(key).or_insert(Value::Null);
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(list) => list,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            unreachable!("it was made a list")
        }
    }
}
