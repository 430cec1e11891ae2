//! Which pod a process is in, by the names that the kubelet gives to control groups.

/// The UID of the pod that a process is in, from the text of its `/proc/PID/cgroup`; `None` if it is in none.
///
/// A pod's group is `pod<uid>` with the cgroupfs driver, and with systemd `<parents>-pod<uid>.slice`, where blanks in the
/// tree of slices make the UID's dashes underscores. A cluster may itself run in a pod of another cluster: the innermost
/// group that looks like a pod's is this cluster's.
pub(super) fn pod_uid(cgroup: &str) -> Option<String> {
    // Of version 1 there is a line for each controller; all that name a pod name the same one.
    let path = |line: &'_ str| line.splitn(3, ':').nth(2).map(str::to_owned);
    cgroup.lines().filter_map(path).find_map(|path| path.rsplit('/').find_map(uid_of_group))
}

fn uid_of_group(group: &str) -> Option<String> {
    let uid = match group.strip_suffix(".slice") {
        Some(slice) => {
            slice.rsplit_once("-pod").map_or_else(|| slice.strip_prefix("pod"), |(_, uid)| Some(uid))?
        }
        None => group.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    is_uid(&uid).then_some(uid)
}

/// As the API server makes them, or as the kubelet does for the pods that it reads from files: a hash without dashes.
fn is_uid(text: &str) -> bool {
    let hexadecimal = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    (lengths == [8, 4, 4, 4, 12] || lengths == [32]) && text.split('-').all(hexadecimal)
}

#[cfg(test)]
mod tests {
    use super::pod_uid;

    const UID: &str = "0cca0a3c-8ac4-4a2f-9f4d-0e0b2ab3dbb9";
    const ID: &str = "4d4a9f2f5b7d2a3c4e6f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5";

    #[test]
    fn the_pod_of_a_process() {
        let other = "ffffffff-8ac4-4a2f-9f4d-0e0b2ab3dbb9";
        let underscores = UID.replace('-', "_");
        for cgroup in [
            // Version 1, cgroupfs.
            format!(
                "12:memory:/kubepods/burstable/pod{UID}/{ID}\n11:cpu,cpuacct:/kubepods/burstable/pod{UID}/{ID}\n"
            ),
            format!("4:pids:/kubepods/pod{UID}/{ID}\n1:name=systemd:/kubepods/pod{UID}/{ID}\n0::/\n"),
            // Version 1, systemd.
            format!(
                "9:memory:/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{underscores}.slice/docker-{ID}.scope\n"
            ),
            // Version 2, systemd, containerd and CRI-O.
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscores}.slice/cri-containerd-{ID}.scope\n"
            ),
            format!("0::/kubepods.slice/kubepods-pod{underscores}.slice/crio-{ID}.scope\n"),
            // A process that made groups of its own within its container.
            format!("0::/kubepods/besteffort/pod{UID}/{ID}/init.scope\n"),
            // kind: the node is a container itself.
            format!(
                "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{underscores}.slice/cri-containerd-{ID}.scope\n"
            ),
            format!("0::/docker/{ID}/kubelet/kubepods/burstable/pod{UID}/{ID}\n"),
            // Seen from another control group namespace.
            format!("0::/../../pod{UID}/{ID}\n"),
            format!("0::/../../../kubelet-kubepods-pod{underscores}.slice/cri-containerd-{ID}.scope"),
            // A cluster in a pod of another cluster.
            format!("0::/kubepods/burstable/pod{other}/{ID}/kubelet/kubepods/pod{UID}/{ID}\n"),
        ] {
            assert_eq!(pod_uid(&cgroup).as_deref(), Some(UID), "{cgroup}");
        }
        let from_a_file = "0::/kubepods/burstable/pod1df4be2c1c30ce1fdd2a8fb6bb4e3c0e/x\n";
        assert_eq!(pod_uid(from_a_file).as_deref(), Some("1df4be2c1c30ce1fdd2a8fb6bb4e3c0e"));
    }

    #[test]
    fn a_process_in_no_pod() {
        for cgroup in [
            "",
            "0::/\n",
            "0::/user.slice/user-0.slice/session-1.scope\n",
            "0::/kubepods.slice/kubepods-burstable.slice\n",
            "0::/podman/pod123\n",
            "0::/pod\n",
            "0::/kubepods/burstable/pod0CCA0A3C-8ac4-4a2f-9f4d-0e0b2ab3dbb9/x\n",
            "0::/kubepods/burstable/pod../x\n",
            "nonsense\n",
            "1:memory\n",
        ] {
            assert_eq!(pod_uid(cgroup), None, "{cgroup}");
        }
    }
}
