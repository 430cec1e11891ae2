//! `pagemesh-operator uninstall`: what must be done before the objects of an installation are removed, so that no agent
//! is left without an operator, and no Region with a finalizer that nobody would ever take off.
//!
//! It is run by a job with rights of its own: the operator itself may delete nothing.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use pagemesh_crds::{Agent, AgentPool, Region};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::Instant;

use crate::apply::finalizers_patch;
use crate::leader::LEASE;
use crate::plan::FINALIZER;

const OPERATORS: &str = "app.kubernetes.io/name=pagemesh,app.kubernetes.io/component=operator";
const AGENTS: &str = "app.kubernetes.io/name=pagemesh,app.kubernetes.io/component=agent";
/// The pool that the operator was given by the chart and no one else has made.
const POOL_OF_THE_CHART: &str = "app.kubernetes.io/name=pagemesh,app.kubernetes.io/managed-by=Helm";

const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How often a Region is tried that somebody else writes at the same time.
const ATTEMPTS_MAX: u32 = 5;

/// What `uninstall` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct UninstallArgs {
    /// Namespace of the operator and its agents.
    #[arg(long)]
    namespace: String,
    /// Name of the operator's Deployment.
    #[arg(long, default_value = "pagemesh-operator")]
    deployment: String,
    /// How long to wait for the operator's pods, and then for the agents' pods, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

/// Ends all agents and gives up all Regions. What is done already is passed over, so it may be run again.
///
/// # Errors
/// The API server cannot be reached or refuses; nothing is undone. Pods that do not end in time are no error.
pub(crate) async fn run(args: &UninstallArgs) -> Result<()> {
    let client = Client::try_default().await.context("cannot find the API server: run this in a pod")?;
    // The operator goes first: it would move pages between agents that are all about to end.
    stop_operator(&client, args).await?;
    end_agents(&client, args).await?;
    release_regions(&client).await
}

async fn stop_operator(client: &Client, args: &UninstallArgs) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &args.namespace);
    let none = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    match deployments.patch_scale(&args.deployment, &PatchParams::default(), &none).await {
        Ok(_) => {}
        Err(error) if is_not_found(&error) => {}
        Err(error) => return Err(error).context("cannot stop the operator"),
    }
    wait_for_pods(client, args, OPERATORS).await?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), &args.namespace);
    match leases.delete(LEASE, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(error) if is_not_found(&error) => {}
        Err(error) => return Err(error).context("cannot delete the Lease by which one operator leads"),
    }
    println!("the operator has ended");
    Ok(())
}

/// Ends the agents while their pools are there: with a pool goes the right of its agents to see that no other is left to
/// take over, and they would wait for one.
async fn end_agents(client: &Client, args: &UninstallArgs) -> Result<()> {
    tell_agents_that_nobody_follows(client).await?;
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), &args.namespace);
    let of_pools = ListParams::default().labels(AGENTS);
    delete_all(&daemon_sets, &of_pools).await.context("cannot delete the DaemonSets of agents")?;
    wait_for_pods(client, args, AGENTS).await?;
    delete_all(&all::<Agent>(client), &ListParams::default()).await.context("cannot delete the Agents")?;
    // Pools that somebody else has made stay as they are declared.
    let of_the_chart = ListParams::default().labels(POOL_OF_THE_CHART);
    delete_all(&all::<AgentPool>(client), &of_the_chart)
        .await
        .context("cannot delete the default AgentPool")?;
    println!("the agents have ended");
    Ok(())
}

/// An agent that is told to end asks the operator what is to become of what it holds, and there is none any more.
async fn tell_agents_that_nobody_follows(client: &Client) -> Result<()> {
    let agents = all::<Agent>(client);
    let list = match agents.list(&ListParams::default()).await {
        Ok(list) => list,
        Err(error) if is_not_found(&error) => return Ok(()),
        Err(error) => return Err(error).context("cannot list the Agents"),
    };
    let goes = Patch::Merge(json!({ "spec": { "ending": { "podName": null, "stays": false } } }));
    for agent in list {
        match agents.patch(&agent.name_any(), &PatchParams::default(), &goes).await {
            Ok(_) => {}
            Err(error) if is_not_found(&error) => {}
            Err(error) => {
                return Err(error).context("cannot tell the Agents that none follows on their nodes");
            }
        }
    }
    Ok(())
}

/// Takes the finalizer off all Regions, and the placement, which names agents that are no more.
async fn release_regions(client: &Client) -> Result<()> {
    let regions = match all::<Region>(client).list(&ListParams::default()).await {
        Ok(regions) => regions,
        Err(error) if is_not_found(&error) => return Ok(()),
        Err(error) => return Err(error).context("cannot list the Regions"),
    };
    let mut refused = Vec::new();
    for region in &regions {
        let name = region.name_any();
        let namespace = region.namespace().unwrap_or_default();
        match release(client, &namespace, &name).await {
            Ok(()) => {}
            // It went in the meantime.
            Err(error) if is_not_found(&error) => {}
            // One that refuses must not keep the others.
            Err(error) => refused.push(format!("{namespace}/{name}: {error}")),
        }
    }
    let released = regions.items.len() - refused.len();
    println!("{released} Regions stay as they are declared, without their contents");
    ensure!(
        refused.is_empty(),
        "cannot take the finalizer off all Regions; mend what is wrong with these and run this again: {}",
        refused.join("; ")
    );
    Ok(())
}

async fn release(client: &Client, namespace: &str, name: &str) -> kube::Result<()> {
    let regions: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<Region>(&()));
    let parameters = PatchParams::default();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let unplaced = Patch::Merge(json!({ "status": null }));
        let region = regions.patch_status(name, &parameters, &unplaced).await?;
        let others = region.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER);
        let others: Vec<String> = others.cloned().collect();
        let unmarked =
            Patch::Merge(finalizers_patch(&region.resource_version().unwrap_or_default(), &others));
        match regions.patch(name, &parameters, &unmarked).await {
            Ok(_) => return Ok(()),
            // Somebody has written it in between, maybe a finalizer of theirs.
            Err(kube::Error::Api(status)) if status.code == 409 && attempts < ATTEMPTS_MAX => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits until no pod has these labels, and says so when it waits no longer.
async fn wait_for_pods(client: &Client, args: &UninstallArgs, labels: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &args.namespace);
    let theirs = ListParams::default().labels(labels);
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let left = pods.list_metadata(&theirs).await.context("cannot list the pods")?;
        if left.items.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let names: Vec<String> = left.iter().map(ResourceExt::name_any).collect();
            println!(
                "going on without waiting for {}: after {} s they have not ended; see `kubectl describe pod`",
                names.join(", "),
                args.timeout
            );
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// All objects of a kind, read as far as their metadata: whatever else another version has written in them.
fn all<K: Resource<DynamicType = ()>>(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::erase::<K>(&()))
}

async fn delete_all<K>(objects: &Api<K>, which: &ListParams) -> kube::Result<()>
where
    K: Clone + DeserializeOwned + Debug,
{
    match objects.delete_collection(&DeleteParams::default(), which).await {
        Ok(_) => Ok(()),
        // The definition is not there, so no object is.
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regions_for_tests::Regions;

    #[tokio::test]
    async fn one_region_that_refuses_does_not_keep_the_others() {
        let regions = Regions::default();
        for name in ["a", "b", "c"] {
            regions.add(name, &[FINALIZER]);
        }
        regions.refuse("b");
        let error = release_regions(&regions.client()).await.unwrap_err().to_string();
        assert!(error.contains("run this again: default/b: "), "{error}");
        assert_eq!(regions.finalizers("a"), json!([]));
        assert_eq!(regions.finalizers("b"), json!([FINALIZER]));
        assert_eq!(regions.finalizers("c"), json!([]));
    }

    #[tokio::test]
    async fn a_finalizer_that_somebody_adds_meanwhile_is_not_lost() {
        let regions = Regions::default();
        regions.add("a", &[FINALIZER]);
        regions.interfere("backup.example/copy");
        release_regions(&regions.client()).await.unwrap();
        assert_eq!(regions.finalizers("a"), json!(["backup.example/copy"]));
    }
}
