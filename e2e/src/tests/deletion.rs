//! Regions that go.

use anyhow::{Result, bail, ensure};
use kube::api::DeleteParams;

use crate::pods::On;
use crate::scene::Scene;
use crate::wait::{EVENTUALLY, SOON, Seen, until};

pub(super) async fn deletion_waits_for_attachments_and_names_them(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    scene.region("table", "size: 1Mi").await?;
    scene.ready("table").await?;
    let load = scene.start_load(On(first), "table", 0, 1).await?;
    load.goes_on(10).await?;

    let regions = scene.regions();
    regions.delete("table", &DeleteParams::default()).await?;
    let region = scene.condition("table", "Deleting", "True").await?;
    let pod = format!("{}/{}", scene.namespace, load.name);
    until("the condition to name the pod that holds the region", SOON, async || {
        let region = regions.get("table").await?;
        let condition = region.status.iter().flat_map(|s| &s.conditions).find(|c| c.type_ == "Deleting");
        let message = condition.map(|c| c.message.clone()).unwrap_or_default();
        Ok(Seen::when(message.contains(&pod), || message))
    })
    .await?;
    ensure!(region.metadata.deletion_timestamp.is_some(), "it is not being deleted");
    // Who is attached goes on; who comes is refused, and told why.
    load.goes_on(20).await?;
    let name = format!("{}/table", scene.namespace);
    let late = scene.run("late", On(second), "table", &["python3", "-c", super::sharing::READ, &name]).await;
    let Err(refusal) = late else { bail!("a region that is being deleted takes somebody") };
    let refusal = format!("{refusal:#}");
    ensure!(refusal.contains("delet"), "the refusal does not say why: {refusal}");

    load.good().await?;
    until("the region to go when nobody holds it", EVENTUALLY, async || {
        Ok(Seen::when(regions.get_opt("table").await?.is_none(), || "it is there".into()))
    })
    .await
}

pub(super) async fn a_recreated_region_is_a_new_one(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    let regions = scene.regions();
    let mut empty = None;
    for round in 0..3 {
        scene.region("table", "size: 256Ki, homes: 2").await?;
        scene.ready("table").await?;
        let zeros = scene.checksum(&format!("before-{round}"), second, "table").await?;
        ensure!(empty.get_or_insert(zeros.clone()) == &zeros, "a new region is not empty");
        let written = scene.fill(&format!("writer-{round}"), first, "table", &round.to_string()).await?;
        let read = scene.checksum(&format!("reader-{round}"), second, "table").await?;
        ensure!(written == read && written != zeros, "wrote {written}, read {read}");
        regions.delete("table", &DeleteParams::default()).await?;
        until("the region to go", EVENTUALLY, async || {
            Ok(Seen::when(regions.get_opt("table").await?.is_none(), || "it is there".into()))
        })
        .await?;
    }
    Ok(())
}
