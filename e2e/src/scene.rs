//! A test's surroundings: a namespace of its own, and what is shown when it fails.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use pagemesh_crds::Region;
use serde_json::json;

use crate::cluster::Cluster;
use crate::tests::Test;
use crate::wait::{EVENTUALLY, SOON, Seen, until};

/// The namespace that pagemesh is installed in.
pub(crate) const SYSTEM: &str = "pagemesh-system";

/// What a test works with.
pub(crate) struct Scene {
    /// The cluster.
    pub(crate) cluster: Arc<Cluster>,
    /// The test's own namespace.
    pub(crate) namespace: String,
}

/// Runs one test in a namespace of its own. On failure, shows what there was.
pub(crate) async fn play(cluster: &Arc<Cluster>, test: &Test) -> Result<()> {
    let namespace = format!("e2e-{}", test.name.replace('_', "-"));
    let scene = Scene { cluster: Arc::clone(cluster), namespace };
    scene.set_up().await.context("the namespace of the test cannot be made")?;
    let result = (test.run)(&scene).await;
    let result = match result {
        Ok(()) => scene.tear_down().await.context("after the test"),
        Err(error) => Err(anyhow::anyhow!("{error:#}\n{}", scene.dump().await)),
    };
    if result.is_err() {
        // What is left behind must not disturb others.
        let _ = scene.tear_down().await;
    }
    result
}

impl Scene {
    async fn set_up(&self) -> Result<()> {
        let api = Api::<Namespace>::all(self.cluster.client.clone());
        if api.get_opt(&self.namespace).await?.is_some() {
            self.tear_down().await.context("of an earlier run")?;
        }
        // What programs of pagemesh need, every pod may have.
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        self.cluster.create(&api, json!({"metadata": {"name": self.namespace, "labels": labels}})).await?;
        // Pods cannot be made before their service account is.
        let accounts = Api::<k8s_openapi::api::core::v1::ServiceAccount>::namespaced(
            self.cluster.client.clone(),
            &self.namespace,
        );
        until("the default service account", SOON, async || {
            let account = accounts.get_opt("default").await?;
            Ok(Seen::when(account.is_some(), || "none".into()))
        })
        .await
    }

    /// Removes the namespace with all that is in it, and waits until it is gone: finalizers must let it go.
    async fn tear_down(&self) -> Result<()> {
        let api = Api::<Namespace>::all(self.cluster.client.clone());
        if api.get_opt(&self.namespace).await?.is_none() {
            return Ok(());
        }
        api.delete(&self.namespace, &DeleteParams::default()).await?;
        until("the namespace to go", EVENTUALLY, async || {
            let left = api.get_opt(&self.namespace).await?;
            let conditions = left.as_ref().and_then(|n| n.status.as_ref()?.conditions.clone());
            Ok(Seen::when(left.is_none(), || format!("{conditions:?}")))
        })
        .await
    }

    /// The objects, events and logs that tell why a test failed.
    async fn dump(&self) -> String {
        let mut text = String::new();
        let operators = "app.kubernetes.io/component=operator";
        let agents = "app.kubernetes.io/component=agent";
        let looks: [&[&str]; 10] = [
            &["get", "regions,mounttables,pods", "-o", "wide", "-n", &self.namespace],
            &["get", "regions", "-o", "yaml", "-n", &self.namespace],
            &["get", "events", "--sort-by=.lastTimestamp", "-n", &self.namespace],
            &["get", "agentpools,agents,nodes,pods", "-o", "wide", "-n", SYSTEM],
            &["get", "agents", "-o", "yaml"],
            &["get", "events", "--sort-by=.lastTimestamp", "-n", SYSTEM],
            // What is told of objects that have no namespace.
            &["get", "events", "--sort-by=.lastTimestamp", "-n", "default"],
            &["logs", "-n", SYSTEM, "-l", operators, "--tail=40", "--prefix"],
            &["logs", "-n", SYSTEM, "-l", agents, "--tail=40", "--prefix"],
            // Of those that have begun anew; of others kubectl complains that there are none.
            &["logs", "-n", SYSTEM, "-l", agents, "--tail=40", "--prefix", "--previous", "--ignore-errors"],
        ];
        for look in looks {
            let said = match self.cluster.attempt("kubectl", look).await {
                Ok(output) => crate::cluster::said(&output),
                Err(error) => format!("{error:#}"),
            };
            let _ = writeln!(text, "--- kubectl {}\n{said}", look.join(" "));
        }
        let pods =
            Api::<k8s_openapi::api::core::v1::Pod>::namespaced(self.cluster.client.clone(), &self.namespace);
        for pod in pods.list(&ListParams::default()).await.into_iter().flatten() {
            let name = pod.metadata.name.unwrap_or_default();
            let look = ["logs", "-n", &self.namespace, &name, "--tail=20"];
            let said = self.cluster.attempt("kubectl", &look).await;
            let said = said.map_or_else(|error| format!("{error:#}"), |output| crate::cluster::said(&output));
            let _ = writeln!(text, "--- logs of {name}\n{said}");
        }
        text
    }

    /// The Regions of the test's namespace.
    pub(crate) fn regions(&self) -> Api<Region> {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }

    /// Applies objects as a user does.
    pub(crate) async fn apply(&self, objects: &str) -> Result<()> {
        self.cluster.apply(&self.namespace, objects).await.map(drop)
    }

    /// Declares a Region by its spec in YAML's flow style.
    pub(crate) async fn region(&self, name: &str, spec: &str) -> Result<()> {
        let head = "apiVersion: pagemesh.io/v1alpha1\nkind: Region\n";
        self.apply(&format!("{head}metadata: {{name: {name}}}\nspec: {{{spec}}}\n")).await
    }

    /// Waits until a Region's condition has a status, and returns the Region.
    pub(crate) async fn condition(&self, region: &str, kind: &str, status: &str) -> Result<Region> {
        let regions = self.regions();
        until(&format!("{region} to be {kind}={status}"), EVENTUALLY, async || {
            let object = regions.get(region).await?;
            let seen = object.status.iter().flat_map(|s| &s.conditions).find(|c| c.type_ == kind);
            // What is said of an older generation is said of another Region.
            let current = seen.is_some_and(|c| c.observed_generation == object.metadata.generation);
            if current && seen.is_some_and(|c| c.status == status) {
                return Ok(Seen::Yes(object));
            }
            Ok(Seen::NotYet(format!("{:?}", object.status.map(|s| (s.placement, s.conditions)))))
        })
        .await
    }

    /// Waits until a Region is Ready.
    pub(crate) async fn ready(&self, region: &str) -> Result<Region> {
        self.condition(region, "Ready", "True").await
    }
}
