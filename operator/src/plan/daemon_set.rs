//! The DaemonSet that runs a pool's agents.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, HostPathVolumeSource,
    ObjectFieldSelector, PodAffinityTerm, PodAntiAffinity, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SecurityContext, Taint, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use pagemesh_crds::{AgentPool, AgentPoolSpec, CSI_DRIVER, LogLevel, UpdateStrategy, UpdateType, quantity};

use super::children::{self, HTTP_PORT, NAMES_PORT, PEER_PORT};
use super::snapshot::AgentsRun;

/// Where agents keep their socket and their memory, on the node and in their container.
const RUN_DIR: &str = "/run/pagemesh";
/// What agents of pools without `resources` request for their own work.
const OWN_CPU: &str = "100m";
const OWN_MEMORY_BYTES: u64 = 128 << 20;
/// How much longer than handing over a pod may take to end.
const GRACE_SECONDS: i64 = 30;

/// The DaemonSet of a pool.
///
/// # Errors
/// What is wrong with the pool.
pub(crate) fn of(
    run: &AgentsRun,
    pool_name: &str,
    pool: &AgentPool,
    owner: &OwnerReference,
) -> Result<DaemonSet, String> {
    Ok(DaemonSet {
        metadata: children::metadata(run, pool_name, owner),
        spec: DaemonSetSpec {
            selector: LabelSelector {
                match_labels: Some(children::selector(pool_name)),
                match_expressions: None,
            },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(children::labels(pool_name)),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(run, pool_name, pool)?),
            },
            update_strategy: Some(update_strategy(&pool.spec)),
            ..DaemonSetSpec::default()
        },
        status: None,
    })
}

/// How a new agent comes to a node: beside the one that runs, from which it takes over, wherever there may be two.
fn update_strategy(spec: &AgentPoolSpec) -> DaemonSetUpdateStrategy {
    let UpdateStrategy { r#type, max_surge, max_unavailable } = spec.update_strategy;
    let count = |count: u16| Some(IntOrString::Int(count.max(1).into()));
    let rolling = match (max_surge, max_unavailable) {
        _ if r#type == UpdateType::OnDelete => {
            return DaemonSetUpdateStrategy { type_: Some("OnDelete".into()), rolling_update: None };
        }
        (None, None) if spec.host_network => (None, count(1)),
        (None, Some(away)) => (None, count(away)),
        (surge, _) => (count(surge.unwrap_or(1)), Some(IntOrString::Int(0))),
    };
    let (max_surge, max_unavailable) = rolling;
    DaemonSetUpdateStrategy {
        type_: Some("RollingUpdate".into()),
        rolling_update: Some(RollingUpdateDaemonSet { max_surge, max_unavailable }),
    }
}

fn pod(run: &AgentsRun, pool_name: &str, pool: &AgentPool) -> Result<PodSpec, String> {
    let spec = &pool.spec;
    Ok(PodSpec {
        containers: vec![container(run, pool_name, pool)?],
        service_account_name: Some(children::name(pool_name)),
        priority_class_name: run.priority_class.clone(),
        node_selector: Some(spec.node_selector.clone()).filter(|selector| !selector.is_empty()),
        tolerations: Some(spec.tolerations.clone()).filter(|tolerations| !tolerations.is_empty()),
        affinity: Some(no_other_pool(pool_name)),
        host_network: spec.host_network.then_some(true),
        dns_policy: Some(if spec.host_network { "ClusterFirstWithHostNet" } else { "ClusterFirst" }.into()),
        // The agent asks the kernel which process has connected, and finds its pod by that process's control group.
        host_pid: Some(true),
        termination_grace_period_seconds: Some(
            i64::from(spec.hand_over_seconds).saturating_add(GRACE_SECONDS),
        ),
        volumes: Some(directories(run).into_iter().map(Directory::volume).collect()),
        ..PodSpec::default()
    })
}

/// A node has agents of one pool, whatever pools select it. Of that pool there are two while one hands over to the other.
fn no_other_pool(pool_name: &str) -> Affinity {
    let agents: BTreeMap<String, String> = [
        ("app.kubernetes.io/name".to_owned(), "pagemesh".to_owned()),
        ("app.kubernetes.io/component".to_owned(), "agent".to_owned()),
    ]
    .into();
    let of_others = LabelSelectorRequirement {
        key: children::POOL_LABEL.into(),
        operator: "NotIn".into(),
        values: Some(vec![pool_name.to_owned()]),
    };
    let selector = LabelSelector { match_labels: Some(agents), match_expressions: Some(vec![of_others]) };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![PodAffinityTerm {
                topology_key: "kubernetes.io/hostname".into(),
                label_selector: Some(selector),
                ..PodAffinityTerm::default()
            }]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

/// Whether pods of a DaemonSet with these tolerations may be on a node with this taint. Some Kubernetes gives to all of them.
pub(crate) fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    const OF_DAEMON_SETS: [&str; 7] = [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
        "node.kubernetes.io/disk-pressure",
        "node.kubernetes.io/memory-pressure",
        "node.kubernetes.io/pid-pressure",
        "node.kubernetes.io/unschedulable",
        "node.kubernetes.io/network-unavailable",
    ];
    OF_DAEMON_SETS.contains(&taint.key.as_str())
        || tolerations.iter().any(|toleration| {
            let effect = toleration.effect.as_deref().is_none_or(|e| e.is_empty() || e == taint.effect);
            let key = toleration.key.as_deref().is_none_or(|key| key.is_empty() || key == taint.key);
            let value = toleration.operator.as_deref() == Some("Exists")
                || toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or("");
            effect && key && value
        })
}

fn container(run: &AgentsRun, pool_name: &str, pool: &AgentPool) -> Result<Container, String> {
    let spec = &pool.spec;
    let image = spec.image.as_ref().unwrap_or(&run.image);
    if image.is_empty() {
        return Err("There is no image: set spec.image, or start the operator with --agent-image.".into());
    }
    let port = |name: &str, port: i32| ContainerPort {
        name: Some(name.into()),
        container_port: port,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    };
    Ok(Container {
        name: "agent".into(),
        image: Some(image.clone()),
        args: Some(args(run, pool_name, pool)),
        env: Some(env(run)),
        ports: Some(vec![port("peer", PEER_PORT), port("http", HTTP_PORT), port("names", NAMES_PORT)]),
        resources: Some(resources(pool)?),
        // Looks at nothing but the process itself, so that what is wrong elsewhere restarts nobody.
        liveness_probe: Some(probe("/healthz", 10, 6)),
        readiness_probe: Some(probe("/readyz", 5, 2)),
        security_context: Some(SecurityContext {
            // For /dev/userfaultfd, and for mounts that the node sees.
            privileged: Some(true),
            run_as_user: Some(0),
            run_as_group: Some(0),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(directories(run).into_iter().map(Directory::mount).collect()),
        ..Container::default()
    })
}

/// A directory of the node, which agents have under the same name.
struct Directory {
    name: &'static str,
    path: String,
    /// What an agent mounts there, the node and its pods see.
    mounts: bool,
    /// The kubelet makes it. Where it is not, the kubelet is somewhere else, and its Events about the pod say so.
    kubelets: bool,
}

fn directories(run: &AgentsRun) -> Vec<Directory> {
    let directory = |name, path, mounts, kubelets| Directory { name, path, mounts, kubelets };
    let mut directories = vec![directory("run", RUN_DIR.to_owned(), true, false)];
    if let Some(kubelet) = &run.kubelet_dir {
        directories.extend([
            directory("pods", format!("{kubelet}/pods"), true, true),
            directory("plugin", format!("{kubelet}/plugins/{CSI_DRIVER}"), false, false),
            directory("registry", format!("{kubelet}/plugins_registry"), false, true),
        ]);
    }
    directories
}

impl Directory {
    fn volume(self) -> Volume {
        Volume {
            name: self.name.into(),
            host_path: Some(HostPathVolumeSource {
                path: self.path,
                type_: Some(if self.kubelets { "Directory" } else { "DirectoryOrCreate" }.into()),
            }),
            ..Volume::default()
        }
    }

    fn mount(self) -> VolumeMount {
        VolumeMount {
            name: self.name.into(),
            mount_path: self.path,
            mount_propagation: self.mounts.then(|| "Bidirectional".into()),
            ..VolumeMount::default()
        }
    }
}

fn args(run: &AgentsRun, pool_name: &str, pool: &AgentPool) -> Vec<String> {
    let spec = &pool.spec;
    let log = match spec.log_level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let pairs = [
        ("--name", "$(NODE_NAME)".to_owned()),
        ("--namespace", "$(POD_NAMESPACE)".to_owned()),
        ("--pod-name", "$(POD_NAME)".to_owned()),
        ("--pool", pool_name.to_owned()),
        ("--listen", format!("[::]:{PEER_PORT}")),
        ("--advertise", "$(POD_IP)".to_owned()),
        ("--http", format!("[::]:{HTTP_PORT}")),
        ("--names", format!("[::]:{NAMES_PORT}")),
        ("--dir", RUN_DIR.to_owned()),
        ("--memory-dir", format!("{RUN_DIR}/memory")),
        ("--memory", spec.memory.as_str().to_owned()),
        ("--shards", spec.shards.to_string()),
        // Pods have sockets of their own. Who comes by the node's may use every region.
        ("--socket-mode", "0600".to_owned()),
        ("--hand-over", spec.hand_over_seconds.to_string()),
        ("--log", log.to_owned()),
        ("--log-format", if run.json_log { "json" } else { "human" }.to_owned()),
    ];
    let kubelet_dir = run.kubelet_dir.iter().map(|dir| ("--kubelet-dir", dir.clone()));
    let pairs = pairs.into_iter().chain(kubelet_dir).flat_map(|(flag, value)| [flag.to_owned(), value]);
    std::iter::once("--kubernetes".to_owned()).chain(pairs).collect()
}

fn env(run: &AgentsRun) -> Vec<EnvVar> {
    let field = |name: &str, path: &str| EnvVar {
        name: name.into(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: path.into(), api_version: None }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let own = [
        field("NODE_NAME", "spec.nodeName"),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("POD_IP", "status.podIP"),
    ];
    let given = run.env.iter().map(|(name, value)| EnvVar {
        name: name.clone(),
        // Kubernetes would take `$(NAME)` for another variable.
        value: Some(value.replace("$(", "$$(")),
        ..EnvVar::default()
    });
    own.into_iter().chain(given).collect()
}

/// What the agent needs for its own work, and the memory that it lends: pages count as its own.
fn resources(pool: &AgentPool) -> Result<ResourceRequirements, String> {
    let lent_bytes = pool.spec.memory.bytes().map_err(|error| format!("spec.memory: {error}."))?;
    let with_lent = |own_bytes: u64| Quantity(quantity::format(own_bytes.saturating_add(lent_bytes)));
    let mut resources = pool.spec.resources.clone().unwrap_or_default();
    if pool.spec.resources.is_none() {
        let requests = [
            ("cpu".to_owned(), Quantity(OWN_CPU.into())),
            ("memory".to_owned(), Quantity(quantity::format(OWN_MEMORY_BYTES))),
        ];
        resources.requests = Some(requests.into());
    }
    // Kubernetes takes a limit for the request where that is missing.
    let requests = resources.requests.get_or_insert_default();
    let limit = resources.limits.as_ref().and_then(|limits| limits.get("memory"));
    if !requests.contains_key("memory") {
        let own = limit.cloned().unwrap_or_else(|| Quantity("0".into()));
        requests.insert("memory".into(), own);
    }
    let lists = [("requests", resources.requests.as_mut()), ("limits", resources.limits.as_mut())];
    for (name, list) in lists {
        if let Some(memory) = list.and_then(|list| list.get_mut("memory")) {
            let own_bytes = quantity::parse(&memory.0)
                .map_err(|error| format!("spec.resources.{name}.memory: {error}."))?;
            *memory = with_lent(own_bytes);
        }
    }
    Ok(resources)
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String("http".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(3),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
