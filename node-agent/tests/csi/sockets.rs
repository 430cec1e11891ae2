//! Who reaches the sockets of volumes, and when.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_to, socket};
use nix::sys::statvfs::statvfs;
use tonic::Code;

use super::node::{Kubelet, Node, on_a_node, until};
use super::volumes::{LIBRARY, attaches, refused};

/// Connects to a socket as a user of the node without any right.
fn knock_as_nobody(socket_path: &Path) -> Result<(), Errno> {
    let knock = || {
        // SAFETY: they change what this thread may do with files, and it ends with this.
        unsafe {
            libc::setfsgid(65534);
            libc::setfsuid(65534);
        }
        let program = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect_to(program.as_raw_fd(), &UnixAddr::new(socket_path)?)
    };
    std::thread::scope(|scope| scope.spawn(knock).join().unwrap())
}

#[test]
fn a_pods_socket_is_its_own() {
    on_a_node(async |node| {
        // As an earlier release has left it.
        let volumes = node.settings.dir.join("volumes");
        fs::create_dir(&volumes).unwrap();
        fs::set_permissions(&volumes, fs::Permissions::from_mode(0o755)).unwrap();
        let csi = node.start().unwrap();
        let mut kubelet = Kubelet::of(&csi).await;
        let pod = node.pod("a1");
        kubelet.publish(pod.publish()).await.unwrap();
        assert_eq!(fs::metadata(&volumes).unwrap().permissions().mode() & 0o7777, 0o700);
        let kept = csi.volumes().borrow()[&pod.id].volume.dir.join("agent.sock");
        // Who sees the agent's directory on the node gets at nobody's socket.
        assert_eq!(knock_as_nobody(&kept), Err(Errno::EACCES));
        assert_eq!(knock_as_nobody(&node.on_the_host(&pod).join("agent.sock")), Ok(()));
    });
}

/// Lets the agent's directory have so many more files.
fn room_for(node: &Node, files: u64) {
    let dir = &node.settings.dir;
    let there = statvfs(dir).unwrap();
    let max = format!("nr_inodes={}", there.files() - there.files_free() + files);
    mount(None::<&str>, dir, None::<&str>, MsFlags::MS_REMOUNT, Some(max.as_str())).unwrap();
}

#[test]
fn a_living_pods_volume_waits_until_it_can_be_opened() {
    on_a_node(async |node| {
        let csi = node.start().unwrap();
        let mut kubelet = Kubelet::of(&csi).await;
        let [stays, unpublished, gone] = ["a1", "a2", "a3"].map(|uid| node.pod(uid));
        for pod in [&stays, &unpublished, &gone] {
            kubelet.publish(pod.publish()).await.unwrap();
        }
        drop((kubelet, csi));
        tokio::task::yield_now().await;

        room_for(&node, 0);
        let csi = node.start().unwrap();
        let mut kubelet = Kubelet::of(&csi).await;
        refused(kubelet.publish(stays.publish()).await, Code::Internal, "No space left");
        assert!(csi.volumes().borrow().is_empty());
        assert_eq!(node.kept().len(), 6, "nothing is lost");
        assert!(fs::metadata(stays.target.join("agent.sock")).is_ok(), "the pod has its mount");

        // What is over is not opened when there is room.
        umount2(&gone.target, MntFlags::MNT_DETACH).unwrap();
        fs::remove_dir_all(node.pods_dir().join("a3")).unwrap();
        kubelet.unpublish(unpublished.unpublish()).await.unwrap();
        assert!(!unpublished.target.exists());
        room_for(&node, 100);
        until("the volume that waits", || csi.volumes().borrow().contains_key(&stays.id).then_some(())).await;
        until("the volume without a pod", || (node.kept().len() == 2).then_some(())).await;
        attaches(&csi, &stays);
        kubelet.publish(stays.publish()).await.unwrap();
        kubelet.unpublish(stays.unpublish()).await.unwrap();
        assert!(node.kept().is_empty());
    });
}

#[test]
fn a_pod_keeps_the_library_that_it_has_if_it_cannot_get_a_newer_one() {
    on_a_node(async |node| {
        let csi = node.start().unwrap();
        let pod = node.pod("a1");
        Kubelet::of(&csi).await.publish(pod.publish()).await.unwrap();
        let in_the_way = csi.volumes().borrow()[&pod.id].volume.dir.join(format!(".{LIBRARY}.new"));
        drop(csi);
        fs::write(&node.settings.library, "a newer library").unwrap();
        fs::create_dir(&in_the_way).unwrap();
        for expected in ["one library", "a newer library"] {
            let csi = node.start().unwrap();
            attaches(&csi, &pod);
            assert_eq!(fs::read_to_string(pod.target.join(LIBRARY)).unwrap(), expected);
            let _ = fs::remove_dir(&in_the_way);
        }
    });
}
