//! A node without Kubernetes: the directories of a kubelet and of an agent, and the driver between them.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use pagemesh_agent::csi::proto::csi::node_client::NodeClient;
use pagemesh_agent::csi::proto::csi::volume_capability::access_mode::Mode;
use pagemesh_agent::csi::proto::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use pagemesh_agent::csi::proto::csi::{
    NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability,
};
use pagemesh_agent::csi::{Csi, CsiError, Settings};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// For what must happen in the end.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    dir: PathBuf,
    pub(crate) settings: Settings,
    /// Whether the agent serves.
    pub(crate) serving: Arc<AtomicBool>,
}

/// A pod and its volume, as somebody asks for it.
#[derive(Clone)]
pub(crate) struct Pod {
    pub(crate) id: String,
    pub(crate) uid: String,
    pub(crate) target: PathBuf,
    pub(crate) regions: String,
}

/// Runs `test` on a node in a mount namespace of its own, whose mounts go with it.
pub(crate) fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F + Send + 'static) {
    let ended = std::thread::spawn(|| {
        match unshare(CloneFlags::CLONE_NEWNS) {
            Ok(()) => {}
            Err(Errno::EPERM) => panic!("the tests of the CSI driver mount: run them as root"),
            Err(errno) => panic!("cannot have a mount namespace: {errno}"),
        }
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("it is our own");
        // Its threads are made by this one, and so are in the same namespace.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test(Node::new()));
    });
    if let Err(panic) = ended.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Node {
    fn new() -> Node {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/dev/shm/pagemesh-csi-{}-{number}", std::process::id()));
        let (kubelet_dir, run) = (dir.join("kubelet"), dir.join("run"));
        for name in ["pods", "plugins", "plugins_registry"] {
            fs::create_dir_all(kubelet_dir.join(name)).expect("/dev/shm can be written to");
        }
        fs::create_dir(&run).expect("it can");
        // The agent sees the kubelet's directory as its container does, and the kubelet sees what the agent mounts there, as it
        // was when the agent mounted it.
        let host = dir.join("host");
        fs::create_dir(&host).expect("it can");
        let bind =
            |from: &Path, to: &Path| mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>);
        bind(&kubelet_dir, &host).expect("it can be mounted on");
        mount(None::<&str>, &host, None::<&str>, MsFlags::MS_SHARED, None::<&str>).expect("it is our own");
        bind(&host, &kubelet_dir).expect("it can be mounted on");
        // As /run is on Debian and Ubuntu.
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("run"), &run, Some("tmpfs"), flags, None::<&str>).expect("it can be mounted on");
        let library = dir.join("libpagemesh_preload.so");
        fs::write(&library, "one library").expect("it can");
        let settings = Settings { node: "node-a".into(), kubelet_dir, dir: run, library };
        Node { dir, settings, serving: Arc::default() }
    }

    pub(crate) fn start(&self) -> Result<Csi, CsiError> {
        let serving = Arc::clone(&self.serving);
        Csi::start(&self.settings, move || serving.load(Ordering::Relaxed))
    }

    pub(crate) fn pods_dir(&self) -> PathBuf {
        self.settings.kubelet_dir.join("pods")
    }

    pub(crate) fn registry(&self) -> PathBuf {
        self.settings.kubelet_dir.join("plugins_registry")
    }

    /// Where the kubelet has what a pod is to get.
    pub(crate) fn on_the_host(&self, pod: &Pod) -> PathBuf {
        let target = pod.target.strip_prefix(&self.settings.kubelet_dir).expect("it is the kubelet's");
        self.dir.join("host").join(target)
    }

    /// Where the agent keeps volumes.
    pub(crate) fn kept(&self) -> Vec<String> {
        names(&self.settings.dir.join("volumes"))
    }

    /// A pod with the directory that the kubelet makes for its volume.
    pub(crate) fn pod(&self, uid: &str) -> Pod {
        let parent = self.pods_dir().join(uid).join("volumes/kubernetes.io~csi/pagemesh");
        fs::create_dir_all(&parent).expect("it can be made");
        let target = parent.join("mount");
        // As long as the kubelet's.
        Pod {
            id: format!("csi-{uid:0>64}"),
            uid: uid.into(),
            target,
            regions: "table,other/weights:ro".into(),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The mounts go with the namespace, but until then they keep what they are mounted on.
        let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
        let ours = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|point| Path::new(point).starts_with(&self.dir));
        for point in ours.collect::<Vec<_>>().into_iter().rev() {
            let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Pod {
    pub(crate) fn publish(&self) -> NodePublishVolumeRequest {
        let attributes = [
            ("csi.storage.k8s.io/ephemeral", "true"),
            ("csi.storage.k8s.io/pod.namespace", "team-a"),
            ("csi.storage.k8s.io/pod.name", "trainer-0"),
            ("csi.storage.k8s.io/pod.uid", &self.uid),
            ("csi.storage.k8s.io/serviceAccount.name", "trainer"),
            ("regions", &self.regions),
        ];
        NodePublishVolumeRequest {
            volume_id: self.id.clone(),
            target_path: self.target.display().to_string(),
            volume_capability: Some(VolumeCapability {
                access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
                access_type: Some(AccessType::Mount(MountVolume::default())),
            }),
            readonly: true,
            volume_context: attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..NodePublishVolumeRequest::default()
        }
    }

    pub(crate) fn unpublish(&self) -> NodeUnpublishVolumeRequest {
        NodeUnpublishVolumeRequest {
            volume_id: self.id.clone(),
            target_path: self.target.display().to_string(),
        }
    }
}

/// Connects to a socket as the kubelet does.
pub(crate) async fn connect(socket: &Path) -> Channel {
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).expect("it is an address");
    endpoint.connect().await.expect("somebody listens")
}

/// The kubelet's side of the Node service.
pub(crate) struct Kubelet(NodeClient<Channel>);

impl Kubelet {
    pub(crate) async fn of(csi: &Csi) -> Kubelet {
        Kubelet(NodeClient::new(connect(csi.endpoint()).await))
    }

    pub(crate) async fn publish(&mut self, request: NodePublishVolumeRequest) -> Result<(), Status> {
        self.0.node_publish_volume(request).await.map(drop)
    }

    pub(crate) async fn unpublish(&mut self, request: NodeUnpublishVolumeRequest) -> Result<(), Status> {
        self.0.node_unpublish_volume(request).await.map(drop)
    }

    pub(crate) fn client(&mut self) -> &mut NodeClient<Channel> {
        &mut self.0
    }
}

/// What is in a directory, in order.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("it is there");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("it is there").file_name().display().to_string()).collect();
    names.sort();
    names
}

/// Waits until `condition` gives a value.
pub(crate) async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
