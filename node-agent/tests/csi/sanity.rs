use std::process::Command;

use super::node::on_a_node;

/// The tests that Kubernetes has for all CSI drivers. They are a Go program, which `e2e/run` builds and runs on a cluster; whoever has it
/// names it in `CSI_SANITY`.
#[test]
fn csi_sanity_is_content() {
    let Some(program) = std::env::var_os("CSI_SANITY") else {
        return eprintln!("not shown: build e2e/csi-sanity and name it in CSI_SANITY");
    };
    on_a_node(async move |node| {
        let csi = node.start().unwrap();
        let pod = node.pod("a1");
        let mut sanity = Command::new(program);
        sanity.arg("--endpoint").arg(csi.endpoint()).arg("--pods-dir").arg(node.pods_dir());
        sanity.args(["--pod-uid", &pod.uid, "--pod-name", "trainer-0", "--pod-namespace", "team-a"]);
        let ended = tokio::task::spawn_blocking(move || sanity.status()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
        assert!(node.kept().is_empty() && csi.volumes().borrow().is_empty());
    });
}
