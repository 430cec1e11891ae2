//! Pods' volumes: each has a socket of its own, and who connects by that is that pod.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The socket's name in a volume's directory.
pub const SOCKET: &str = "agent.sock";

/// What a pod was given: a directory with a socket, by which it may attach to some regions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// As the kubelet calls it.
    pub id: String,
    /// The agent's own directory of it.
    pub dir: PathBuf,
    /// Who it was given to.
    pub pod: PodIdentity,
    /// What it may attach to, as far as each region's access lets it.
    pub regions: Vec<VolumeRegion>,
    /// The MountTable of the pod's namespace in which its paths are looked up; `None` is the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
}

/// A pod, as the kubelet has named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIdentity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: another pod of the same name has another one.
    pub uid: String,
    /// The service account that it runs as, of its own namespace.
    pub service_account: String,
}

/// By which volume somebody came, and so which pod that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByVolume {
    /// Id of the volume.
    pub volume: String,
    /// Whose it is.
    pub pod: PodIdentity,
}

impl From<&Volume> for ByVolume {
    fn from(volume: &Volume) -> ByVolume {
        ByVolume { volume: volume.id.clone(), pod: volume.pod.clone() }
    }
}

/// A region that a volume names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRegion {
    /// `namespace/name`.
    pub name: String,
    /// The pod asks to read only, whatever it may.
    pub read_only: bool,
}

/// A volume whose socket is listening.
#[derive(Clone, Debug)]
pub struct OpenVolume {
    /// What it is.
    pub volume: Arc<Volume>,
    /// Accepts the pod's programs.
    pub listener: Arc<OwnedFd>,
}

/// All volumes of the node, by id, as they come and go. No more of either comes when the sender is gone, as while this agent hands
/// over to another one: those that are there then stay.
pub type Volumes = watch::Receiver<Arc<BTreeMap<String, OpenVolume>>>;

/// Of a node that has no volumes, as without Kubernetes.
#[must_use]
pub fn none() -> Volumes {
    watch::channel(Arc::default()).1
}
