//! `kubectl pagemesh`.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cluster::said;
use crate::install;
use crate::pods::On;
use crate::scene::{SYSTEM, Scene};
use crate::temporary::Temporary;
use crate::wait::{EVENTUALLY, SOON, Seen, until};

impl Scene {
    /// Runs the command line as the kubectl plugin that it is.
    async fn plugin(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let output = self.cluster.attempt(install::plugin()?, arguments).await?;
        Ok((output.status.success(), said(&output)))
    }
}

pub(super) async fn status_shows_a_region(scene: &Scene) -> Result<()> {
    let first = &scene.cluster.workers[0];
    scene.region("table", "size: 1Mi, homes: 2").await?;
    scene.ready("table").await?;
    let load = scene.start_load(On(first), "table", 0, 1).await?;
    load.goes_on(10).await?;
    let (good, text) = until("the attachment to be shown", EVENTUALLY, async || {
        let (good, text) = scene.plugin(&["status", "table", "-n", &scene.namespace, "-o", "json"]).await?;
        let value: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let attached = value.to_string().contains("\"attachments\":1");
        Ok(if attached { Seen::Yes((good, text)) } else { Seen::NotYet(text) })
    })
    .await?;
    ensure!(good && text.contains(first), "{text}");
    let (good, text) = scene.plugin(&["status", "table", "-n", &scene.namespace]).await?;
    ensure!(good && text.contains("Ready") && text.contains(first) && text.contains("1Mi"), "{text}");
    // As kubectl finds it.
    let output = scene.cluster.attempt("kubectl", &["pagemesh", "status", "-A"]).await?;
    // Regions of other tests may not be well at this moment, which is what the exit status would say.
    let text = said(&output);
    ensure!(text.contains("table") && text.contains(&scene.namespace), "{text}");
    let columns = scene.cluster.kubectl(&["get", "regions", "-n", &scene.namespace]).await?;
    for column in ["READY", "SIZE", "CONSISTENCY", "HOMES", "ATTACHMENTS", "AGE"] {
        ensure!(columns.contains(column), "kubectl get regions shows no {column}: {columns}");
    }
    // A region that is not there is an error that says so.
    let (good, text) = scene.plugin(&["status", "nothing", "-n", &scene.namespace]).await?;
    ensure!(!good && text.contains("nothing"), "{text}");
    load.good().await
}

pub(super) async fn logs_and_report(scene: &Scene) -> Result<()> {
    scene.region("table", "size: 1Mi, homes: 2").await?;
    scene.ready("table").await?;
    let (good, text) = scene.plugin(&["logs", "table", "-n", &scene.namespace, "--tail=50"]).await?;
    ensure!(good && scene.cluster.workers.iter().all(|worker| text.contains(worker)), "{text}");

    let directory = Temporary::new("report")?;
    let path = directory.join("report.tar.gz")?;
    let (good, text) = scene.plugin(&["report", "-o", &path]).await?;
    ensure!(good, "{text}");
    let list = scene.cluster.run("tar", &["-tzf", &path]).await?;
    let contents = scene.cluster.run("tar", &["-xzOf", &path]).await?;
    ensure!(list.lines().count() > 5, "{list}");
    ensure!(
        contents.contains("table") && contents.contains("kind: Region"),
        "the bundle lacks the Region: {list}"
    );
    ensure!(!contents.contains("eyJhbGci"), "the bundle holds a token");
    let (_, crds) = scene.plugin(&["crd"]).await?;
    ensure!(crds.matches("kind: CustomResourceDefinition").count() == 5, "{crds}");
    Ok(())
}

pub(super) async fn check_names_an_injected_fault(scene: &Scene) -> Result<()> {
    let check = async || scene.plugin(&["check", "--cluster", "-o", "json"]).await;
    let finds_nothing = async || {
        until("check to find nothing", EVENTUALLY, async || {
            let (good, text) = check().await?;
            Ok(Seen::when(good, || text))
        })
        .await
    };
    finds_nothing().await?;
    // The right of agents to read Regions goes away, as by a careless edit.
    let saved = scene.cluster.kubectl(&["get", "clusterrole", "pagemesh-agent", "-o", "json"]).await?;
    scene.cluster.kubectl(&["delete", "clusterrole", "pagemesh-agent"]).await?;
    // The API server judges rights by what it has cached.
    let named = until("check to name the missing right", SOON, async || {
        let (good, text) = check().await?;
        let findings: Vec<Value> = serde_json::from_str(&text).with_context(|| text.clone())?;
        let names = |finding: &Value| {
            finding["level"] == "fail"
                && finding["check"] == "permissions of pool default"
                && finding["found"].as_str().is_some_and(|found| found.contains("know the regions"))
                && finding["advice"].as_str().is_some_and(|advice| advice.contains("regions.pagemesh.io"))
        };
        Ok(Seen::when(!good && findings.iter().any(names), || text))
    })
    .await;
    let mut role: Value = serde_json::from_str(&saved)?;
    for server_made in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        role["metadata"].as_object_mut().context("no metadata")?.remove(server_made);
    }
    scene.cluster.apply(SYSTEM, &role.to_string()).await?;
    named?;
    finds_nothing().await
}
