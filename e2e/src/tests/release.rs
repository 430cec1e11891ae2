//! Helm: install, test, upgrade, uninstall.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use pagemesh_crds::{Agent, Region};

use crate::cluster::said;
use crate::install::{self, RELEASE};
use crate::scene::{SYSTEM, Scene};
use crate::temporary::Temporary;
use crate::wait::{EVENTUALLY, Seen, until};

pub(super) async fn helm_test_passes(scene: &Scene) -> Result<()> {
    let said = scene.cluster.run("helm", &["test", RELEASE, "-n", SYSTEM, "--timeout=4m"]).await?;
    ensure!(said.contains("Succeeded"), "{said}");
    Ok(())
}

/// The tag that an upgrade goes to.
const NEXT: &str = "e2e-next";

/// Gives an image on a node of kind another tag.
async fn retag(scene: &Scene, node: &str, image: &str) -> Result<()> {
    let ctr = ["ctr", "--namespace=k8s.io", "images"];
    let list = scene.cluster.on_node(node, &[&ctr[..], &["list", "--quiet"]].concat()).await?;
    let ours = format!("pagemesh/{image}:");
    let is_ours = |name: &&str| name.contains(&ours) && !name.ends_with(NEXT);
    let old = list.lines().find(is_ours).with_context(|| format!("{node} has no image {ours}"))?;
    let new = format!("{}:{NEXT}", old.rsplit_once(':').map_or(old, |(name, _)| name));
    scene.cluster.on_node(node, &[&ctr[..], &["tag", "--force", old, &new]].concat()).await.map(drop)
}

/// The chart as it was in the commit before this one, in a directory. None if it cannot be had.
async fn chart_before(scene: &Scene, directory: &Temporary) -> Result<Option<PathBuf>> {
    let archive = directory.join("chart.tar")?;
    let taken = ["archive", "-o", &archive, "HEAD~1", "charts/pagemesh"];
    let output = scene.cluster.attempt("git", &taken).await?;
    if !output.status.success() {
        println!(
            "\nthis chart is upgraded to itself, for that of the commit before cannot be had: {}",
            said(&output)
        );
        return Ok(None);
    }
    scene.cluster.run("tar", &["-xf", &archive, "-C", &directory.join("")?]).await?;
    Ok(Some(directory.path().join("charts/pagemesh")))
}

pub(super) async fn an_upgrade_and_its_rollback_are_not_noticed(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    let now = scene.cluster.root.join("charts/pagemesh");
    // The same programs under another tag: what is upgraded is the way they run, and that they run anew.
    for node in scene.cluster.workers.iter().chain([&scene.cluster.control_plane]) {
        for image in ["operator", "agent"] {
            retag(scene, node, image).await?;
        }
    }
    scene.region("table", "size: 4Mi, homes: 2").await?;
    scene.ready("table").await?;
    let written = {
        scene.region("quiet", "size: 4Mi, homes: 2").await?;
        scene.ready("quiet").await?;
        scene.fill("quiet-writer", first, "quiet", "quiet").await?
    };
    let loads = scene.start_loads([first, second], "table").await?;
    let lives = lives(scene).await?;

    let tags = format!("operator.image.tag={NEXT},agent.image.tag={NEXT}");
    install::install(&scene.cluster, &now, &["--set-string", &tags]).await?;
    all_replaced(scene, NEXT).await?;
    loads.go_on(50).await.context("after the upgrade")?;
    println!("\nupgrade: {}", pauses(scene).await?);
    scene.cluster.run("helm", &["rollback", RELEASE, "-n", SYSTEM, "--wait", "--timeout=5m"]).await?;
    all_replaced(scene, env!("CARGO_PKG_VERSION")).await?;
    loads.go_on(50).await.context("after the rollback")?;
    println!("rollback: {}", pauses(scene).await?);

    let after = self::lives(scene).await?;
    ensure!(after == lives, "the agents were in lives {lives:?} and are in {after:?}: their memory is lost");
    loads.good().await?;
    scene.ready("table").await?;
    let read = scene.checksum("quiet-reader", second, "quiet").await?;
    ensure!(written == read, "wrote {written}, after the upgrade {read}");
    Ok(())
}

/// Waits until all agents run an image of this tag, and none runs another one.
async fn all_replaced(scene: &Scene, tag: &str) -> Result<()> {
    let pods = Api::<Pod>::namespaced(scene.cluster.client.clone(), SYSTEM);
    let agents = ListParams::default().labels("app.kubernetes.io/component=agent");
    until(&format!("all agents to run {tag}"), EVENTUALLY, async || {
        let pods = pods.list(&agents).await?.items;
        let images: Vec<_> = pods.iter().filter_map(image_if_ready).collect();
        let done = images.len() == pods.len()
            && images.len() == scene.cluster.workers.len()
            && images.iter().all(|image| image.ends_with(&format!(":{tag}")));
        Ok(Seen::when(done, || format!("{} pods, of which these are ready: {images:?}", pods.len())))
    })
    .await
}

fn image_if_ready(pod: &Pod) -> Option<&str> {
    let ready = pod.status.as_ref()?.container_statuses.as_ref()?.iter().all(|status| status.ready);
    let image = pod.spec.as_ref()?.containers.first()?.image.as_deref()?;
    ready.then_some(image)
}

/// For how long nobody served on each node, as the agents measure it.
async fn pauses(scene: &Scene) -> Result<String> {
    let mut pauses = Vec::new();
    for node in &scene.cluster.workers {
        let pod = install::agent_pod(&scene.cluster, node).await?.context("no agent")?;
        let name = pod.metadata.name.context("a pod without a name")?;
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{name}:7480/proxy/metrics");
        let metrics = scene.cluster.kubectl(&["get", "--raw", &path]).await?;
        let sum = r#"pagemesh_take_over_seconds_sum{before="handed-over"} "#;
        let seconds = metrics.lines().find_map(|line| line.strip_prefix(sum));
        let seconds = seconds.with_context(|| format!("the agent of {node} was not handed over to"))?;
        pauses.push(format!("{:.1} ms", 1000.0 * seconds.parse::<f64>()?));
    }
    Ok(format!("nobody served for {} on the nodes", pauses.join(" and ")))
}

pub(super) async fn an_upgrade_from_the_chart_before_keeps_what_regions_hold(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    let now = scene.cluster.root.join("charts/pagemesh");
    let directory = Temporary::new("chart-before")?;
    let before = chart_before(scene, &directory).await?.unwrap_or_else(|| now.clone());
    uninstall(scene).await?;
    install::install(&scene.cluster, &before, &[]).await.context("the chart of the commit before")?;
    scene.region("table", "size: 4Mi, homes: 2").await?;
    scene.ready("table").await?;
    let written = scene.fill("writer", first, "table", "kept").await?;
    install::install(&scene.cluster, &now, &[]).await?;
    scene.ready("table").await?;
    let read = scene.checksum("reader", second, "table").await?;
    ensure!(written == read, "wrote {written}, after the upgrade {read}");
    Ok(())
}

/// The lives of all agents that serve.
async fn lives(scene: &Scene) -> Result<BTreeSet<String>> {
    let agents = Api::<Agent>::all(scene.cluster.client.clone()).list(&ListParams::default()).await?;
    let life = |agent: Agent| {
        let status = agent.status?;
        let ready = status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        status.incarnation.filter(|_| ready)
    };
    Ok(agents.into_iter().filter_map(life).collect())
}

async fn uninstall(scene: &Scene) -> Result<String> {
    let said =
        scene.cluster.run("helm", &["uninstall", RELEASE, "-n", SYSTEM, "--wait", "--timeout=5m"]).await?;
    until("all pods to go", EVENTUALLY, async || {
        let left = scene.cluster.kubectl(&["get", "pods", "-n", SYSTEM, "-o", "name"]).await?;
        Ok(Seen::when(left.trim().is_empty(), || left))
    })
    .await?;
    Ok(said)
}

pub(super) async fn uninstalling_leaves_regions(scene: &Scene) -> Result<()> {
    scene.region("table", "size: 1Mi").await?;
    scene.ready("table").await?;
    let said = uninstall(scene).await?;
    ensure!(
        said.contains("customresourcedefinition") || said.contains("CustomResourceDefinition"),
        "Helm does not say what it leaves: {said}"
    );
    if scene.cluster.of_kind {
        for node in &scene.cluster.workers {
            let left =
                scene.cluster.on_node(node, &["find", "/run/pagemesh/memory", "-mindepth", "1"]).await?;
            ensure!(left.trim().is_empty(), "{node} still has {left}");
        }
    }
    let regions = Api::<Region>::namespaced(scene.cluster.client.clone(), &scene.namespace);
    ensure!(regions.get_opt("table").await?.is_some(), "the Region is gone");
    // Nobody is left to look after it, and it can be deleted all the same.
    regions.delete("table", &kube::api::DeleteParams::default()).await?;
    until("the Region to go", EVENTUALLY, async || {
        let left = regions.get_opt("table").await?;
        Ok(Seen::when(left.is_none(), || format!("{:?}", left.map(|region| region.metadata.finalizers))))
    })
    .await?;
    let left = [
        "get",
        "clusterroles,clusterrolebindings,daemonsets,deployments,services,validatingadmissionpolicies,\
         mutatingadmissionpolicies",
        "-A",
    ];
    let labelled = [&left[..], &["-l", "app.kubernetes.io/part-of=pagemesh", "-o", "name"]].concat();
    let left = scene.cluster.kubectl(&labelled).await?;
    ensure!(left.trim().is_empty(), "left behind: {left}");
    // And it can be installed again over what was left.
    install::install(&scene.cluster, &scene.cluster.root.join("charts/pagemesh"), &[]).await
}
