//! Where regions live, and why some cannot.

use anyhow::{Result, ensure};
use pagemesh_crds::Region;

use crate::scene::Scene;
use crate::wait::{EVENTUALLY, Seen, until};

impl Scene {
    /// Waits until a Region is not Ready for this reason, and returns what is said about it.
    async fn refused_for(&self, region: &str, reason: &str) -> Result<String> {
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
    scene.region("too-large", "size: 15Ti, homes: 2").await?;
    scene.region("no-pool", "size: 1Mi, agentPoolName: nowhere").await?;
    scene.region("no-class", &format!("size: 1Mi, regionClassName: {class}")).await?;
    for (region, reason, names) in [
        ("too-many-homes", "NotEnoughAgents", "60"),
        ("too-large", "NotEnoughMemory", "7680Gi"),
        ("no-pool", "UnknownPool", "nowhere"),
        ("no-class", "UnknownClass", class.as_str()),
    ] {
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
    scene
        .region("large", &format!("size: 1Mi, regionClassName: {class}"))
        .await
        .expect_err("sizes do not shrink");
    scene.cluster.kubectl(&["delete", "region", "large", "-n", &scene.namespace]).await?;
    scene.region("second", &format!("size: 1Mi, regionClassName: {class}")).await?;
    scene.ready("second").await?;
    scene.region("third", &format!("size: 1Mi, regionClassName: {class}")).await?;
    scene.refused_for("third", "ClassLimit").await?;
    scene.cluster.kubectl(&["delete", "region", "second", "-n", &scene.namespace]).await?;
    scene.ready("third").await.map(drop)
}
