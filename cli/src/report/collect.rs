//! Collects what goes into a bundle. What cannot be had is noted, and the rest collected all the same.

use anyhow::Result;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, ListParams, LogParams};
use kube::{Api, Resource, ResourceExt};
use pagemesh_crds::{Agent, AgentPool, MountTable, Region, RegionClass};
use serde_json::{Value, json};

use super::bundle::Bundle;
use crate::kubernetes::{Cluster, PAGEMESH_LABELS, Snapshot, Within, explain};
use crate::{check, output, status};

/// Longest log of one container that is read.
const LOG_BYTES_MAX: i64 = 2 << 20;
/// Pods whose logs are read.
const PODS_MAX: usize = 64;

/// Collects. Fails only if there is no cluster.
pub(super) async fn collect(cluster: &Cluster, tail: i64) -> Result<Bundle> {
    let mut bundle = Bundle::default();
    bundle.learn("api-server", &cluster.host);
    let snapshot = Snapshot::read(cluster, Within::Cluster).await?;
    versions(cluster, &mut bundle).await;
    match check::of(cluster, None).await {
        Ok(findings) => {
            bundle.add_text("check.txt", &check::table(&findings));
            bundle.add_text("check.json", &output::json(&findings)?);
        }
        Err(error) => bundle.missing(format!("check: {error:#}")),
    }
    bundle.add_text("status.yaml", &output::yaml(&status::overview(&snapshot))?);

    let (all, ours) = (ListParams::default(), ListParams::default().labels(PAGEMESH_LABELS));
    let about_ours =
        ListParams::default().fields(&format!("involvedObject.apiVersion={}", pagemesh_crds::API_VERSION));
    let installed = Within::Namespace(&snapshot.install_namespace);
    let whole = Within::Cluster;
    let mut of = Collector { cluster, bundle };
    of.objects::<Region>("objects/regions.yaml", whole, &all).await;
    of.objects::<RegionClass>("objects/regionclasses.yaml", whole, &all).await;
    of.objects::<MountTable>("objects/mounttables.yaml", whole, &all).await;
    of.objects::<AgentPool>("objects/agentpools.yaml", whole, &all).await;
    of.objects::<Agent>("objects/agents.yaml", whole, &all).await;
    of.objects::<Event>("events/of-our-kinds.yaml", whole, &about_ours).await;
    of.objects::<Event>("events/where-installed.yaml", installed, &all).await;
    of.objects::<Deployment>("installed/deployments.yaml", installed, &ours).await;
    of.objects::<DaemonSet>("installed/daemonsets.yaml", installed, &ours).await;
    of.objects::<Pod>("installed/pods.yaml", installed, &ours).await;
    of.objects::<Lease>("installed/leases.yaml", installed, &all).await;
    of.objects::<Role>("installed/roles.yaml", installed, &ours).await;
    of.objects::<RoleBinding>("installed/rolebindings.yaml", installed, &ours).await;
    of.objects::<ClusterRole>("installed/clusterroles.yaml", whole, &ours).await;
    of.objects::<ClusterRoleBinding>("installed/clusterrolebindings.yaml", whole, &ours).await;
    of.objects::<ValidatingAdmissionPolicy>("installed/admission-policies.yaml", whole, &ours).await;
    of.objects::<ValidatingAdmissionPolicyBinding>("installed/admission-bindings.yaml", whole, &ours).await;
    of.some_of::<CustomResourceDefinition>("installed/definitions.yaml", definition).await;
    of.some_of::<Node>("cluster/nodes.yaml", node).await;
    of.logs(installed, &snapshot.install_namespace, tail).await;
    Ok(of.bundle)
}

async fn versions(cluster: &Cluster, bundle: &mut Bundle) {
    let server = match cluster.client.apiserver_version().await {
        Ok(info) => serde_json::to_value(info).unwrap_or_default(),
        Err(error) => explain(&error, &cluster.url).to_string().into(),
    };
    let versions = json!({"pagemesh": env!("CARGO_PKG_VERSION"), "apiServer": server});
    bundle.add_objects("versions.yaml", vec![versions]);
}

struct Collector<'a> {
    cluster: &'a Cluster,
    bundle: Bundle,
}

impl Collector<'_> {
    /// Adds all objects of a kind.
    async fn objects<K: Resource<DynamicType = ()>>(
        &mut self,
        path: &str,
        within: Within<'_>,
        params: &ListParams,
    ) {
        if let Some(objects) = self.read::<K>(path, within, params).await {
            self.bundle.add_objects(path, objects);
        }
    }

    /// Adds a part of each object of a kind.
    async fn some_of<K: Resource<DynamicType = ()>>(
        &mut self,
        path: &str,
        part: fn(&Value) -> Option<Value>,
    ) {
        if let Some(objects) = self.read::<K>(path, Within::Cluster, &ListParams::default()).await {
            self.bundle.add_objects(path, objects.iter().filter_map(part).collect());
        }
    }

    async fn read<K: Resource<DynamicType = ()>>(
        &mut self,
        path: &str,
        within: Within<'_>,
        params: &ListParams,
    ) -> Option<Vec<Value>> {
        let objects = self.cluster.list_raw(&ApiResource::erase::<K>(&()), within, params).await;
        let objects = objects.map_err(|trouble| self.bundle.missing(format!("{path}: {trouble}"))).ok()?;
        Some(objects.into_iter().filter_map(|object| serde_json::to_value(object).ok()).collect())
    }

    /// Adds the logs of the operator and of the agents, of the life before as well where one ended.
    async fn logs(&mut self, installed: Within<'_>, namespace: &str, tail: i64) {
        let params = ListParams::default().labels(PAGEMESH_LABELS);
        let pods = match self.cluster.list::<Pod>(installed, &params).await {
            Ok(pods) => pods.items,
            Err(trouble) => return self.bundle.missing(format!("logs: {trouble}")),
        };
        if pods.len() > PODS_MAX {
            self.bundle.missing(format!("logs of {} more pods", pods.len() - PODS_MAX));
        }
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), namespace);
        for pod in pods.iter().take(PODS_MAX) {
            for (container, previous) in containers(pod) {
                let name = pod.name_any();
                let path = format!("logs/{name}.{container}{}.log", if previous { ".previous" } else { "" });
                let params = LogParams {
                    container: Some(container),
                    previous,
                    tail_lines: Some(tail),
                    limit_bytes: Some(LOG_BYTES_MAX),
                    timestamps: true,
                    ..LogParams::default()
                };
                match api.logs(&name, &params).await {
                    Ok(text) => self.bundle.add_text(&path, &text),
                    Err(error) => {
                        self.bundle.missing(format!("{path}: {}", explain(&error, &self.cluster.url)))
                    }
                }
            }
        }
    }
}

/// The containers of a pod, and those of them again that were started anew.
fn containers(pod: &Pod) -> Vec<(String, bool)> {
    let containers = pod.spec.as_ref().map_or(&[][..], |spec| &spec.containers);
    let statuses =
        pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let restarted = statuses.iter().filter(|status| status.restart_count > 0);
    let now = containers.iter().map(|container| (container.name.clone(), false));
    now.chain(restarted.map(|status| (status.name.clone(), true))).collect()
}

/// Of our definitions, what the API server makes of them; what they say is known by their version.
fn definition(definition: &Value) -> Option<Value> {
    if definition["spec"]["group"] != "pagemesh.io" {
        return None;
    }
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let versions: Vec<&Value> = versions.map(|version| &version["name"]).collect();
    Some(json!({
        "metadata": definition["metadata"], "versions": versions, "status": definition["status"],
    }))
}

/// Of a node, what says whether an agent can run there: not its images, and of its labels only the usual ones.
fn node(node: &Value) -> Option<Value> {
    const LABELS: [&str; 5] = [
        "kubernetes.io/arch",
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    ];
    let mut labels = node["metadata"]["labels"].clone();
    if let Some(labels) = labels.as_object_mut() {
        labels.retain(|name, _| LABELS.contains(&name.as_str()) || name.starts_with("pagemesh.io/"));
    }
    let status = &node["status"];
    Some(json!({
        "metadata": {"name": node["metadata"]["name"], "labels": labels},
        "unschedulable": node["spec"]["unschedulable"], "taints": node["spec"]["taints"],
        "allocatable": status["allocatable"], "conditions": status["conditions"],
        "nodeInfo": {
            "kernelVersion": status["nodeInfo"]["kernelVersion"],
            "kubeletVersion": status["nodeInfo"]["kubeletVersion"],
            "containerRuntimeVersion": status["nodeInfo"]["containerRuntimeVersion"],
            "osImage": status["nodeInfo"]["osImage"], "architecture": status["nodeInfo"]["architecture"],
        },
    }))
}
