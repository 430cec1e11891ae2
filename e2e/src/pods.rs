//! Pods that run unmodified programs on a region.
//!
//! How a pod attaches without privilege is not part of this release: these mount the agent's directory of their node and
//! preload the library themselves.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, LogParams};
use serde_json::{Value, json};

use crate::scene::Scene;
use crate::wait::{EVENTUALLY, Seen, until};

/// The image with the programs: see e2e/images.
const IMAGE: &str = "pagemesh.test/program:e2e";
/// Where the agents' socket is, on every node and in the pods.
const AGENT_DIR: &str = "/run/pagemesh";

/// The node that a pod is to run on, cordoned or not.
pub(crate) struct On<'a>(pub(crate) &'a str);

impl Scene {
    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }

    /// Starts a pod that runs a command under the preload library, as user 65534.
    pub(crate) async fn start(&self, name: &str, on: On<'_>, command: &[&str]) -> Result<()> {
        let mut spec = json!({
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 10,
            "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}],
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "agent", "hostPath": {"path": AGENT_DIR, "type": "Directory"}}],
            "containers": [{
                "name": "program",
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "command": command,
                "env": [
                    {"name": "PAGEMESH_SOCKET", "value": format!("{AGENT_DIR}/agent.sock")},
                    {"name": "LD_PRELOAD", "value": "/usr/lib/pagemesh/libpagemesh_preload.so"},
                ],
                "volumeMounts": [{"name": "agent", "mountPath": AGENT_DIR, "readOnly": true}],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        });
        spec["nodeName"] = Value::from(on.0);
        let pod = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
        self.cluster.create(&self.pods(), pod).await.map(drop)
    }

    /// Runs a program in a pod to its end, and returns what it printed.
    pub(crate) async fn run(&self, name: &str, on: On<'_>, command: &[&str]) -> Result<String> {
        self.start(name, on, command).await?;
        self.finished(name).await
    }

    /// Waits for a pod's program to end well, and returns what it printed.
    pub(crate) async fn finished(&self, name: &str) -> Result<String> {
        let pods = self.pods();
        let phase = until(&format!("pod {name} to end"), EVENTUALLY, async || {
            let status = pods.get(name).await?.status.unwrap_or_default();
            let phase = status.phase.clone().unwrap_or_default();
            let ended = phase == "Succeeded" || phase == "Failed";
            Ok(if ended { Seen::Yes(phase) } else { Seen::NotYet(format!("{status:?}")) })
        })
        .await?;
        let log = pods.logs(name, &LogParams::default()).await?;
        if phase != "Succeeded" {
            bail!("pod {name} {phase}: {log}");
        }
        Ok(log)
    }

    /// Starts the load program with index `index` of `count`.
    pub(crate) async fn start_load(
        &self,
        on: On<'_>,
        region: &str,
        index: usize,
        count: usize,
    ) -> Result<Load<'_>> {
        let name = format!("load-{index}");
        let region = format!("{}/{region}", self.namespace);
        let (index, count) = (index.to_string(), count.to_string());
        self.start(&name, on, &["python3", "/programs/load.py", &region, &index, &count]).await?;
        Ok(Load { scene: self, name })
    }
}

/// A load program that runs in a pod.
pub(crate) struct Load<'a> {
    scene: &'a Scene,
    /// Name of its pod.
    pub(crate) name: String,
}

/// What a load program says of itself every second.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Progress {
    /// Pages read so far.
    pub(crate) reads: u64,
    /// Pages written so far.
    pub(crate) writes: u64,
    /// Times that it saw what must not be.
    pub(crate) wrong: u64,
    /// When it said so, in seconds since 1970.
    pub(crate) at: f64,
}

impl Load<'_> {
    /// All that the program has said about its progress.
    pub(crate) async fn history(&self) -> Result<Vec<Progress>> {
        let log = self.scene.pods().logs(&self.name, &LogParams::default()).await?;
        // Lines that are not about progress are the program's end, or an error that `good` will show.
        Ok(log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Waits until it has done `writes` more writes than now, none of them wrong.
    pub(crate) async fn goes_on(&self, writes: u64) -> Result<()> {
        let before = self.history().await.ok().and_then(|h| h.last().map(|p| p.writes)).unwrap_or(0);
        until(&format!("{} to write {writes} pages more", self.name), EVENTUALLY, async || {
            let history = self.history().await?;
            let Some(last) = history.last() else { return Ok(Seen::NotYet("it has said nothing".into())) };
            if last.wrong > 0 {
                bail!("{} saw {} wrong values", self.name, last.wrong);
            }
            Ok(Seen::when(last.writes >= before + writes, || format!("{last:?}")))
        })
        .await
    }

    /// Ends the program and makes sure that it never saw anything wrong.
    pub(crate) async fn good(self) -> Result<Progress> {
        let pods = self.scene.pods();
        let history = self.history().await?;
        let log = pods.logs(&self.name, &LogParams::default()).await?;
        let last = history.last().with_context(|| format!("{} did nothing: {log}", self.name))?.clone();
        anyhow::ensure!(last.wrong == 0, "{} saw wrong values: {log}", self.name);
        let pod = pods.get(&self.name).await?;
        let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
        anyhow::ensure!(phase == "Running", "{} is {phase} before it was told to end: {log}", self.name);
        pods.delete(&self.name, &DeleteParams::default()).await?;
        until(&format!("{} to end", self.name), EVENTUALLY, async || {
            Ok(Seen::when(pods.get_opt(&self.name).await?.is_none(), || "it is there".into()))
        })
        .await?;
        Ok(last)
    }
}
