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
    // A pool would change what nodes do for everybody: that it would be taken is all that is looked at.
    if std::fs::read_to_string(file)?.contains("kind: AgentPool") {
        return scene.cluster.kubectl(&["apply", "--dry-run=server", "-f", path]).await.map(drop);
    }
    let applied: Value =
        serde_json::from_str(&scene.cluster.kubectl(&["apply", "-f", path, "-o", "json"]).await?)?;
    let objects = applied["items"].as_array().cloned().unwrap_or_else(|| vec![applied.clone()]);
    let worked = works(scene, &objects).await;
    scene.cluster.kubectl(&["delete", "--ignore-not-found", "-f", path]).await?;
    worked
}

async fn works(scene: &Scene, objects: &[Value]) -> Result<()> {
    for object in objects {
        let condition = match object["kind"].as_str() {
            Some("Region") => "--for=condition=Ready",
            Some("Job") => "--for=condition=Complete",
            Some(_) | None => continue,
        };
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned).context("an object without a name");
        let kind = text(&object["kind"])?.to_lowercase();
        let name = format!("{kind}/{}", text(&object["metadata"]["name"])?);
        let namespace = text(&object["metadata"]["namespace"])?;
        scene.cluster.kubectl(&["wait", condition, "--timeout=240s", &name, "-n", &namespace]).await?;
    }
    Ok(())
}
