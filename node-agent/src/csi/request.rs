//! What the kubelet asks for, read and checked once.
//!
//! People write the attributes of a pod's volume, so they are hostile. The kubelet adds who the pod is; but it does so only if the
//! CSIDriver object says so, and without that people could write that too. So the pod's UID must be the one of the directory
//! that the volume is for: the kubelet names that, and nobody knows the UID of a pod before it is made.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use pagemesh_crds::{
    ATTRIBUTE_MOUNT_TABLE as TABLE, ATTRIBUTE_REGIONS as REGIONS, AttachedRegion, parse_attach,
    parse_mount_table,
};
use tonic::Status;

use super::DRIVER;
use super::proto::csi::{NodePublishVolumeRequest, VolumeCapability, volume_capability};
use crate::volume::{PodIdentity, VolumeRegion};

/// Longest identifier, by CSI's rule.
const ID_BYTES_MAX: usize = 128;
/// Longest name of an object of Kubernetes.
const NAME_BYTES_MAX: usize = 253;
/// Longest path, by Linux's rule.
const PATH_BYTES_MAX: usize = 4095;

/// What every attribute that the kubelet adds begins with.
const FROM_KUBELET: &str = "csi.storage.k8s.io/";
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";
const POD_NAMESPACE: &str = "csi.storage.k8s.io/pod.namespace";
const POD_NAME: &str = "csi.storage.k8s.io/pod.name";
const POD_UID: &str = "csi.storage.k8s.io/pod.uid";
const SERVICE_ACCOUNT: &str = "csi.storage.k8s.io/serviceAccount.name";

/// A volume that is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) id: String,
    /// Where the pod's containers get it from.
    pub(super) target: PathBuf,
    pub(super) pod: PodIdentity,
    pub(super) regions: Vec<VolumeRegion>,
    pub(super) table: Option<String>,
}

impl Request {
    /// Reads what the kubelet asks for. `pods_dir` is where it has its pods' directories.
    pub(super) fn read(request: NodePublishVolumeRequest, pods_dir: &Path) -> Result<Request, Status> {
        let NodePublishVolumeRequest { volume_id, target_path, volume_capability, volume_context, .. } =
            request;
        let id = id(volume_id)?;
        let target = target(&target_path, pods_dir)?;
        capability(volume_capability.as_ref())?;
        let pod = pod(&volume_context)?;
        if !target.strip_prefix(pods_dir).is_ok_and(|below| below.starts_with(&pod.uid)) {
            return Err(invalid(format!(
                "the target path {} is not of the pod with the UID {}: see that the CSIDriver object {DRIVER} says \
                 podInfoOnMount: true, as pagemesh's chart does",
                target.display(),
                pod.uid
            )));
        }
        check_known(&volume_context)?;
        let table = table(&volume_context)?;
        let regions = regions(&volume_context, &pod.namespace, table.is_some())?;
        Ok(Request { id, target, pod, regions, table })
    }
}

/// What is to be unpublished: a volume and where it was.
pub(super) fn read_unpublish(
    id: String,
    target_path: &str,
    pods_dir: &Path,
) -> Result<(String, PathBuf), Status> {
    Ok((self::id(id)?, target(target_path, pods_dir)?))
}

fn id(id: String) -> Result<String, Status> {
    if id.is_empty() {
        return Err(invalid("volume_id is empty: say which volume is meant"));
    }
    if id.len() > ID_BYTES_MAX || id.contains(char::is_control) {
        return Err(invalid(format!(
            "volume_id is not text of at most {ID_BYTES_MAX} bytes without control characters: shorten it"
        )));
    }
    Ok(id)
}

fn target(text: &str, pods_dir: &Path) -> Result<PathBuf, Status> {
    if text.is_empty() {
        return Err(invalid("target_path is empty: say where the volume is to be"));
    }
    let path = Path::new(text);
    let plain = |component| matches!(component, Component::RootDir | Component::Normal(_));
    let below = path.strip_prefix(pods_dir).map_or(0, |below| below.components().count());
    // Not the directory of pods or of one pod: what is there is the kubelet's own.
    let good = text.len() <= PATH_BYTES_MAX
        && !text.contains(char::is_control)
        && path.components().all(plain)
        && below >= 2;
    if !good {
        return Err(invalid(format!(
            "the target path {} is not below {}/POD_UID: start the agent with the root directory of this node's kubelet as \
             --kubelet-dir (the operator has a flag of that name, and the chart the value agent.kubeletDir)",
            text.escape_debug(),
            pods_dir.display()
        )));
    }
    // Without what says nothing, so that the same place has the same name.
    Ok(path.components().collect())
}

fn capability(capability: Option<&VolumeCapability>) -> Result<(), Status> {
    use volume_capability::{AccessType, access_mode::Mode};
    let Some(capability) = capability else {
        return Err(invalid("volume_capability is missing: say `mount`"));
    };
    match &capability.access_type {
        Some(AccessType::Mount(mount)) if !mount.fs_type.is_empty() => {
            return Err(invalid("a volume of pagemesh has no file system of its own: leave csi.fsType out"));
        }
        Some(AccessType::Mount(mount)) if !mount.mount_flags.is_empty() => {
            return Err(invalid(
                "a volume of pagemesh is always mounted in the same way: leave mount options out",
            ));
        }
        Some(AccessType::Mount(_)) => {}
        Some(AccessType::Block(_)) => {
            return Err(invalid(
                "a volume of pagemesh is a directory and no block device: mount it by volumeMounts",
            ));
        }
        None => return Err(invalid("volume_capability does not say how: say `mount`")),
    }
    match capability.access_mode.map(|mode| mode.mode()) {
        None | Some(Mode::Unknown) => {
            Err(invalid("volume_capability has no access mode: say SINGLE_NODE_WRITER"))
        }
        Some(_) => Ok(()),
    }
}

fn pod(attributes: &HashMap<String, String>) -> Result<PodIdentity, Status> {
    if attributes.get(EPHEMERAL).map(String::as_str) != Some("true") {
        return Err(invalid(format!(
            "{DRIVER} has no volumes but those that pods bring with them: write `csi` under spec.volumes of the pod, and no \
             PersistentVolume; and see that the CSIDriver object says volumeLifecycleModes: [Ephemeral] and podInfoOnMount: true"
        )));
    }
    let get = |key: &str| {
        let value = attributes.get(key).map(String::as_str).unwrap_or_default();
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        // No path has more than its own meaning: `.` alone is none of a name's letters.
        let is_name = (1..=NAME_BYTES_MAX).contains(&value.len())
            && value.bytes().all(allowed)
            && value.bytes().any(|byte| byte != b'.');
        if is_name {
            return Ok(value.to_owned());
        }
        let found = if value.is_empty() {
            "is missing".to_owned()
        } else {
            format!("`{}` is no name of Kubernetes'", value.escape_debug())
        };
        Err(invalid(format!(
            "{key} {found}: see that the CSIDriver object {DRIVER} says podInfoOnMount: true"
        )))
    };
    Ok(PodIdentity {
        namespace: get(POD_NAMESPACE)?,
        name: get(POD_NAME)?,
        uid: get(POD_UID)?,
        service_account: get(SERVICE_ACCOUNT)?,
    })
}

fn check_known(attributes: &HashMap<String, String>) -> Result<(), Status> {
    let is_known = |key: &String| key.starts_with(FROM_KUBELET) || key == REGIONS || key == TABLE;
    match attributes.keys().filter(|key| !is_known(key)).min() {
        None => Ok(()),
        Some(key) => Err(invalid(format!(
            "volumeAttributes has `{}`, which means nothing here: write `{REGIONS}` or `{TABLE}`",
            key.escape_debug()
        ))),
    }
}

fn table(attributes: &HashMap<String, String>) -> Result<Option<String>, Status> {
    let text = attributes.get(TABLE).map(|text| text.trim()).filter(|text| !text.is_empty());
    let table = text.map(parse_mount_table).transpose();
    table.map_err(|wrong| invalid(format!("volumeAttributes.{TABLE} {wrong}")))
}

/// Who has a table need not name regions.
fn regions(
    attributes: &HashMap<String, String>,
    namespace: &str,
    has_table: bool,
) -> Result<Vec<VolumeRegion>, Status> {
    let text = attributes.get(REGIONS).map(|text| text.trim()).unwrap_or_default();
    if text.is_empty() && has_table {
        return Ok(Vec::new());
    }
    if text.is_empty() {
        return Err(invalid(format!(
            "volumeAttributes names no region: write `{REGIONS}: table`, or several as `table,other/weights:ro`, or \
             `{TABLE}: main` for what a MountTable has"
        )));
    }
    let regions = parse_attach(text, Some(namespace))
        .map_err(|wrong| invalid(format!("volumeAttributes.{REGIONS} {wrong}")))?;
    let whole = |region: AttachedRegion| VolumeRegion {
        name: format!("{}/{}", region.namespace.as_deref().unwrap_or(namespace), region.name),
        read_only: region.read_only,
    };
    Ok(regions.into_iter().map(whole).collect())
}

fn invalid(text: impl Into<String>) -> Status {
    Status::invalid_argument(text)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
