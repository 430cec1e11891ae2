//! An operator that ends at any moment.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use pagemesh_crds::Agent;

use crate::scene::{SYSTEM, Scene};
use crate::wait::{EVENTUALLY, Seen, until};

impl Scene {
    fn operators(&self) -> (Api<Pod>, ListParams) {
        let pods = Api::namespaced(self.cluster.client.clone(), SYSTEM);
        (pods, ListParams::default().labels("app.kubernetes.io/component=operator"))
    }

    async fn leader(&self) -> Result<Option<String>> {
        let lease =
            Api::<Lease>::namespaced(self.cluster.client.clone(), SYSTEM).get("pagemesh-operator").await?;
        Ok(lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty()))
    }
}

pub(super) async fn killed_twenty_times_while_regions_come_and_go(scene: &Scene) -> Result<()> {
    let (pods, operators) = scene.operators();
    let regions = scene.regions();
    let kill = DeleteParams::default().grace_period(0);
    for round in 0..20 {
        // Three regions come, one goes, and the operator dies somewhere in between: at once, or after the next reaction
        // to what it did.
        for part in 0..3 {
            scene
                .region(&format!("r-{round}-{part}"), &format!("size: 256Ki, homes: {}", 1 + part % 2))
                .await?;
        }
        if round % 3 == 1 {
            let name = format!("r-{round}-0");
            until("the first reaction", EVENTUALLY, async || {
                let region = regions.get(&name).await?;
                let touched = region.metadata.finalizers.is_some_and(|f| !f.is_empty());
                Ok(Seen::when(touched, || "none".into()))
            })
            .await?;
        }
        if round % 3 == 2 {
            scene.ready(&format!("r-{round}-1")).await?;
        }
        if round > 0 {
            regions.delete(&format!("r-{}-2", round - 1), &DeleteParams::default()).await?;
        }
        for pod in pods.list(&operators).await? {
            let name = pod.metadata.name.context("a pod without a name")?;
            pods.delete(&name, &kill).await?;
        }
    }
    // All that should be there is, and Ready; all that should be gone is gone.
    let expected: BTreeSet<String> = (0..20)
        .flat_map(|round| (0..3).map(move |part| format!("r-{round}-{part}")))
        .filter(|name| !name.ends_with("-2") || name == "r-19-2")
        .collect();
    until("all regions to be as declared", EVENTUALLY, async || {
        let all = regions.list(&ListParams::default()).await?;
        let there: BTreeSet<String> = all.iter().filter_map(|region| region.metadata.name.clone()).collect();
        let ready = |region: &&pagemesh_crds::Region| {
            let conditions = region.status.iter().flat_map(|status| &status.conditions);
            conditions.clone().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        let ready = all.iter().filter(ready).count();
        Ok(Seen::when(there == expected && ready == expected.len(), || {
            format!("{} regions, {ready} ready, wanted {}", there.len(), expected.len())
        }))
    })
    .await?;
    nothing_is_orphaned_or_double(scene).await
}

/// Every agent has a number of its own, and holds only regions that exist.
async fn nothing_is_orphaned_or_double(scene: &Scene) -> Result<()> {
    let agents = Api::<Agent>::all(scene.cluster.client.clone());
    let all_regions = Api::<pagemesh_crds::Region>::all(scene.cluster.client.clone());
    until("agents to hold only what exists", EVENTUALLY, async || {
        let uids: BTreeSet<String> = all_regions
            .list(&ListParams::default())
            .await?
            .into_iter()
            .filter_map(|r| r.metadata.uid)
            .collect();
        let mut ids = BTreeMap::new();
        for agent in agents.list(&ListParams::default()).await? {
            let name = agent.metadata.name.unwrap_or_default();
            let id = agent.spec.id.context("an agent without an id")?;
            ensure!(ids.insert(id, name.clone()).is_none(), "two agents have id {id}");
            let held = agent.status.unwrap_or_default().regions;
            if let Some(orphan) = held.iter().find(|held| !uids.contains(&held.uid)) {
                return Ok(Seen::NotYet(format!("{name} still holds {}/{}", orphan.namespace, orphan.name)));
            }
        }
        Ok(Seen::Yes(()))
    })
    .await
}

pub(super) async fn another_leader_takes_over(scene: &Scene) -> Result<()> {
    let cluster = &scene.cluster;
    cluster.kubectl(&["scale", "deployment/pagemesh-operator", "-n", SYSTEM, "--replicas=2"]).await?;
    let result = hand_over(scene).await;
    cluster.kubectl(&["scale", "deployment/pagemesh-operator", "-n", SYSTEM, "--replicas=1"]).await?;
    result
}

async fn hand_over(scene: &Scene) -> Result<()> {
    let rollout = ["rollout", "status", "deployment/pagemesh-operator", "-n", SYSTEM, "--timeout=240s"];
    scene.cluster.kubectl(&rollout).await?;
    let (pods, _) = scene.operators();
    for round in 0..2 {
        let leader = until("a leader", EVENTUALLY, async || {
            Ok(scene.leader().await?.map_or(Seen::NotYet("nobody".into()), Seen::Yes))
        })
        .await?;
        let pod = pods.get_opt(&leader).await?;
        ensure!(pod.is_some(), "the Lease names {leader}, which is no pod");
        // Once with notice, once without.
        let way = if round == 0 { DeleteParams::default() } else { DeleteParams::default().grace_period(0) };
        pods.delete(&leader, &way).await?;
        until("another leader", EVENTUALLY, async || {
            let now = scene.leader().await?;
            Ok(Seen::when(now.as_ref().is_some_and(|now| *now != leader), || {
                format!("{now:?}, after {leader}")
            }))
        })
        .await?;
        let region = format!("table-{round}");
        scene.region(&region, "size: 256Ki").await?;
        scene.ready(&region).await?;
    }
    Ok(())
}
