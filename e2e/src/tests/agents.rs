//! Agents that come and go.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use pagemesh_crds::{Agent, Region};

use crate::install::{self, LENDS};
use crate::scene::{SYSTEM, Scene};
use crate::wait::{EVENTUALLY, Seen, until};

impl Scene {
    fn agents(&self) -> Api<Agent> {
        Api::all(self.cluster.client.clone())
    }

    /// Waits until an agent's `Ready` condition is this: a status, or a reason.
    async fn agent_is(&self, node: &str, wanted: &str) -> Result<Agent> {
        let agents = self.agents();
        until(&format!("the agent of {node} to be {wanted}"), EVENTUALLY, async || {
            let Some(agent) = agents.get_opt(node).await? else {
                return Ok(Seen::NotYet("there is none".into()));
            };
            let conditions = agent.status.iter().flat_map(|status| &status.conditions);
            let ready = conditions.clone().find(|c| c.type_ == "Ready").cloned();
            match ready {
                Some(c) if c.status == wanted || c.reason == wanted => Ok(Seen::Yes(agent)),
                other => Ok(Seen::NotYet(format!("{other:?}"))),
            }
        })
        .await
    }

    /// Waits until a region's homes are what `wanted` says and nothing moves any more.
    async fn homes_are(
        &self,
        region: &str,
        what: &str,
        wanted: impl Fn(&[String]) -> bool,
    ) -> Result<Region> {
        let regions = self.regions();
        until(&format!("the homes of {region} to be {what}"), Duration::from_secs(300), async || {
            let object = regions.get(region).await?;
            let placement = object.status.as_ref().and_then(|status| status.placement.clone());
            let homes: Vec<_> =
                placement.iter().flat_map(|p| &p.homes).map(|home| home.agent.clone()).collect();
            let settled = placement.as_ref().is_some_and(|placement| placement.previous.is_empty());
            let conditions = object.status.iter().flat_map(|status| &status.conditions);
            let ready = conditions.clone().any(|c| c.type_ == "Ready" && c.status == "True");
            if settled && ready && wanted(&homes) {
                return Ok(Seen::Yes(object));
            }
            Ok(Seen::NotYet(format!("{placement:?}, ready: {ready}")))
        })
        .await
    }
}

/// Makes the control plane's node lend memory as well, for the time of `body`.
async fn with_third_node(scene: &Scene, body: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let third = &scene.cluster.control_plane;
    install::lend(&scene.cluster, third, true).await?;
    let result = async {
        scene.agent_is(third, "True").await?;
        body().await
    }
    .await;
    install::lend(&scene.cluster, third, false).await?;
    result.and(install::until_no_agent(&scene.cluster, third).await)
}

pub(super) async fn a_third_node_joins_and_attaches(scene: &Scene) -> Result<()> {
    let first = &scene.cluster.workers[0];
    scene.region("table", "size: 1Mi, homes: 2").await?;
    let before = scene.ready("table").await?;
    let written = scene.fill("writer", first, "table", "before").await?;
    with_third_node(scene, async || {
        let third = &scene.cluster.control_plane;
        let read = scene.checksum("reader", third, "table").await?;
        ensure!(written == read, "wrote {written}, the new node read {read}");
        let written = scene.fill("writer-back", third, "table", "back").await?;
        let read = scene.checksum("reader-back", first, "table").await?;
        ensure!(written == read, "the new node wrote {written}, read {read}");
        // A node that joins moves nothing.
        let after = scene.ready("table").await?;
        let epoch =
            |region: &Region| region.status.as_ref().and_then(|s| s.placement.as_ref()).map(|p| p.epoch);
        ensure!(
            epoch(&before) == epoch(&after),
            "the epoch went from {:?} to {:?}",
            epoch(&before),
            epoch(&after)
        );
        // And it homes what comes after it, where that is wanted.
        scene.region("wide", "size: 1Mi, homes: 3").await?;
        scene.homes_are("wide", "on three nodes", |homes| homes.contains(third)).await.map(drop)
    })
    .await?;
    // Its homes went to those who stayed.
    scene
        .homes_are("wide", "on the workers", |homes| !homes.contains(&scene.cluster.control_plane))
        .await
        .map(drop)
}

pub(super) async fn a_drained_home_hands_over_under_load(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    with_third_node(scene, async || {
        let third = &scene.cluster.control_plane;
        scene.region("table", "size: 4Mi, homes: 3").await?;
        scene.homes_are("table", "three", |homes| homes.len() == 3 && homes.contains(second)).await?;
        let written = {
            scene.region("quiet", "size: 4Mi, homes: 3").await?;
            scene.ready("quiet").await?;
            scene.fill("quiet-writer", second, "quiet", "quiet").await?
        };
        let loads = scene.start_loads([first, third], "table").await?;
        let drain =
            ["drain", second, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=240s"];
        let drained = scene.cluster.kubectl(&drain).await;
        let moved = async {
            drained?;
            for region in ["table", "quiet"] {
                scene.homes_are(region, "off the drained node", |homes| !homes.contains(second)).await?;
            }
            loads.go_on(100).await?;
            // What nobody touched while it moved is what it was.
            let read = scene.checksum("quiet-reader", first, "quiet").await?;
            ensure!(written == read, "wrote {written}, after the drain {read}");
            // The drained node's agent holds nothing any more: its node may go.
            let agents = scene.agents();
            until("the drained agent to hold nothing of these regions", EVENTUALLY, async || {
                let held = agents.get(second).await?.status.unwrap_or_default().regions;
                let ours: Vec<_> = held.iter().filter(|held| held.namespace == scene.namespace).collect();
                Ok(Seen::when(ours.is_empty(), || format!("{ours:?}")))
            })
            .await
        }
        .await;
        scene.cluster.kubectl(&["uncordon", second]).await?;
        moved?;
        loads.good().await?;
        Ok(())
    })
    .await
}

pub(super) async fn a_node_that_the_pool_no_longer_selects_hands_over(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    // Two nodes stay, and their programs take pages from each other: what one node alone uses it asks no home for.
    with_third_node(scene, async || {
        let third = &scene.cluster.control_plane;
        for (region, size) in [("table", "2Mi"), ("busy", "1Mi")] {
            scene.region(region, &format!("size: {size}, homes: 3")).await?;
            scene.homes_are(region, "on three nodes", |homes| homes.contains(second)).await?;
        }
        let written = scene.fill("writer", second, "table", "kept").await?;
        let loads = scene.start_loads([first, third], "busy").await?;
        install::lend(&scene.cluster, second, false).await?;
        let handed_over = async {
            for region in ["table", "busy"] {
                scene.homes_are(region, "on the nodes that stay", |homes| !homes.contains(second)).await?;
            }
            loads.go_on(50).await?;
            let read = scene.checksum("reader", first, "table").await?;
            ensure!(written == read, "wrote {written}, read {read}");
            Ok::<_, anyhow::Error>(())
        }
        .await;
        install::lend(&scene.cluster, second, true).await?;
        handed_over?;
        // It comes back with another life and is believed again; what was crowded spreads again.
        scene.agent_is(second, "True").await?;
        scene.homes_are("table", "on three nodes again", |homes| homes.contains(second)).await?;
        let read = scene.checksum("reader-again", second, "table").await?;
        ensure!(written == read, "wrote {written}, after the way back {read}");
        loads.go_on(50).await?;
        loads.good().await?;
        Ok(())
    })
    .await
}

pub(super) async fn a_node_that_cannot_serve_says_so(scene: &Scene) -> Result<()> {
    let (cluster, second) = (&scene.cluster, &scene.cluster.workers[1]);
    let device = async |from: &str, to: &str| cluster.on_node(second, &["mv", from, to]).await;
    install::lend(cluster, second, false).await?;
    let agent = scene.agent_is(second, "Stopped").await;
    let agent = agent.context("the agent must end before its node is broken")?;
    install::until_no_agent(cluster, second).await?;
    // Kubernetes keeps Events for an hour, so there may be some of an earlier run. One that is told again is written again.
    let earlier = preflight_events(scene, &agent).await?;
    let earlier: Vec<_> = earlier.iter().map(|event| &event.metadata.resource_version).collect();
    device("/dev/userfaultfd", "/dev/userfaultfd.away").await?;
    install::lend(cluster, second, true).await?;
    let reported = async {
        let broken = scene.agent_is(second, "PreflightFailed").await?;
        let findings = broken.status.unwrap_or_default().preflight;
        ensure!(
            findings.iter().any(|finding| finding.name.contains("userfaultfd")),
            "the findings do not name the device: {findings:?}"
        );
        until("an Event on the Agent that names the device", EVENTUALLY, async || {
            let mut events = preflight_events(scene, &agent).await?;
            events.retain(|event| !earlier.contains(&&event.metadata.resource_version));
            let texts: Vec<_> = events.into_iter().filter_map(|event| event.message).collect();
            Ok(Seen::when(texts.iter().any(|text| text.contains("userfaultfd")), || format!("{texts:?}")))
        })
        .await?;
        // Nothing is placed there.
        scene.region("table", &format!("size: 1Mi, homes: {}", cluster.workers.len())).await?;
        let message = scene.refused_for("table", "NotEnoughAgents").await?;
        ensure!(message.contains(second.as_str()), "it is not said that {second} is missing: {message}");
        Ok(())
    }
    .await;
    device("/dev/userfaultfd.away", "/dev/userfaultfd").await?;
    // A container has the devices that there were when it began, so the agent's begins anew.
    if let Some(pod) = install::agent_pod(cluster, second).await? {
        cluster.kubectl(&["delete", "pod", &pod.name_any(), "-n", SYSTEM]).await?;
    }
    let healed = scene.agent_is(second, "True").await;
    reported.and(healed.map(drop)).with_context(|| format!("nodes that lend are labelled {LENDS}"))?;
    scene.homes_are("table", "on all nodes", |homes| homes.contains(second)).await.map(drop)
}

/// The Events that tell what an Agent's node lacks.
async fn preflight_events(scene: &Scene, agent: &Agent) -> Result<Vec<Event>> {
    let uid = agent.uid().context("an Agent without a uid")?;
    let fields = format!("involvedObject.kind=Agent,involvedObject.uid={uid},reason=PreflightFailed");
    let events = Api::<Event>::all(scene.cluster.client.clone());
    Ok(events.list(&ListParams::default().fields(&fields)).await?.items)
}
