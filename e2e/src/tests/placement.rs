//! Where regions live, and why some cannot.

use anyhow::{Result, ensure};
use kube::api::DeleteParams;
use pagemesh_crds::Region;

use crate::install;
use crate::scene::Scene;
use crate::wait::{EVENTUALLY, Seen, until};

impl Scene {
    /// Waits until a Region is not Ready for this reason, and returns what is said about it.
    pub(super) async fn refused_for(&self, region: &str, reason: &str) -> Result<String> {
        let regions = self.regions();
        until(&format!("{region} to be refused as {reason}"), EVENTUALLY, async || {
            let object = regions.get(region).await?;
            let ready = object.status.iter().flat_map(|s| &s.conditions).find(|c| c.type_ == "Ready");
            match ready {
                Some(c) if c.status == "False" && c.reason == reason => Ok(Seen::Yes(c.message.clone())),
                other => Ok(Seen::NotYet(format!("{other:?}"))),
            }
        })
        .await
    }
}

fn homes(region: &Region) -> Vec<String> {
    let placement = region.status.as_ref().and_then(|status| status.placement.as_ref());
    placement.into_iter().flat_map(|p| &p.homes).map(|home| home.agent.clone()).collect()
}

pub(super) async fn what_cannot_be_placed_says_why_and_heals(scene: &Scene) -> Result<()> {
    let class = format!("{}-class", scene.namespace);
    scene.region("too-many-homes", "size: 1Mi, homes: 60").await?;
    scene.region("no-class", &format!("size: 1Mi, regionClassName: {class}")).await?;
    for (region, reason, names) in
        [("too-many-homes", "NotEnoughAgents", "60"), ("no-class", "UnknownClass", class.as_str())]
    {
        let message = scene.refused_for(region, reason).await?;
        ensure!(message.contains(names), "{reason} does not say {names}: {message}");
    }
    // Each becomes Ready by itself when its cause goes.
    let good = format!(
        "apiVersion: pagemesh.io/v1alpha1\nkind: RegionClass\nmetadata: {{name: {class}}}\nspec: {{}}\n"
    );
    scene.apply(&good).await?;
    let healed = scene.ready("no-class").await;
    scene.cluster.kubectl(&["delete", "regionclass", &class]).await?;
    healed?;
    scene.region("too-many-homes", "size: 1Mi, homes: 2").await?;
    let region = scene.ready("too-many-homes").await?;
    let homes = homes(&region);
    ensure!(homes.len() == 2 && homes[0] != homes[1], "homes are {homes:?}");
    Ok(())
}

/// A pool of one node, which others do not use at this time, and of little memory.
const POOL: &str = "
apiVersion: pagemesh.io/v1alpha1
kind: AgentPool
metadata: {name: nowhere}
spec:
  nodeSelector: {pagemesh.test/nowhere: \"true\"}
  tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists}]
  memory: 16Mi
";

pub(super) async fn a_pool_comes_gets_a_node_and_has_too_little_memory(scene: &Scene) -> Result<()> {
    // What a run that was interrupted has left.
    remove_pool(scene).await?;
    let result = in_the_pool(scene).await;
    result.and(remove_pool(scene).await)
}

async fn in_the_pool(scene: &Scene) -> Result<()> {
    scene.region("table", "size: 1Mi, agentPoolName: nowhere").await?;
    let message = scene.refused_for("table", "UnknownPool").await?;
    ensure!(message.contains("nowhere"), "the pool is not named: {message}");
    scene.apply(POOL).await?;
    let message = scene.refused_for("table", "NoAgents").await?;
    ensure!(message.contains("nowhere"), "the pool is not named: {message}");
    let node = &scene.cluster.control_plane;
    install::label(&scene.cluster, node, "pagemesh.test/nowhere", Some("true")).await?;
    let region = scene.ready("table").await?;
    ensure!(homes(&region) == [node.as_str()], "homes are {:?}", homes(&region));

    scene.region("large", "size: 12Mi, agentPoolName: nowhere").await?;
    scene.ready("large").await?;
    scene.region("late", "size: 8Mi, agentPoolName: nowhere").await?;
    let message = scene.refused_for("late", "NotEnoughMemory").await?;
    ensure!(message.contains(&format!("{node} has 3Mi left")), "what is left is not said: {message}");
    scene.regions().delete("large", &DeleteParams::default()).await?;
    scene.ready("late").await.map(drop)
}

/// Regions go first: an agent that homes pages would look for others of its pool to take them.
async fn remove_pool(scene: &Scene) -> Result<()> {
    let (cluster, node) = (&scene.cluster, &scene.cluster.control_plane);
    cluster.kubectl(&["delete", "regions", "--all", "--timeout=240s", "-n", &scene.namespace]).await?;
    install::label(cluster, node, "pagemesh.test/nowhere", None).await?;
    install::until_no_agent(cluster, node).await?;
    cluster.kubectl(&["delete", "agentpool", "nowhere", "--ignore-not-found"]).await.map(drop)
}

pub(super) async fn class_defaults_and_limits(scene: &Scene) -> Result<()> {
    let class = format!("{}-class", scene.namespace);
    let object = format!(
        "apiVersion: pagemesh.io/v1alpha1\nkind: RegionClass\nmetadata: {{name: {class}}}\n\
         spec: {{defaults: {{homes: 2, coherence: WriteUpdate}}, limits: {{size: 1Mi, homes: 2, regionsPerNamespace: 2}}}}\n"
    );
    scene.apply(&object).await?;
    let result = within_class(scene, &class).await;
    scene.cluster.kubectl(&["delete", "regionclass", &class]).await?;
    result
}

async fn within_class(scene: &Scene, class: &str) -> Result<()> {
    scene.region("first", &format!("size: 1Mi, regionClassName: {class}")).await?;
    let region = scene.ready("first").await?;
    ensure!(homes(&region).len() == 2, "homes are {:?}", homes(&region));
    let coherence = region.status.and_then(|status| status.placement?.coherence);
    ensure!(coherence.is_some_and(|c| c.name() == "WriteUpdate"), "coherence is {coherence:?}");

    scene.region("large", &format!("size: 2Mi, regionClassName: {class}")).await?;
    let message = scene.refused_for("large", "ClassLimit").await?;
    ensure!(message.contains("1Mi"), "the limit is not named: {message}");
    let shrunk = scene.region("large", &format!("size: 1Mi, regionClassName: {class}")).await;
    ensure!(shrunk.is_err(), "a region has shrunk");
    scene.cluster.kubectl(&["delete", "region", "large", "-n", &scene.namespace]).await?;
    scene.region("second", &format!("size: 1Mi, regionClassName: {class}")).await?;
    scene.ready("second").await?;
    scene.region("third", &format!("size: 1Mi, regionClassName: {class}")).await?;
    scene.refused_for("third", "ClassLimit").await?;
    scene.cluster.kubectl(&["delete", "region", "second", "-n", &scene.namespace]).await?;
    scene.ready("third").await.map(drop)
}
