//! What of a cluster concerns pagemesh, read once.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::ListParams;
use pagemesh_crds::{Agent, AgentPool, Region, RegionClass};

use super::access::Cluster;
use super::list::{Listing, Look, Within};
use super::trouble::Trouble;

/// Where pagemesh is installed unless somebody says otherwise.
pub(crate) const INSTALL_NAMESPACE: &str = "pagemesh-system";
/// Labels of all that belongs to pagemesh.
pub(crate) const PAGEMESH_LABELS: &str = "app.kubernetes.io/name=pagemesh";
/// Labels of the operator's Deployment and pods.
pub(crate) const OPERATOR_LABELS: &str =
    "app.kubernetes.io/name=pagemesh,app.kubernetes.io/component=operator";
/// Labels of the agents' DaemonSets and pods.
pub(crate) const AGENT_LABELS: &str = "app.kubernetes.io/name=pagemesh,app.kubernetes.io/component=agent";

/// What there is in a cluster.
pub(crate) struct Snapshot {
    /// When, by the cluster's clock.
    pub(crate) now: Timestamp,
    /// Regions of the namespaces that were asked for.
    pub(crate) regions: Look<Region>,
    /// All classes.
    pub(crate) classes: Look<RegionClass>,
    /// All pools.
    pub(crate) pools: Look<AgentPool>,
    /// All agents.
    pub(crate) agents: Look<Agent>,
    /// Deployments of operators: there should be one.
    pub(crate) operators: Look<Deployment>,
    /// DaemonSets of agents.
    pub(crate) daemon_sets: Look<DaemonSet>,
    /// Leases of the operator and of agents.
    pub(crate) leases: Look<Lease>,
    /// Where pagemesh is installed, as far as is known.
    pub(crate) install_namespace: String,
}

impl Snapshot {
    /// Reads all that can be read. Fails only if nothing can.
    pub(crate) async fn read(cluster: &Cluster, regions: Within<'_>) -> Result<Snapshot, Trouble> {
        let now = cluster.now().await?;
        let all = ListParams::default();
        let (regions, classes, pools, agents, operators) = tokio::join!(
            cluster.list(regions, &all),
            cluster.list(Within::Cluster, &all),
            cluster.list(Within::Cluster, &all),
            cluster.list(Within::Cluster, &all),
            cluster.operators(),
        );
        let install_namespace = cluster.installed_in(&operators);
        let of_agents = ListParams::default().labels(AGENT_LABELS);
        let (daemon_sets, leases) = tokio::join!(
            cluster.list(Within::Namespace(&install_namespace), &of_agents),
            cluster.list(Within::Namespace(&install_namespace), &all),
        );
        Ok(Snapshot {
            now,
            regions,
            classes,
            pools,
            agents,
            operators,
            daemon_sets,
            leases,
            install_namespace,
        })
    }
}

impl Cluster {
    /// The operators' Deployments: in the whole cluster, or for who may not look there, where they are by default.
    pub(crate) async fn operators(&self) -> Look<Deployment> {
        let params = ListParams::default().labels(OPERATOR_LABELS);
        if let Some(namespace) = &self.install_namespace {
            return self.list(Within::Namespace(namespace), &params).await;
        }
        match self.list(Within::Cluster, &params).await {
            Err(Trouble::Forbidden(_)) => self.list(Within::Namespace(INSTALL_NAMESPACE), &params).await,
            found => found,
        }
    }

    /// The namespace that pagemesh is installed in.
    pub(crate) fn installed_in(&self, operators: &Look<Deployment>) -> String {
        let found = operators.as_ref().ok().and_then(|operators| operators.items.first()?.namespace());
        self.install_namespace.clone().or(found).unwrap_or_else(|| INSTALL_NAMESPACE.into())
    }
}

/// Name of an agent's Lease.
pub(crate) fn agent_lease(node: &str) -> String {
    format!("agent.{node}")
}

/// When a Lease ends unless it is renewed; `None` if it was never held.
pub(crate) fn lease_end(lease: &Lease) -> Option<Timestamp> {
    let spec = lease.spec.as_ref()?;
    spec.holder_identity.as_ref().filter(|holder| !holder.is_empty())?;
    let duration = SignedDuration::from_secs(spec.lease_duration_seconds?.into());
    spec.renew_time.as_ref()?.0.checked_add(duration).ok()
}

/// Whether somebody holds a Lease now; `None` if there is no such Lease.
pub(crate) fn is_fresh(leases: &Listing<Lease>, name: &str, now: Timestamp) -> Option<bool> {
    let lease = leases.items.iter().find(|lease| lease.name_any() == name)?;
    Some(lease_end(lease).is_some_and(|end| end >= now))
}
