//! The AgentPool that the installation brings: applied when this operator begins to lead.
//!
//! Helm cannot create it, since it looks up all kinds of a release before it creates any definition.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use pagemesh_crds::AgentPool;
use serde_json::Value;
use tracing::{info, warn};

/// Whoever sets a field that the installation says nothing of keeps it.
const FIELD_MANAGER: &str = "pagemesh-default-pool";
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// An AgentPool as it was written: with the defaults filled in, it would claim fields that it says nothing of.
#[derive(Debug)]
pub(crate) struct DefaultPool {
    name: String,
    written: Value,
}

impl DefaultPool {
    /// Reads it from a YAML file.
    ///
    /// # Errors
    /// There is no such file, or something else in it than one AgentPool.
    pub(crate) fn read(path: &Path) -> Result<DefaultPool> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read {}: change --default-pool", path.display()))?;
        DefaultPool::parse(&text).with_context(|| format!("{} is not an AgentPool: mend it", path.display()))
    }

    fn parse(text: &str) -> Result<DefaultPool> {
        let written: Value = serde_yaml::from_str(text)?;
        for (field, expected) in [("apiVersion", pagemesh_crds::API_VERSION), ("kind", "AgentPool")] {
            ensure!(written[field] == expected, "its {field} should be {expected}");
        }
        let pool: AgentPool = serde_json::from_value(written.clone())?;
        let name = pool.name_any();
        ensure!(!name.is_empty(), "it has no metadata.name");
        Ok(DefaultPool { name, written })
    }

    /// Applies it once, however long that takes.
    pub(crate) async fn apply(&self, client: &Client) {
        let pools: Api<AgentPool> = Api::all(client.clone());
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let mut pause = RETRY_MIN;
        // Of the answer only the success matters: it is the watch that tells what there is.
        while let Err(error) =
            pools.patch_metadata(&self.name, &parameters, &Patch::Apply(&self.written)).await
        {
            warn!(pool = self.name, "cannot apply the AgentPool of --default-pool, tries again: {error}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
        info!(pool = self.name, "applied the AgentPool of --default-pool");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_written_and_nothing_else() {
        let text = "apiVersion: pagemesh.io/v1alpha1\nkind: AgentPool\nmetadata: {name: default}\nspec: {memory: 1Gi}\n";
        let pool = DefaultPool::parse(text).unwrap();
        assert_eq!(pool.name, "default");
        assert_eq!(pool.written["spec"], serde_json::json!({ "memory": "1Gi" }));
    }

    #[test]
    fn refuses_all_else() {
        let good = "apiVersion: pagemesh.io/v1alpha1\nkind: AgentPool\nmetadata: {name: default}\nspec: {memory: 1Gi}\n";
        for (from, to) in [
            ("AgentPool", "Region"),
            ("v1alpha1", "v1"),
            ("name: default", ""),
            ("memory", "memroy"),
            ("spec", "spec: {} #"),
            ("kind", "  kind"),
        ] {
            assert!(DefaultPool::parse(&good.replace(from, to)).is_err(), "{from} -> {to}");
        }
    }
}
