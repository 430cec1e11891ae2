//! Agents that die and come back while programs go on.

use anyhow::{Context, Result, ensure};
use kube::Api;
use pagemesh_crds::Agent;

use crate::install;
use crate::scene::{SYSTEM, Scene};
use crate::wait::{EVENTUALLY, Seen, until};

pub(super) async fn an_agent_that_dies_or_is_deleted_is_not_noticed(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    scene.region("table", "size: 4Mi, homes: 2").await?;
    scene.ready("table").await?;
    let loads = scene.start_loads([first, second], "table").await?;
    for node in [first, second] {
        let life = scene.life(node).await?;
        // As the kernel does when memory runs out: the container starts again in its pod.
        let pod = scene.agent_process(node).await?;
        scene.cluster.on_node(node, &["kill", "-s", "KILL", &pod.pid]).await?;
        scene.serves_again(node, &pod, &life).await?;
        loads.go_on(50).await.with_context(|| format!("after the agent of {node} was killed"))?;

        // Its pod is gone without a word, and another one comes, with another address.
        let pod = scene.agent_process(node).await?;
        let delete = ["delete", "pod", &pod.name, "-n", SYSTEM, "--force", "--grace-period=0"];
        scene.cluster.kubectl(&delete).await?;
        scene.serves_again(node, &pod, &life).await?;
        loads.go_on(50).await.with_context(|| format!("after the agent's pod on {node} was gone"))?;

        // Somebody deletes it in good order. The operator says that another one follows.
        let pod = scene.agent_process(node).await?;
        scene.cluster.kubectl(&["delete", "pod", &pod.name, "-n", SYSTEM]).await?;
        scene.serves_again(node, &pod, &life).await?;
        loads.go_on(50).await.with_context(|| format!("after the agent's pod on {node} was deleted"))?;
    }
    loads.good().await?;
    scene.ready("table").await?;
    scene.condition("table", "Degraded", "False").await.map(drop)
}

/// An agent's process on its node.
struct AgentProcess {
    /// Its pod.
    name: String,
    /// Its number, as the node has it.
    pid: String,
}

impl Scene {
    /// Which life the agent of a node is in.
    async fn life(&self, node: &str) -> Result<String> {
        let agents = Api::<Agent>::all(self.cluster.client.clone());
        let status = agents.get(node).await?.status.unwrap_or_default();
        status.incarnation.with_context(|| format!("the agent of {node} does not say which life it is in"))
    }

    async fn agent_process(&self, node: &str) -> Result<AgentProcess> {
        let pod = install::agent_pod(&self.cluster, node).await?;
        let pod = pod.with_context(|| format!("{node} has no agent"))?;
        let name = pod.metadata.name.context("a pod without a name")?;
        let pids = self.cluster.on_node(node, &["pidof", "pagemesh-agent"]).await?;
        ensure!(pids.split_whitespace().count() == 1, "{node} runs these agents: {pids}");
        Ok(AgentProcess { name, pid: pids.trim().to_owned() })
    }

    /// Waits until another process than this one serves a node, and makes sure that it goes on with the same life.
    async fn serves_again(&self, node: &str, before: &AgentProcess, life: &str) -> Result<()> {
        until(&format!("another process to serve {node}"), EVENTUALLY, async || {
            let Ok(pids) = self.cluster.on_node(node, &["pidof", "pagemesh-agent"]).await else {
                return Ok(Seen::NotYet("none runs".into()));
            };
            let pod = install::agent_pod(&self.cluster, node).await?;
            let statuses = pod.and_then(|pod| pod.status).and_then(|status| status.container_statuses);
            let ready = statuses.is_some_and(|all| all.iter().all(|container| container.ready));
            Ok(Seen::when(pids.trim() != before.pid && ready, || {
                format!("{} runs, ready: {ready}", pids.trim())
            }))
        })
        .await?;
        let now = self.life(node).await?;
        ensure!(
            now == life,
            "the agent of {node} was in life {life} and is in life {now}: its memory is lost"
        );
        Ok(())
    }
}
