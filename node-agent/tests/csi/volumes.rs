use std::fs;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, accept, connect as connect_to, socket};
use nix::sys::statvfs::{FsFlags, statvfs};
use pagemesh_agent::csi::proto::csi::identity_client::IdentityClient;
use pagemesh_agent::csi::proto::csi::{
    GetPluginCapabilitiesRequest, GetPluginInfoRequest, NodeGetCapabilitiesRequest, NodeGetInfoRequest,
    NodeGetVolumeStatsRequest, ProbeRequest,
};
use pagemesh_agent::csi::{Csi, CsiError};
use tonic::{Code, Status};

use super::node::{Kubelet, Node, Pod, connect, names, on_a_node};

pub(super) const LIBRARY: &str = "libpagemesh_preload.so";

/// Who attaches by the pod's directory arrives at the listener that the map has for the volume.
#[track_caller]
pub(super) fn attaches(csi: &Csi, pod: &Pod) {
    let volumes = csi.volumes();
    let open = volumes.borrow()[&pod.id].clone();
    let program = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let address = UnixAddr::new(&pod.target.join("agent.sock")).unwrap();
    connect_to(program.as_raw_fd(), &address).expect("somebody listens");
    let accepted = accept(open.listener.as_raw_fd()).expect("it has connected");
    nix::unistd::close(accepted).unwrap();
}

#[track_caller]
pub(super) fn refused(result: Result<(), Status>, code: Code, words: &str) {
    let status = result.expect_err(words);
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(words), "{words:?} is not in {:?}", status.message());
}

/// How many mounts there are on a directory.
fn mounts_on(target: &Path) -> usize {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    mounts.lines().filter(|line| line.split(' ').nth(1) == target.to_str()).count()
}

#[test]
fn a_volume_is_published_once_however_often_it_is_asked_for() {
    on_a_node(async |node| {
        let csi = node.start().unwrap();
        let mut kubelet = Kubelet::of(&csi).await;
        let pod = node.pod("a1");
        for _ in 0..2 {
            kubelet.publish(pod.publish()).await.unwrap();
            assert_eq!(names(&pod.target), ["agent.sock", LIBRARY]);
            assert_eq!((mounts_on(&pod.target), mounts_on(&node.on_the_host(&pod))), (1, 1));
            attaches(&csi, &pod);
        }
        let volumes = csi.volumes();
        let volume = volumes.borrow()[&pod.id].volume.clone();
        let regions: Vec<_> =
            volume.regions.iter().map(|region| (region.name.as_str(), region.read_only)).collect();
        assert_eq!(regions, [("team-a/table", false), ("other/weights", true)]);
        assert_eq!((volume.pod.uid.as_str(), volume.pod.service_account.as_str()), ("a1", "trainer"));

        // Another request of the same id.
        let mut other = pod.clone();
        other.regions = "table".into();
        refused(kubelet.publish(other.publish()).await, Code::AlreadyExists, "unpublish it first");
        let mut other = node.pod("a2");
        other.id.clone_from(&pod.id);
        refused(kubelet.publish(other.publish()).await, Code::AlreadyExists, "unpublish it first");
        assert!(!other.target.exists());
        attaches(&csi, &pod);

        // The mount was taken away behind our back.
        umount2(&pod.target, MntFlags::MNT_DETACH).unwrap();
        kubelet.publish(pod.publish()).await.unwrap();
        attaches(&csi, &pod);

        for _ in 0..2 {
            kubelet.unpublish(pod.unpublish()).await.unwrap();
            assert!(!pod.target.exists() && pod.target.parent().unwrap().exists());
            assert_eq!((mounts_on(&pod.target), mounts_on(&node.on_the_host(&pod))), (0, 0));
            assert!(volumes.borrow().is_empty());
            assert!(node.kept().is_empty());
        }
    });
}

#[test]
fn what_a_pod_gets_it_can_use_but_not_change() {
    on_a_node(async |node| {
        let csi = node.start().unwrap();
        let mut kubelet = Kubelet::of(&csi).await;
        let (pod, other) = (node.pod("a1"), node.pod("a2"));
        kubelet.publish(pod.publish()).await.unwrap();
        kubelet.publish(other.publish()).await.unwrap();
        // As its containers get it.
        let there = node.on_the_host(&pod);
        let flags = statvfs(&there).unwrap().flags();
        let only_read = FsFlags::ST_RDONLY | FsFlags::ST_NOSUID | FsFlags::ST_NODEV;
        assert!(flags.contains(only_read) && !flags.contains(FsFlags::ST_NOEXEC), "{flags:?}");
        let denied = fs::write(there.join("mine"), "").unwrap_err();
        assert_eq!(denied.raw_os_error(), Some(libc::EROFS));
        let denied = fs::remove_file(there.join("agent.sock")).unwrap_err();
        assert_eq!(denied.raw_os_error(), Some(libc::EROFS));
        // Whatever user its programs run as.
        let mode = |name: &str| fs::metadata(there.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(""), mode("agent.sock"), mode(LIBRARY)), (0o755, 0o666, 0o444));
        // The loader maps it to run it, though where the agent keeps it that is forbidden.
        let len = NonZeroUsize::new(11).unwrap();
        let map = |path: &Path| {
            let protection = ProtFlags::PROT_READ | ProtFlags::PROT_EXEC;
            // SAFETY: a new mapping, which nobody looks at.
            unsafe { mmap(None, len, protection, MapFlags::MAP_PRIVATE, File::open(path).unwrap(), 0) }.err()
        };
        let kept = csi.volumes().borrow()[&pod.id].volume.dir.join(LIBRARY);
        assert_eq!(map(&kept), Some(Errno::EPERM));
        assert_eq!(map(&there.join(LIBRARY)), None);
        // One file serves all pods, and no pod sees what is another's, or the agent's.
        let inode = |pod: &Pod| fs::metadata(pod.target.join(LIBRARY)).unwrap().ino();
        assert_eq!(inode(&pod), inode(&other));
        let sockets = [&pod, &other].map(|pod| fs::metadata(pod.target.join("agent.sock")).unwrap().ino());
        assert_ne!(sockets[0], sockets[1]);
        assert_eq!(node.kept().len(), 4, "a directory and a note for each");
    });
}

#[test]
fn volumes_outlive_the_process_of_the_agent() {
    on_a_node(async |node| {
        let csi = node.start().unwrap();
        let mut kubelet = Kubelet::of(&csi).await;
        let [stays, gone, damaged] = ["a1", "a2", "a3"].map(|uid| node.pod(uid));
        for pod in [&stays, &gone, &damaged] {
            kubelet.publish(pod.publish()).await.unwrap();
        }
        let before = csi.volumes().borrow()[&stays.id].volume.clone();
        let damaged_note = csi.volumes().borrow()[&damaged.id].volume.dir.with_extension("json");
        let endpoint = csi.endpoint().to_owned();
        drop((kubelet, csi));
        tokio::task::yield_now().await;

        umount2(&gone.target, MntFlags::MNT_DETACH).unwrap();
        fs::remove_dir_all(node.pods_dir().join("a2")).unwrap();
        let mut note = fs::read(&damaged_note).unwrap();
        note[40] ^= 1;
        fs::write(&damaged_note, note).unwrap();
        // As when an agent dies while it makes a volume.
        let half = node.settings.dir.join("volumes/0123");
        fs::create_dir(&half).unwrap();
        fs::write(half.join("agent.sock"), "").unwrap();
        fs::write(half.with_extension("new"), "").unwrap();
        fs::write(&node.settings.library, "a newer library").unwrap();

        let csi = node.start().unwrap();
        assert!(!endpoint.exists() && csi.endpoint() != endpoint);
        assert_eq!(csi.volumes().borrow().keys().collect::<Vec<_>>(), [&stays.id]);
        assert_eq!(csi.volumes().borrow()[&stays.id].volume, before);
        assert_eq!(node.kept().len(), 2);
        // By the mount that the pod has had all the time.
        attaches(&csi, &stays);
        assert_eq!(fs::read_to_string(stays.target.join(LIBRARY)).unwrap(), "a newer library");

        let mut kubelet = Kubelet::of(&csi).await;
        kubelet.publish(stays.publish()).await.unwrap();
        assert_eq!(mounts_on(&stays.target), 1);
        for pod in [&stays, &gone, &damaged] {
            kubelet.unpublish(pod.unpublish()).await.unwrap();
            assert!(!pod.target.exists());
        }
        assert!(node.kept().is_empty());
    });
}

#[test]
fn a_reboot_leaves_nothing_but_the_kubelets_directories() {
    on_a_node(async |node| {
        let csi = node.start().unwrap();
        let pod = node.pod("a1");
        Kubelet::of(&csi).await.publish(pod.publish()).await.unwrap();
        drop(csi);
        umount2(&pod.target, MntFlags::MNT_DETACH).unwrap();
        for name in names(&node.settings.dir) {
            fs::remove_dir_all(node.settings.dir.join(name)).unwrap();
        }

        let csi = node.start().unwrap();
        assert!(csi.volumes().borrow().is_empty());
        let mut kubelet = Kubelet::of(&csi).await;
        for _ in 0..2 {
            kubelet.unpublish(pod.unpublish()).await.unwrap();
            assert!(!pod.target.exists());
        }
        // The pod starts again, under the same UID.
        fs::create_dir(&pod.target).unwrap();
        kubelet.publish(pod.publish()).await.unwrap();
        attaches(&csi, &pod);
    });
}

#[test]
fn a_failure_half_way_leaves_nothing() {
    on_a_node(async |node| {
        let csi = node.start().unwrap();
        let mut kubelet = Kubelet::of(&csi).await;
        let pod = node.pod("a1");
        let parent = pod.target.parent().unwrap();
        // By then the directory, the socket and the note are there.
        fs::remove_dir(parent).unwrap();
        refused(kubelet.publish(pod.publish()).await, Code::Internal, "cannot make");
        assert!(node.kept().is_empty() && csi.volumes().borrow().is_empty());
        fs::create_dir(parent).unwrap();
        fs::write(&pod.target, "somebody's").unwrap();
        refused(kubelet.publish(pod.publish()).await, Code::Internal, "cannot mount on");
        assert!(node.kept().is_empty() && csi.volumes().borrow().is_empty());
        assert_eq!(fs::read_to_string(&pod.target).unwrap(), "somebody's");
        fs::remove_file(&pod.target).unwrap();
        kubelet.publish(pod.publish()).await.unwrap();
        attaches(&csi, &pod);

        // What is in the way at the end is not ours to remove.
        kubelet.unpublish(pod.unpublish()).await.unwrap();
        fs::create_dir(&pod.target).unwrap();
        fs::write(pod.target.join("file"), "").unwrap();
        refused(kubelet.unpublish(pod.unpublish()).await, Code::Internal, "cannot unmount");
        assert!(pod.target.join("file").exists());
    });
}

#[test]
fn bad_requests_are_refused_and_change_nothing() {
    on_a_node(async |node| {
        let csi = node.start().unwrap();
        let mut kubelet = Kubelet::of(&csi).await;
        let pod = node.pod("a1");
        let good = pod.publish();
        for key in good.volume_context.keys() {
            let mut request = good.clone();
            request.volume_context.remove(key);
            refused(kubelet.publish(request).await, Code::InvalidArgument, "");
        }
        let mut request = good.clone();
        request.target_path = format!("{}/a1/../../../escaped", node.pods_dir().display());
        refused(kubelet.publish(request).await, Code::InvalidArgument, "--kubelet-dir");
        let mut request = good.clone();
        request.volume_context.insert("csi.storage.k8s.io/pod.uid".into(), "a2".into());
        refused(kubelet.publish(request).await, Code::InvalidArgument, "podInfoOnMount");
        let mut request = pod.unpublish();
        request.target_path = "/etc".into();
        refused(kubelet.unpublish(request).await, Code::InvalidArgument, "--kubelet-dir");
        let mut request = good;
        request.volume_context.insert("regions".into(), "table,".repeat(1 << 20));
        assert!(kubelet.publish(request).await.is_err());
        assert!(node.kept().is_empty() && csi.volumes().borrow().is_empty() && !pod.target.exists());
    });
}

#[test]
fn many_at_a_time_are_all_served() {
    on_a_node(async |node| {
        let csi = node.start().unwrap();
        let pods: Vec<_> = (0..64).map(|at| node.pod(&format!("a{at}"))).collect();
        for round in 0..2 {
            let mut tasks = tokio::task::JoinSet::new();
            for pod in pods.clone() {
                let mut kubelet = Kubelet::of(&csi).await;
                tasks.spawn(async move {
                    if round == 0 {
                        kubelet.publish(pod.publish()).await
                    } else {
                        kubelet.unpublish(pod.unpublish()).await
                    }
                });
            }
            while let Some(done) = tasks.join_next().await {
                done.unwrap().unwrap();
            }
            assert_eq!(csi.volumes().borrow().len(), if round == 0 { 64 } else { 0 });
        }
        assert!(node.kept().is_empty());
    });
}

#[test]
fn a_successor_finds_all_that_its_predecessor_has_begun() {
    on_a_node(async |node| {
        for round in 0..8 {
            let pods: Vec<_> = (0..32).map(|at| node.pod(&format!("a{round}-{at}"))).collect();
            let before = node.start().unwrap();
            let mut tasks = tokio::task::JoinSet::new();
            for pod in pods.clone() {
                let mut kubelet = Kubelet::of(&before).await;
                tasks.spawn(async move { kubelet.publish(pod.publish()).await });
            }
            for _ in 0..4 * round {
                tasks.join_next().await.unwrap().unwrap().unwrap();
            }
            let mut volumes = before.volumes();
            drop(before);
            let made = volumes.borrow_and_update().len();
            let after = node.start().unwrap();
            assert_eq!(after.volumes().borrow().len(), made, "all that was made, and nothing half");
            while tasks.join_next().await.is_some() {}
            assert_eq!(volumes.borrow_and_update().len(), made, "nothing is done any more");
            assert!(volumes.changed().await.is_err(), "and nobody is told that volumes are gone");
            // The kubelet asks again for what was not answered.
            for pod in &pods {
                Kubelet::of(&after).await.publish(pod.publish()).await.unwrap();
                assert_eq!(mounts_on(&pod.target), 1);
                attaches(&after, pod);
                Kubelet::of(&after).await.unpublish(pod.unpublish()).await.unwrap();
            }
            assert!(node.kept().is_empty());
        }
    });
}

#[test]
fn the_driver_says_what_it_is() {
    on_a_node(async |node| {
        let csi = node.start().unwrap();
        let mut identity = IdentityClient::new(connect(csi.endpoint()).await);
        let info = identity.get_plugin_info(GetPluginInfoRequest {}).await.unwrap().into_inner();
        assert_eq!(
            (info.name.as_str(), info.vendor_version.as_str()),
            ("csi.pagemesh.io", env!("CARGO_PKG_VERSION"))
        );
        let able = identity.get_plugin_capabilities(GetPluginCapabilitiesRequest {}).await.unwrap();
        assert!(able.into_inner().capabilities.is_empty());
        for serving in [false, true, false] {
            node.serving.store(serving, Ordering::Relaxed);
            let ready = identity.probe(ProbeRequest {}).await.unwrap().into_inner().ready;
            assert_eq!(ready, Some(serving));
        }
        let mut kubelet = Kubelet::of(&csi).await;
        let info = kubelet.client().node_get_info(NodeGetInfoRequest {}).await.unwrap().into_inner();
        assert_eq!((info.node_id.as_str(), info.max_volumes_per_node), ("node-a", 0));
        let able = kubelet.client().node_get_capabilities(NodeGetCapabilitiesRequest {}).await.unwrap();
        assert!(able.into_inner().capabilities.is_empty());
        let stats = kubelet.client().node_get_volume_stats(NodeGetVolumeStatsRequest::default()).await;
        refused(stats.map(drop), Code::Unimplemented, "Regions");
        let mode = fs::metadata(csi.endpoint()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "nobody but root may call");
    });
}

#[test]
fn what_is_missing_is_named() {
    on_a_node(async |mut node: Node| {
        fs::remove_file(&node.settings.library).unwrap();
        let error = node.start().unwrap_err();
        assert!(
            matches!(&error, CsiError::Library { .. }) && error.to_string().contains("--library"),
            "{error}"
        );
        node.settings.kubelet_dir = "/nowhere".into();
        let error = node.start().unwrap_err();
        assert!(matches!(&error, CsiError::NoKubelet { .. }), "{error}");
        assert!(error.to_string().contains("/nowhere/pods") && error.to_string().contains("--kubelet-dir"));
    });
}
