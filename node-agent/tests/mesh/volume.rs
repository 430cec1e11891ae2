//! Volumes of pods, which the tests publish as the kubelet does. Agents mount them in a mount namespace of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use pagemesh_agent::csi::proto::csi::node_client::NodeClient;
use pagemesh_agent::csi::proto::csi::volume_capability::access_mode::Mode;
use pagemesh_agent::csi::proto::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use pagemesh_agent::csi::proto::csi::{NodePublishVolumeRequest, VolumeCapability};
use tonic::transport::Endpoint;

use super::until;

const DRIVER: &str = "csi.pagemesh.io";

/// The directories of a kubelet.
pub(super) fn make_kubelet(dir: &Path) {
    for name in ["pods", "plugins", "plugins_registry"] {
        fs::create_dir_all(kubelet(dir).join(name)).expect("a directory in the tmpfs");
    }
}

/// Its sockets' paths must not be long.
fn kubelet(dir: &Path) -> PathBuf {
    let node = dir.file_name().and_then(|name| name.to_str()).expect("node-N");
    dir.with_file_name(node.replace("node-", "k"))
}

/// Has an agent give volumes to pods, if there is a kubelet.
pub(super) fn serve_pods(command: &mut Command, dir: &Path) {
    use std::os::unix::process::CommandExt;
    if !kubelet(dir).exists() {
        return;
    }
    // No program of these tests loads it.
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    command.args([Path::new("--kubelet-dir"), &kubelet(dir), Path::new("--library"), &library]);
    let alone = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        Ok(mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?)
    };
    // SAFETY: two system calls, with names that are not on the heap.
    unsafe { command.pre_exec(alone) };
}

/// Publishes a volume with these regions for a pod in namespace `default`, and returns its socket.
pub(super) fn publish(dir: &Path, uid: &str, regions: &str) -> PathBuf {
    let parent = kubelet(dir).join("pods").join(uid).join("volumes/kubernetes.io~csi/pagemesh");
    fs::create_dir_all(&parent).expect("a directory in the tmpfs");
    let attributes = [
        ("csi.storage.k8s.io/ephemeral", "true"),
        ("csi.storage.k8s.io/pod.namespace", "default"),
        ("csi.storage.k8s.io/pod.name", "pod"),
        ("csi.storage.k8s.io/pod.uid", uid),
        ("csi.storage.k8s.io/serviceAccount.name", "default"),
        ("regions", regions),
    ];
    let request = NodePublishVolumeRequest {
        volume_id: format!("csi-{uid}"),
        target_path: parent.join("mount").display().to_string(),
        volume_capability: Some(VolumeCapability {
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
            access_type: Some(AccessType::Mount(MountVolume::default())),
        }),
        readonly: true,
        volume_context: attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..NodePublishVolumeRequest::default()
    };
    let plugin = kubelet(dir).join("plugins").join(DRIVER);
    let endpoint = until("the driver to listen", || fs::read_dir(&plugin).ok()?.next()?.ok());
    let endpoint = format!("unix:{}", endpoint.path().display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let channel = Endpoint::from_shared(endpoint).expect("it is an address").connect().await;
        let mut client = NodeClient::new(channel.expect("the driver listens"));
        client.node_publish_volume(request).await.expect("the pod gets its volume");
    });
    let volumes = fs::read_dir(dir.join("volumes")).expect("the agent keeps volumes");
    let sockets = volumes.map(|volume| volume.expect("it is there").path().join("agent.sock"));
    sockets.into_iter().find(|socket| socket.exists()).expect("the volume has a socket")
}
