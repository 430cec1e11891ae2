//! What an agent's token may not do.

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use pagemesh_crds::{AGENT_POOL_DEFAULT, Agent};
use serde_json::json;

use crate::cluster::said;
use crate::install;
use crate::scene::{SYSTEM, Scene};
use crate::temporary::Temporary;

pub(super) async fn an_agent_may_write_only_what_is_its_own(scene: &Scene) -> Result<()> {
    let [own, other, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    let pod =
        install::agent_pod(&scene.cluster, own).await?.with_context(|| format!("{own} has no agent"))?;
    let token = install::agent_token(&scene.cluster, &pod).await?;
    let account = format!("--token={token}");
    // Without the administrator's certificate, which would win over the token.
    let directory = Temporary::new("permissions")?;
    let kubeconfig = install::kubeconfig_without_user(&scene.cluster, &directory).await?;
    let config = format!("--kubeconfig={kubeconfig}");
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
    scene.region("table", "size: 1Mi").await?;
    let grow = r#"{"spec":{"size":"2Mi"}}"#;
    let refused: [&[&str]; 8] = [
        &["get", "secrets", "-A"],
        &["get", "pods", "-A"],
        &["get", "nodes"],
        &["delete", "agents.pagemesh.io", own],
        &["create", "configmap", "x", "-n", SYSTEM],
        &["patch", "regions", "table", "--type=merge", "-p", grow, "-n", &scene.namespace],
        &["delete", "leases.coordination.k8s.io", "pagemesh-operator", "-n", SYSTEM],
        &["get", "leases.coordination.k8s.io", "-A"],
    ];
    for arguments in refused {
        let (good, text) = agent(arguments).await?;
        ensure!(!good && text.contains("orbidden"), "an agent may {arguments:?}: {text}");
    }
    // Rights to write Agents and Leases are by kind; the admission policy narrows them to the agent's own.
    let client = scene.cluster.client_with_token(&token).await?;
    let agents = Api::<Agent>::all(client.clone());
    let leases = Api::<Lease>::namespaced(client, SYSTEM);
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let version = Patch::Merge(json!({"status": {"version": "0.1.0"}}));
    let holder = Patch::Merge(json!({"spec": {"holderIdentity": "somebody"}}));
    let number = Patch::Merge(json!({"spec": {"id": 77}}));
    let spec = json!({"id": 77, "agentPoolName": AGENT_POOL_DEFAULT});
    let numbered: Agent = serde_json::from_value(json!({"metadata": {"name": own}, "spec": spec}))?;
    agents.patch_status(own, &dry, &version).await.context("an agent writes its status")?;
    leases.patch(&format!("agent.{own}"), &dry, &holder).await.context("an agent renews its Lease")?;

    let not_its_own = format!(
        "the agent of node {own} may write its own Agent object, {own}, and its own Lease, agent.{own}; this is "
    );
    for (written, saying) in [
        (refusal(agents.patch_status(other, &dry, &version).await), format!("{not_its_own}{other}")),
        (
            refusal(leases.patch(&format!("agent.{other}"), &dry, &holder).await),
            format!("{not_its_own}agent.{other}"),
        ),
        (
            refusal(leases.patch("pagemesh-operator", &dry, &holder).await),
            format!("{not_its_own}pagemesh-operator"),
        ),
        (
            refusal(agents.create(&PostParams { dry_run: true, ..PostParams::default() }, &numbered).await),
            "spec.id is the operator's to hand out".to_owned(),
        ),
        // The rule of the kind itself comes first.
        (refusal(agents.patch(own, &dry, &number).await), "id cannot change".to_owned()),
    ] {
        let said = written.with_context(|| format!("expected: {saying}"))?;
        ensure!(said.contains(&saying), "expected: {saying}; the API server says: {said}");
    }
    Ok(())
}

/// What the API server says to a write that it must refuse.
fn refusal<K>(written: kube::Result<K>) -> Result<String> {
    match written {
        Ok(_) => bail!("it was allowed"),
        Err(kube::Error::Api(status)) => Ok(status.message),
        Err(error) => bail!("there is no answer: {error}"),
    }
}
