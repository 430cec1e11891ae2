//! deploy/examples, as a user applies them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::scene::Scene;

pub(super) async fn every_example_works(scene: &Scene) -> Result<()> {
    let directory = scene.cluster.root.join("deploy/examples");
    let mut files: Vec<_> =
        std::fs::read_dir(&directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    ensure!(!files.is_empty(), "{} is empty", directory.display());
    for file in &files {
        try_out(scene, file).await.with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Applies an example, waits until it does what it is for, and removes it.
async fn try_out(scene: &Scene, file: &Path) -> Result<()> {
    let path = file.to_str().context("a name that is no text")?;
    let applied: Value =
        serde_json::from_str(&scene.cluster.kubectl(&["apply", "-f", path, "-o", "json"]).await?)?;
    let objects = applied["items"].as_array().cloned().unwrap_or_else(|| vec![applied.clone()]);
    let worked = works(scene, &objects).await;
    scene.cluster.kubectl(&["delete", "--ignore-not-found", "-f", path]).await?;
    worked
}

async fn works(scene: &Scene, objects: &[Value]) -> Result<()> {
    for object in objects {
        let reached = match object["kind"].as_str() {
            Some("Region") => "--for=condition=Ready",
            Some("Job") => "--for=condition=Complete",
            // Its nodes are for its reader to label.
            Some("AgentPool") => r#"--for=jsonpath={.status.conditions[?(@.type=="Ready")].reason}=NoNodes"#,
            Some(_) | None => continue,
        };
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let kind = text(&object["kind"]).context("an object without a kind")?.to_lowercase();
        let name = text(&object["metadata"]["name"]).context("an object without a name")?;
        // Objects of the whole cluster have no namespace.
        let namespace = text(&object["metadata"]["namespace"]).unwrap_or_default();
        let object = format!("{kind}/{name}");
        scene.cluster.kubectl(&["wait", reached, "--timeout=240s", &object, "-n", &namespace]).await?;
    }
    Ok(())
}
