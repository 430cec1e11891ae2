//! Pods' volumes, and the agents' CSI driver that gives them.

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use pagemesh_crds::CSI_DRIVER;

use crate::install;
use crate::pods::On;
use crate::scene::{SYSTEM, Scene};
use crate::wait::{EVENTUALLY, SOON, Seen, until};

/// Of a pod that is there until somebody ends it.
const STAYS: &[&str] = &["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"];
/// Where the kubelet finds the driver's socket.
const PLUGIN: &str = "/var/lib/kubelet/plugins/csi.pagemesh.io";
/// Prints what the pod has, and that it cannot change it.
const LOOK: &str = "ls /run/pagemesh; id -u; ! rm /run/pagemesh/agent.sock 2>/dev/null && ! touch /run/pagemesh/x 2>/dev/null && echo kept";

/// The tests that Kubernetes has for all CSI drivers, on a node, against the agent that serves it.
pub(super) async fn csi_sanity_is_content(scene: &Scene) -> Result<()> {
    let [node, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    // Volumes are a pod's; the kubelet removes the directories of pods that it does not know.
    scene.start("host", On(node), "table", STAYS).await?;
    let uid = scene.running("host").await?;
    let program = install::beside("csi-sanity")?;
    let program = scene.cluster.bring(node, &program, "csi-sanity").await?;
    let sockets = scene.cluster.on_node(node, &["ls", PLUGIN]).await?;
    let [socket] = sockets.split_whitespace().collect::<Vec<_>>()[..] else {
        anyhow::bail!("one agent has one socket, and there are {sockets}")
    };
    let endpoint = format!("{PLUGIN}/{socket}");
    let sanity =
        [&program, "--ginkgo.no-color", "--endpoint", &endpoint, "--pod-uid", &uid, "--pod-name", "host"];
    let pod = ["--pod-namespace", &scene.namespace];
    let said = scene.cluster.on_node(node, &[&sanity[..], &pod].concat()).await?;
    let (passed, failed) = (count(&said, "Passed"), count(&said, "Failed"));
    ensure!(passed.is_some_and(|passed| passed >= 12) && failed == Some(0), "{said}");
    Ok(())
}

/// The number before a word, as in `12 Passed`.
fn count(text: &str, word: &str) -> Option<u32> {
    text.split(word).next()?.split_whitespace().next_back()?.parse().ok().filter(|_| text.contains(word))
}

pub(super) async fn a_volume_that_is_asked_for_wrongly_says_why(scene: &Scene) -> Result<()> {
    let [node, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    for (pod, regions, words) in [
        ("none", "", "names no region"),
        ("twice", "table,table:ro", "more than once"),
        ("path", "a/b/c", "NAMESPACE/"),
    ] {
        scene.start(pod, On(node), regions, STAYS).await?;
        let about = format!("--field-selector=involvedObject.name={pod}");
        let events = ["get", "events", "-n", &scene.namespace, &about, "-o", "jsonpath={.items[*].message}"];
        until(&format!("an Event that says {words:?}"), EVENTUALLY, async || {
            let said = scene.cluster.kubectl(&events).await?;
            Ok(Seen::when(said.contains(words), || said))
        })
        .await?;
        // It never started, and ends all the same.
        scene.gone(pod).await?;
    }
    // One that is right, and whose region is not there yet.
    let said = scene.run("right", On(node), "table,other/weights:ro", &["sh", "-c", LOOK]).await?;
    let expected = ["agent.sock", "libpagemesh_preload.so", "65534", "kept"];
    ensure!(said.split_whitespace().eq(expected), "the pod sees {said}");
    Ok(())
}

pub(super) async fn a_kubelet_that_starts_anew_finds_the_driver(scene: &Scene) -> Result<()> {
    let [node, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    scene.start("before", On(node), "table", STAYS).await?;
    scene.running("before").await?;
    scene.cluster.on_node(node, &["systemctl", "restart", "kubelet"]).await?;
    scene.run("after", On(node), "table", &["sh", "-c", LOOK]).await?;
    scene.gone("before").await
}

pub(super) async fn volumes_come_and_go_after_their_agent_was_replaced(scene: &Scene) -> Result<()> {
    let [node, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    scene.start("before", On(node), "table", STAYS).await?;
    scene.running("before").await?;
    let agent = install::agent_pod(&scene.cluster, node).await?;
    let agent = agent.and_then(|pod| pod.metadata.name).with_context(|| format!("{node} has no agent"))?;
    let delete = ["delete", "pod", &agent, "-n", SYSTEM, "--force", "--grace-period=0"];
    scene.cluster.kubectl(&delete).await?;
    // Whether the next agent is there yet or not: both wait for it.
    scene.run("after", On(node), "table", &["sh", "-c", LOOK]).await?;
    scene.gone("before").await?;
    let listed = format!("jsonpath={{.spec.drivers[?(@.name==\"{CSI_DRIVER}\")].nodeID}}");
    until("the kubelet to name the driver once", SOON, async || {
        let said = scene.cluster.kubectl(&["get", "csinode", node, "-o", &listed]).await?;
        Ok(Seen::when(said.trim() == node, || said))
    })
    .await?;
    let sockets = scene.cluster.on_node(node, &["ls", PLUGIN]).await?;
    ensure!(sockets.split_whitespace().count() == 1, "the one before has left its socket: {sockets}");
    Ok(())
}

impl Scene {
    /// Waits until a pod runs, and tells its UID.
    async fn running(&self, name: &str) -> Result<String> {
        let pods = self.pods();
        until(&format!("pod {name} to run"), EVENTUALLY, async || {
            let pod = pods.get(name).await?;
            let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
            let uid = pod.metadata.uid.unwrap_or_default();
            Ok(if phase == "Running" { Seen::Yes(uid) } else { Seen::NotYet(phase) })
        })
        .await
    }

    /// Deletes a pod and waits until it is gone, for which its volume must be.
    async fn gone(&self, name: &str) -> Result<()> {
        let pods = self.pods();
        pods.delete(name, &DeleteParams::default()).await?;
        until(&format!("pod {name} to go"), EVENTUALLY, async || {
            let left = pods.get_opt(name).await?;
            Ok(Seen::when(left.is_none(), || format!("{:?}", left.and_then(|pod| pod.status))))
        })
        .await
    }
}
