//! What an agent's token may not do.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::cluster::said;
use crate::install;
use crate::scene::{SYSTEM, Scene};

pub(super) async fn an_agent_may_write_only_what_is_its_own(scene: &Scene) -> Result<()> {
    let [own, other, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    let pod = install::agent_pod(&scene.cluster, own).await?;
    let token = install::agent_token(&scene.cluster, &pod).await?;
    let account = format!("--token={token}");
    // Without the administrator's certificate, which would win over the token.
    let kubeconfig = install::kubeconfig_without_user(&scene.cluster).await?;
    let config = format!("--kubeconfig={}", kubeconfig.path().display());
    let agent = async |arguments: &[&str]| {
        let all: Vec<&str> =
            [config.as_str(), account.as_str()].into_iter().chain(arguments.iter().copied()).collect();
        let output = scene.cluster.attempt("kubectl", &all).await?;
        Ok::<_, anyhow::Error>((output.status.success(), said(&output)))
    };
    for reads in ["regions", "agents"] {
        let (good, text) = agent(&["get", reads, "-A"]).await?;
        ensure!(good, "an agent must be able to read {reads}: {text}");
    }
    let refused: [&[&str]; 8] = [
        &["get", "secrets", "-A"],
        &["get", "pods", "-A"],
        &["get", "nodes"],
        &["delete", "agents.pagemesh.io", own],
        &["create", "configmap", "x", "-n", SYSTEM],
        &["patch", "regions", "x", "--type=merge", "-p", "{}", "-n", &scene.namespace],
        &["delete", "leases.coordination.k8s.io", "pagemesh-operator", "-n", SYSTEM],
        &["get", "leases.coordination.k8s.io", "-A"],
    ];
    for arguments in refused {
        let (good, text) = agent(arguments).await?;
        ensure!(!good && text.contains("orbidden"), "an agent may {arguments:?}: {text}");
    }
    // Rights to write Agents and Leases are by kind; the admission policy narrows them to the agent's own.
    for (name, allowed) in [(own, true), (other, false)] {
        let patch = json!({"status": {"version": "0.1.0"}}).to_string();
        let arguments = [
            "patch",
            "agents.pagemesh.io",
            name,
            "--subresource=status",
            "--type=merge",
            "--dry-run=server",
            "-p",
            &patch,
        ];
        let (good, text) = agent(&arguments).await?;
        ensure!(good == allowed, "to write the status of Agent {name}: {text}");
        let lease = format!("agent.{name}");
        let patch = json!({"spec": {"holderIdentity": "somebody"}}).to_string();
        let arguments = [
            "patch",
            "leases.coordination.k8s.io",
            &lease,
            "-n",
            SYSTEM,
            "--type=merge",
            "--dry-run=server",
            "-p",
            &patch,
        ];
        let (good, text) = agent(&arguments).await?;
        ensure!(good == allowed, "to write the Lease {lease}: {text}");
    }
    let (good, text) = agent(&[
        "patch",
        "agents.pagemesh.io",
        own,
        "--type=merge",
        "--dry-run=server",
        "-p",
        r#"{"spec":{"id":77}}"#,
    ])
    .await?;
    ensure!(!good, "an agent may change its own id: {text}");
    let patch = r#"{"spec":{"holderIdentity":"somebody"}}"#;
    let arguments = [
        "patch",
        "leases.coordination.k8s.io",
        "pagemesh-operator",
        "-n",
        SYSTEM,
        "--type=merge",
        "--dry-run=server",
        "-p",
        patch,
    ];
    let (good, text) = agent(&arguments).await?;
    ensure!(!good, "an agent may take the operator's Lease: {text}");
    kubeconfig.close().context("the kubeconfig without a user stays behind")
}
