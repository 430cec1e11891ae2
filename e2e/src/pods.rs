//! Pods that run unmodified programs on a region. They have no privilege: a volume names the region, and brings the library.

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use pagemesh_crds::{CSI_DRIVER, LIBRARY_PATH, MOUNT_PATH, SOCKET_PATH};
use serde_json::{Value, json};

use crate::cluster::said;
use crate::scene::Scene;
use crate::wait::{EVENTUALLY, Seen, until};

/// The image with the programs, unless `E2E_PROGRAM_IMAGE` names another one: see e2e/images.
const IMAGE: &str = "pagemesh.test/program:e2e";

/// The node that a pod is to run on, cordoned or not.
pub(crate) struct On<'a>(pub(crate) &'a str);

impl Scene {
    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }

    /// A pod that runs a command, as user 65534, and knows of no region.
    pub(crate) fn pod(&self, name: &str, on: On<'_>, command: &[&str]) -> Value {
        json!({
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "nodeName": on.0,
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 10,
                "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}],
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "program",
                    "image": std::env::var("E2E_PROGRAM_IMAGE").unwrap_or_else(|_| IMAGE.into()),
                    "imagePullPolicy": "IfNotPresent",
                    "command": command,
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        })
    }

    /// Starts a pod that runs a command under the preload library, with regions that are named as its volume does.
    pub(crate) async fn start(&self, name: &str, on: On<'_>, regions: &str, command: &[&str]) -> Result<()> {
        let mut pod = self.pod(name, on, command);
        pod["spec"]["volumes"] = json!([{
            "name": "pagemesh",
            "csi": {"driver": CSI_DRIVER, "readOnly": true, "volumeAttributes": {"regions": regions}},
        }]);
        let container = &mut pod["spec"]["containers"][0];
        container["env"] = json!([
            {"name": "PAGEMESH_SOCKET", "value": SOCKET_PATH},
            {"name": "LD_PRELOAD", "value": LIBRARY_PATH},
        ]);
        container["volumeMounts"] = json!([{"name": "pagemesh", "mountPath": MOUNT_PATH, "readOnly": true}]);
        self.cluster.create(&self.pods(), pod).await.map(drop)
    }

    /// Starts a pod with these annotations, by which it may ask to be attached.
    pub(crate) async fn start_annotated(
        &self,
        name: &str,
        on: On<'_>,
        annotations: Value,
        command: &[&str],
    ) -> Result<()> {
        let mut pod = self.pod(name, on, command);
        pod["metadata"]["annotations"] = annotations;
        self.cluster.create(&self.pods(), pod).await.map(drop)
    }

    /// What a pod's program has printed so far.
    pub(crate) async fn log(&self, name: &str) -> Result<String> {
        Ok(self.pods().logs(name, &LogParams::default()).await?)
    }

    /// Runs a program in a pod to its end, and returns what it printed.
    pub(crate) async fn run(
        &self,
        name: &str,
        on: On<'_>,
        regions: &str,
        command: &[&str],
    ) -> Result<String> {
        self.start(name, on, regions, command).await?;
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

    /// Starts the load program with index `index` of `count`, on all pages of a region.
    pub(crate) async fn start_load(
        &self,
        on: On<'_>,
        region: &str,
        index: usize,
        count: usize,
    ) -> Result<Load<'_>> {
        let name = format!("load-{index}");
        let path = format!("{}/{region}", self.namespace);
        let (index, count) = (index.to_string(), count.to_string());
        self.start(&name, on, region, &["python3", "/programs/load.py", &path, &index, &count]).await?;
        Ok(Load { scene: self, name })
    }

    /// Starts one on each of two nodes, and waits until both write.
    pub(crate) async fn start_loads(&self, on: [&str; 2], region: &str) -> Result<Loads<'_>> {
        let [first, second] = on;
        let loads = Loads([
            self.start_load(On(first), region, 0, 2).await?,
            self.start_load(On(second), region, 1, 2).await?,
        ]);
        loads.go_on(50).await?;
        Ok(loads)
    }
}

/// Load programs that share a region.
pub(crate) struct Loads<'a>(pub(crate) [Load<'a>; 2]);

impl Loads<'_> {
    /// Waits until each of them has done `writes` more writes than now, none of them wrong.
    pub(crate) async fn go_on(&self, writes: u64) -> Result<()> {
        for load in &self.0 {
            load.goes_on(writes).await?;
        }
        Ok(())
    }

    /// Tells them to end, and makes sure that nothing was wrong and no access failed from their first to their last.
    pub(crate) async fn good(self) -> Result<()> {
        for load in self.0 {
            load.good().await?;
        }
        Ok(())
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
    /// Whether it was told to end, has looked at every page once more, and says no more.
    pub(crate) ended: bool,
}

impl Progress {
    /// All that a program's output tells. Lines about other things are errors, which [`Load::good`] shows.
    fn all(log: &str) -> Vec<Progress> {
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Load<'_> {
    /// All that the program has said about its progress.
    pub(crate) async fn history(&self) -> Result<Vec<Progress>> {
        Ok(Progress::all(&self.scene.pods().logs(&self.name, &LogParams::default()).await?))
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

    /// Tells the program to end, and makes sure that nothing was wrong and no access failed from its first to its last.
    pub(crate) async fn good(self) -> Result<()> {
        let Load { scene, name } = &self;
        let tell = ["exec", name, "-n", &scene.namespace, "--", "kill", "1"];
        // That this fails says nothing: when a container's first process ends, so does what else runs in it.
        let told = scene.cluster.attempt("kubectl", &tell).await?;
        let log = scene.finished(name).await.with_context(|| format!("after \"{}\"", said(&told)))?;
        let last = Progress::all(&log).pop();
        ensure!(last.is_some_and(|last| last.ended && last.wrong == 0), "{name} did not end well: {log}");
        Ok(())
    }
}
