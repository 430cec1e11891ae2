//! Pagemesh on the cluster, installed as a user does: by Helm.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::cluster::Cluster;
use crate::collector::{self, Collector};
use crate::scene::SYSTEM;
use crate::temporary::Temporary;
use crate::wait::{Seen, until};

/// The label of nodes that lend memory in the tests: see e2e/values.yaml.
pub(crate) const LENDS: &str = "pagemesh.test/lends";
/// The Helm release.
pub(crate) const RELEASE: &str = "pagemesh";

static COLLECTOR: OnceLock<Collector> = OnceLock::new();

/// Installs pagemesh from the working tree anew, on all workers, and waits until it serves. What an earlier run has left is
/// uninstalled first: images change under the same tag, and an upgrade that changes no template would go on with the old ones.
pub(crate) async fn bring_up(cluster: &Cluster) -> Result<()> {
    let collector = Collector::start().await?;
    COLLECTOR.set(collector).map_err(|_| anyhow::anyhow!("pagemesh is brought up once"))?;
    for worker in &cluster.workers {
        cluster.kubectl(&["uncordon", worker]).await?;
        lend(cluster, worker, true).await?;
    }
    lend(cluster, &cluster.control_plane, false).await?;
    let uninstall = ["uninstall", RELEASE, "-n", SYSTEM, "--ignore-not-found", "--wait", "--timeout=5m"];
    cluster.run("helm", &uninstall).await?;
    install(cluster, &cluster.root.join("charts/pagemesh"), &[]).await
}

/// Installs or upgrades the chart in a directory with the tests' values and more of them, and waits until all agents serve.
pub(crate) async fn install(cluster: &Cluster, chart: &std::path::Path, more: &[&str]) -> Result<()> {
    let chart = chart.to_str().context("the chart's path is no text")?;
    let mut arguments = vec![
        "upgrade",
        "--install",
        RELEASE,
        chart,
        "-n",
        SYSTEM,
        "--create-namespace",
        "--wait",
        "--timeout=5m",
        "--values",
        "e2e/values.yaml",
    ];
    let endpoint = match cluster.of_kind {
        true => {
            let endpoint = format!("http://{}:{}", gateway(cluster).await?, collector::PORT);
            Some(format!("otel.OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}"))
        }
        false => None,
    };
    arguments.extend(endpoint.iter().flat_map(|endpoint| ["--set-string", endpoint]));
    arguments.extend(more);
    cluster.run("helm", &arguments).await?;
    for worker in &cluster.workers {
        let ready = format!("agents.pagemesh.io/{worker}");
        until_there(cluster, &ready).await?;
        cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=240s", &ready]).await?;
    }
    Ok(())
}

/// `kubectl wait` refuses to wait for what is not there yet.
async fn until_there(cluster: &Cluster, object: &str) -> Result<()> {
    cluster.kubectl(&["wait", "--for=create", "--timeout=240s", object]).await.map(drop)
}

/// The collector to which operator and agents send their traces.
pub(crate) async fn collector() -> Result<&'static Collector> {
    COLLECTOR.get().context("pagemesh has not been brought up")
}

/// Where pods reach the machine that the tests run on.
async fn gateway(cluster: &Cluster) -> Result<String> {
    let format = "{{range .IPAM.Config}}{{.Gateway}} {{end}}";
    let gateways = cluster.run("docker", &["network", "inspect", "kind", "--format", format]).await?;
    let ipv4 = gateways.split_whitespace().find(|gateway| gateway.contains('.'));
    Ok(ipv4.context("kind's network has no IPv4 gateway")?.to_owned())
}

/// Makes a node lend memory, or not.
pub(crate) async fn lend(cluster: &Cluster, node: &str, lends: bool) -> Result<()> {
    label(cluster, node, LENDS, lends.then_some("true")).await
}

/// Gives a node a label, or takes it away.
pub(crate) async fn label(cluster: &Cluster, node: &str, key: &str, value: Option<&str>) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"labels": {key: value}}}));
    Api::<Node>::all(cluster.client.clone()).patch(node, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// The command line under test, under its name as kubectl's plugin.
pub(crate) fn plugin() -> Result<PathBuf> {
    beside("kubectl-pagemesh")
}

/// A program that `e2e/run` has put beside the one of these tests.
pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    if !program.exists() {
        bail!("{} is not there: run `make e2e`, which makes it", program.display());
    }
    Ok(program)
}

/// The agent's pod of a node, if it has one.
pub(crate) async fn agent_pod(cluster: &Cluster, node: &str) -> Result<Option<Pod>> {
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), SYSTEM);
    let agents = ListParams::default()
        .labels("app.kubernetes.io/component=agent")
        .fields(&format!("spec.nodeName={node}"));
    Ok(pods.list(&agents).await?.items.pop())
}

/// Waits until a node has no agent any more. It hands over what it homes before it goes.
pub(crate) async fn until_no_agent(cluster: &Cluster, node: &str) -> Result<()> {
    until(&format!("the agent of {node} to go"), Duration::from_secs(300), async || {
        let left = agent_pod(cluster, node).await?;
        Ok(Seen::when(left.is_none(), || format!("{:?}", left.and_then(|pod| pod.status))))
    })
    .await
}

/// A token as the kubelet gives it to an agent: bound to its pod, and so to its node.
pub(crate) async fn agent_token(cluster: &Cluster, pod: &Pod) -> Result<String> {
    let account =
        pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).context("no account")?;
    let reference = BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    };
    let spec = TokenRequestSpec { bound_object_ref: Some(reference), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let accounts = Api::<ServiceAccount>::namespaced(cluster.client.clone(), SYSTEM);
    let answer = accounts.create_token_request(&account, &PostParams::default(), &request).await?;
    answer.status.and_then(|status| status.token).context("no token")
}

/// A kubeconfig that knows where the cluster is, but nobody who may use it.
pub(crate) async fn kubeconfig_without_user(cluster: &Cluster, directory: &Temporary) -> Result<String> {
    let text = cluster.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"]).await?;
    let mut config: serde_json::Value = serde_json::from_str(&text)?;
    config["users"] = json!([]);
    config["contexts"][0]["context"]["user"] = json!("");
    let path = directory.join("kubeconfig")?;
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}
