use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use pagemesh_agent::csi::Csi;
use pagemesh_agent::csi::proto::pluginregistration::registration_client::RegistrationClient;
use pagemesh_agent::csi::proto::pluginregistration::{InfoRequest, PluginInfo, RegistrationStatus};
use tonic::transport::Channel;

use super::node::{Node, connect, names, on_a_node, until};

/// The driver's socket in the kubelet's registry that is none of `known`.
async fn next_socket(node: &Node, known: &[&PathBuf]) -> PathBuf {
    let sockets = || {
        let names = names(&node.registry()).into_iter().filter(|name| !name.starts_with('.'));
        names.map(|name| node.registry().join(name)).find(|path| !known.contains(&path))
    };
    until("a socket in the registry", sockets).await
}

/// Asks as the kubelet does.
async fn ask(socket: &Path) -> (RegistrationClient<Channel>, PluginInfo) {
    let mut client = RegistrationClient::new(connect(socket).await);
    let info = client.get_info(InfoRequest {}).await.unwrap().into_inner();
    (client, info)
}

async fn tell(client: &mut RegistrationClient<Channel>, plugin_registered: bool, error: &str) {
    let status = RegistrationStatus { plugin_registered, error: error.into() };
    client.notify_registration_status(status).await.unwrap();
}

fn expected(csi: &Csi) -> PluginInfo {
    PluginInfo {
        r#type: "CSIPlugin".into(),
        name: "csi.pagemesh.io".into(),
        endpoint: csi.endpoint().display().to_string(),
        supported_versions: vec!["1.0.0".into()],
    }
}

#[test]
fn the_kubelet_finds_the_driver_and_may_ask_again() {
    on_a_node(async |node| {
        let csi = node.start().unwrap();
        let socket = next_socket(&node, &[]).await;
        // A kubelet that starts anew asks anew.
        for _ in 0..2 {
            let (mut client, info) = ask(&socket).await;
            assert_eq!(info, expected(&csi));
            tell(&mut client, true, "").await;
        }
        assert!(socket.exists());
        let endpoint = csi.endpoint().to_owned();
        drop(csi);
        until("the sockets to go", || (!socket.exists() && !endpoint.exists()).then_some(())).await;
    });
}

#[test]
fn refused_it_comes_again_by_another_socket() {
    on_a_node(async |node| {
        let csi = node.start().unwrap();
        let first = next_socket(&node, &[]).await;
        let (mut client, _) = ask(&first).await;
        tell(&mut client, false, "another driver of that name is registered").await;
        let second = next_socket(&node, &[&first]).await;
        assert!(!first.exists());
        let (mut client, info) = ask(&second).await;
        assert_eq!(info, expected(&csi));
        tell(&mut client, true, "").await;
        // Somebody has cleaned up.
        fs::remove_file(&second).unwrap();
        let third = next_socket(&node, &[&first, &second]).await;
        ask(&third).await;
    });
}

#[test]
fn a_successor_waits_for_its_predecessor_and_not_for_the_dead() {
    on_a_node(async |node| {
        // As a killed agent leaves them.
        let plugin = node.settings.kubelet_dir.join("plugins/csi.pagemesh.io");
        fs::create_dir(&plugin).unwrap();
        let dead = [node.registry(), plugin].map(|dir| dir.join("pagemesh-0123456789ab.sock"));
        dead.iter().for_each(|path| drop(UnixListener::bind(path).unwrap()));
        // Another driver's.
        let other = node.registry().join("other.sock");
        drop(UnixListener::bind(&other).unwrap());

        let before = node.start().unwrap();
        let first = next_socket(&node, &[&dead[0], &other]).await;
        assert!(!dead.iter().any(|path| path.exists()) && other.exists());
        let (mut client, _) = ask(&first).await;
        tell(&mut client, true, "").await;

        let after = node.start().unwrap();
        assert!(
            before.endpoint().exists() && after.endpoint() != before.endpoint(),
            "neither removes the other's"
        );
        // It has looked for others by now.
        connect(after.endpoint()).await;
        tokio::task::yield_now().await;
        assert_eq!(names(&node.registry()).len(), 2, "the predecessor is registered alone");
        drop((client, before));
        let second = next_socket(&node, &[&first, &other]).await;
        assert!(!first.exists());
        let (_, info) = ask(&second).await;
        assert_eq!(info, expected(&after));
    });
}
