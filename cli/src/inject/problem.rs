//! Why a pod cannot be attached as its annotations ask: one sentence.
//!
//! The chart's admission policies look at the same in the same order and say it in the same words
//! (`charts/pagemesh/templates/injection/_pod.tpl`); a test on a cluster holds them together.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec};
use pagemesh_crds::{
    ANNOTATION_ATTACH, ANNOTATION_CONTAINERS, ANNOTATION_MOUNT_TABLE, AttachedRegion, CSI_DRIVER,
    ENV_PRELOAD, ENV_SOCKET, KEEPER_CONTAINER, MOUNT_PATH, SOCKET_PATH, VOLUME, parse_attach,
    parse_mount_table,
};

use crate::output;

/// Longest list of containers.
const CONTAINERS_CHARS_MAX: usize = 8192;
/// Characters of a bad name that an error repeats.
const QUOTED_CHARS_MAX: usize = 64;

/// What a pod without problems asks for.
pub(super) struct Wish {
    /// The regions.
    pub(super) regions: Vec<AttachedRegion>,
    /// The MountTable, if not the default one.
    pub(super) table: Option<String>,
    /// The containers that see them, by name; all but the keeper when `None`.
    containers: Option<Vec<String>>,
}

impl Wish {
    /// Whether a container is attached.
    pub(super) fn chooses(&self, container: &str) -> bool {
        container != KEEPER_CONTAINER
            && self.containers.as_ref().is_none_or(|names| names.iter().any(|name| name == container))
    }
}

/// Reads what a pod asks for.
///
/// # Errors
/// It cannot be given that: a sentence says why, and what to do.
pub(super) fn wish(
    annotations: &BTreeMap<String, String>,
    spec: &PodSpec,
    namespace: Option<&str>,
) -> Result<Wish, String> {
    let attach = annotations.get(ANNOTATION_ATTACH).map(|text| parse_attach(text, namespace));
    let regions =
        attach.transpose().map_err(|error| format!("the annotation {ANNOTATION_ATTACH} {error}"))?;
    let table = annotations.get(ANNOTATION_MOUNT_TABLE).map(|text| parse_mount_table(text));
    let table =
        table.transpose().map_err(|error| format!("the annotation {ANNOTATION_MOUNT_TABLE} {error}"))?;
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return Err(
            "the pod is for Windows, and pagemesh attaches on Linux; remove pagemesh's annotations".into()
        );
    }
    let containers = annotations.get(ANNOTATION_CONTAINERS).map(|text| named(text, spec)).transpose()?;
    check_names(spec)?;
    let wish = Wish { regions: regions.unwrap_or_default(), table, containers };
    let chosen: Vec<_> = all(spec).filter(|container| wish.chooses(&container.name)).collect();
    chosen.iter().try_for_each(|container| check_mounts(container))?;
    chosen.iter().try_for_each(|container| check_environment(container))?;
    Ok(wish)
}

fn all(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

/// The containers that an annotation names.
fn named(text: &str, spec: &PodSpec) -> Result<Vec<String>, String> {
    if text.chars().nth(CONTAINERS_CHARS_MAX).is_some() {
        return Err(format!(
            "the annotation {ANNOTATION_CONTAINERS} has more than {CONTAINERS_CHARS_MAX} characters; name fewer containers"
        ));
    }
    let names: Vec<_> = text.split(',').map(|name| name.trim().to_owned()).collect();
    let there: Vec<_> =
        all(spec).map(|container| container.name.as_str()).filter(|name| *name != KEEPER_CONTAINER).collect();
    if names.len() > there.len() {
        return Err(format!(
            "the annotation {ANNOTATION_CONTAINERS} names {} containers, and the pod has {}; name each of those once",
            names.len(),
            there.len()
        ));
    }
    match names.iter().find(|name| !there.contains(&name.as_str())) {
        Some(unknown) => Err(format!(
            "the annotation {ANNOTATION_CONTAINERS} has {}, which is no container of the pod; it has {}",
            quoted(unknown),
            output::escape(&there.join(", "))
        )),
        None => Ok(names),
    }
}

/// Checks that nothing has a name of ours and is something else.
fn check_names(spec: &PodSpec) -> Result<(), String> {
    let is_keeper = |container: &Container| {
        let mounts = container.volume_mounts.iter().flatten();
        container.restart_policy.as_deref() == Some("Always")
            && mounts.into_iter().any(|mount| mount.name == VOLUME && mount.mount_path == MOUNT_PATH)
    };
    let has_name = |container: &&Container| container.name == KEEPER_CONTAINER;
    if spec.containers.iter().any(|container| has_name(&container))
        || spec.init_containers.iter().flatten().filter(has_name).any(|container| !is_keeper(container))
    {
        return Err(format!(
            "the container {KEEPER_CONTAINER} has the name of pagemesh's own; give it another"
        ));
    }
    let ours = spec.volumes.iter().flatten().filter(|volume| volume.name == VOLUME);
    for volume in ours {
        if volume.csi.as_ref().is_none_or(|csi| csi.driver != CSI_DRIVER) {
            return Err(format!(
                "the volume {VOLUME} has the name of pagemesh's own, and is not of the CSI driver {CSI_DRIVER}; give it \
                 another name"
            ));
        }
    }
    Ok(())
}

/// Checks that nothing else is mounted where our volume goes.
fn check_mounts(container: &Container) -> Result<(), String> {
    let is_covered = |path: &str| format!("{path}/").starts_with(&format!("{MOUNT_PATH}/"));
    let mut mounts = container.volume_mounts.iter().flatten();
    match mounts.find(|mount| mount.name != VOLUME && is_covered(&mount.mount_path)) {
        Some(mount) => Err(format!(
            "the container {} mounts {} at {}, where pagemesh's volume goes; mount it elsewhere",
            output::escape(&container.name),
            output::escape(&mount.name),
            output::escape(mount.mount_path.trim())
        )),
        None => Ok(()),
    }
}

/// Checks that the environment can be added to. The first variable that is wrong is told of.
fn check_environment(container: &Container) -> Result<(), String> {
    let name = output::escape(&container.name);
    let is_ours = |variable: &&EnvVar| [ENV_PRELOAD, ENV_SOCKET].contains(&variable.name.as_str());
    let ours: Vec<_> = container.env.iter().flatten().filter(is_ours).collect();
    for variable in &ours {
        let called = &variable.name;
        if called == ENV_PRELOAD && variable.value_from.is_some() {
            return Err(format!(
                "the container {name} takes {ENV_PRELOAD} from elsewhere (valueFrom), and pagemesh must add to it; write its \
                 value instead"
            ));
        }
        if called == ENV_SOCKET && variable.value.as_deref() != Some(SOCKET_PATH) {
            return Err(format!("the container {name} sets {ENV_SOCKET}, which pagemesh sets; remove it"));
        }
        if ours.iter().filter(|other| other.name == *called).count() > 1 {
            return Err(format!("the container {name} sets {called} more than once; set it once"));
        }
    }
    Ok(())
}

/// Somebody else's text in a sentence: in quotes, on one line, and not all of it.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
