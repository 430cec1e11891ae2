//! The `Agent` object of this agent. Its number in there is the operator's to write.

use kube::api::{ObjectMeta, Patch};
use kube::{Api, Client};
use pagemesh_crds::{Agent, AgentSpec};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{RETRY_MAX, RETRY_MIN, apply, labels, written};
use crate::pause::jittered;

/// Who an agent is in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentIdentity {
    /// Name of its node, which is that of its `Agent` object.
    pub name: String,
    /// Namespace that it runs in.
    pub namespace: String,
    /// Name of its pod.
    pub pod_name: String,
    /// Name of its AgentPool.
    pub pool: String,
}

/// Makes sure that the agent's object is there, however long that takes, and tells its UID.
pub async fn declare(client: &Client, identity: &AgentIdentity, uid: &watch::Sender<String>) {
    let api: Api<Agent> = Api::all(client.clone());
    let AgentIdentity { name, pool, .. } = identity;
    let agent = Agent {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels(pool)),
            ..ObjectMeta::default()
        },
        spec: AgentSpec { agent_pool_name: Some(pool.clone()), ..AgentSpec::default() },
        status: None,
    };
    let mut pause = RETRY_MIN;
    let mut told = String::new();
    loop {
        match written(api.patch(name, &apply(), &Patch::Apply(&agent))).await {
            Ok(agent) => {
                info!(name, pool, "the Agent object is there");
                uid.send_replace(agent.metadata.uid.unwrap_or_default());
                return;
            }
            Err(error) => {
                let error = error.to_string();
                if error != told {
                    warn!(name, error, "cannot write the Agent object; trying on");
                }
                told = error;
            }
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (2 * pause).min(RETRY_MAX);
    }
}
