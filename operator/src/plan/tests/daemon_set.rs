//! What a pool's DaemonSet looks like.

use k8s_openapi::api::apps::v1::DaemonSet;
use pagemesh_crds::AgentPoolSpec;
use serde_json::{Value, json};

use super::model::Model;
use crate::plan::snapshot::AgentsRun;
use crate::plan::{Action, Child, plan};

fn daemon_set(spec: Value) -> Result<Value, String> {
    let spec: AgentPoolSpec = serde_json::from_value(spec).unwrap();
    daemon_set_of(spec, Some("/var/lib/kubelet"))
}

fn daemon_set_of(spec: AgentPoolSpec, kubelet_dir: Option<&str>) -> Result<Value, String> {
    let mut model = Model::new();
    let run = AgentsRun {
        kubelet_dir: kubelet_dir.map(str::to_owned),
        ..AgentsRun::clone(&model.snapshot.agents_run)
    };
    model.snapshot.agents_run = run.into();
    model.set_pool("fast", |own| *own = spec);
    let actions = plan(&model.snapshot).actions;
    let set: Option<DaemonSet> = actions.iter().find_map(|action| match action {
        Action::ApplyChild { child, .. } => match &**child {
            Child::DaemonSet(set) => Some(set.clone()),
            Child::ServiceAccount(_)
            | Child::ClusterRoleBinding(_)
            | Child::RoleBinding(_)
            | Child::Service(_) => None,
        },
        Action::SetPoolStatus { .. }
        | Action::AdoptAgent { .. }
        | Action::ReportAgent { .. }
        | Action::AddRegionFinalizer { .. }
        | Action::RemoveRegionFinalizer { .. }
        | Action::SetRegionStatus { .. } => None,
    });
    match set {
        Some(set) => Ok(serde_json::to_value(set).unwrap()),
        None => Err(format!("{actions:?}")),
    }
}

fn container(set: &Value) -> &Value {
    &set["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn the_memory_that_is_lent_comes_on_top_of_requests_and_limits() {
    let table = [
        (json!({}), json!({ "requests": { "cpu": "100m", "memory": "1152Mi" } })),
        (
            json!({ "resources": { "requests": { "cpu": "1", "memory": "256Mi" }, "limits": { "memory": "512Mi" } } }),
            json!({ "requests": { "cpu": "1", "memory": "1280Mi" }, "limits": { "memory": "1536Mi" } }),
        ),
        (
            json!({ "resources": { "limits": { "memory": "1Gi" } } }),
            json!({ "requests": { "memory": "2Gi" }, "limits": { "memory": "2Gi" } }),
        ),
        (
            json!({ "resources": { "requests": { "cpu": "1" } } }),
            json!({ "requests": { "cpu": "1", "memory": "1Gi" } }),
        ),
    ];
    for (mut spec, expected) in table {
        spec["memory"] = "1Gi".into();
        assert_eq!(container(&daemon_set(spec.clone()).unwrap())["resources"], expected, "{spec}");
    }
    let bad = json!({ "memory": "1Gi", "resources": { "requests": { "memory": "lots" } } });
    assert!(daemon_set(bad).unwrap_err().contains("spec.resources.requests.memory"));
}

#[test]
fn another_agent_starts_beside_the_one_that_runs_where_there_is_room() {
    let rolling = |surge: Option<u16>, away: u16| match surge {
        Some(surge) => json!({ "maxSurge": surge, "maxUnavailable": away }),
        None => json!({ "maxUnavailable": away }),
    };
    for (spec, expected) in [
        (json!({}), rolling(Some(1), 0)),
        (json!({ "updateStrategy": { "maxSurge": 3 } }), rolling(Some(3), 0)),
        (json!({ "updateStrategy": { "maxUnavailable": 2 } }), rolling(None, 2)),
        (json!({ "hostNetwork": true }), rolling(None, 1)),
    ] {
        let mut spec = spec;
        spec["memory"] = "1Gi".into();
        let strategy = &daemon_set(spec.clone()).unwrap()["spec"]["updateStrategy"];
        assert_eq!(strategy, &json!({ "type": "RollingUpdate", "rollingUpdate": expected }), "{spec}");
    }
    let alone = json!({ "memory": "1Gi", "updateStrategy": { "type": "OnDelete" } });
    assert_eq!(daemon_set(alone).unwrap()["spec"]["updateStrategy"], json!({ "type": "OnDelete" }));
}

#[test]
fn pods_are_what_agents_need() {
    let set = daemon_set(json!({
        "memory": "1Gi", "shards": 3, "hostNetwork": true, "logLevel": "Debug", "handOverSeconds": 60,
        "nodeSelector": { "disk": "fast" }, "tolerations": [{ "key": "gpu", "operator": "Exists" }],
        "updateStrategy": { "type": "RollingUpdate", "maxUnavailable": 2 },
    }))
    .unwrap();
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(set["metadata"]["name"], "pagemesh-agent-fast");
    assert_eq!(set["metadata"]["ownerReferences"][0]["kind"], "AgentPool");
    assert_eq!(set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 2);
    assert_eq!(set["spec"]["template"]["metadata"]["labels"]["pagemesh.io/agent-pool"], "fast");
    assert_eq!(pod["hostPID"], true);
    assert_eq!((&pod["hostNetwork"], &pod["dnsPolicy"]), (&json!(true), &json!("ClusterFirstWithHostNet")));
    assert_eq!(pod["terminationGracePeriodSeconds"], 90);
    assert_eq!(pod["nodeSelector"], json!({ "disk": "fast" }));
    assert_eq!(pod["tolerations"][0]["key"], "gpu");
    let container = container(&set);
    assert_eq!(container["image"], "pagemesh/agent:test");
    assert_eq!(container["securityContext"]["privileged"], true);
    assert_eq!(container["volumeMounts"][0]["mountPropagation"], "Bidirectional");
    let args: Vec<&str> =
        container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    assert_eq!(
        args.join(" "),
        "--kubernetes --name $(NODE_NAME) --namespace $(POD_NAMESPACE) --pod-name $(POD_NAME) --pool fast \
         --listen [::]:7400 --advertise $(POD_IP) --http [::]:7480 --names [::]:7410 \
         --dir /run/pagemesh --memory-dir /run/pagemesh/memory --memory 1Gi --shards 3 --socket-mode 0600 --hand-over 60 --log debug \
         --log-format human --kubelet-dir /var/lib/kubelet"
    );
}

#[test]
fn agents_see_what_they_need_of_the_kubelet_and_nothing_else() {
    let spec = || serde_json::from_value(json!({ "memory": "1Gi" })).unwrap();
    let seen = |set: &Value| -> Vec<(String, bool, bool)> {
        let mounts = container(set)["volumeMounts"].as_array().unwrap();
        let volumes = set["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
        assert_eq!(mounts.len(), volumes.len());
        let pairs = mounts.iter().zip(volumes).map(|(mount, volume)| {
            assert_eq!(mount["name"], volume["name"]);
            // The kubelet names paths, and they must mean the same to the agent.
            assert_eq!(mount["mountPath"], volume["hostPath"]["path"]);
            let path = mount["mountPath"].as_str().unwrap().to_owned();
            (path, mount["mountPropagation"] == "Bidirectional", volume["hostPath"]["type"] == "Directory")
        });
        pairs.collect()
    };
    let own = ("/run/pagemesh".to_owned(), true, false);
    let set = daemon_set_of(spec(), None).unwrap();
    assert_eq!(seen(&set), std::slice::from_ref(&own));
    assert!(!container(&set)["args"].to_string().contains("kubelet"));
    let set = daemon_set_of(spec(), Some("/k")).unwrap();
    let expected = [
        own,
        ("/k/pods".to_owned(), true, true),
        ("/k/plugins/csi.pagemesh.io".to_owned(), false, false),
        ("/k/plugins_registry".to_owned(), false, true),
    ];
    assert_eq!(seen(&set), expected);
}

#[test]
fn a_pool_without_any_image_says_so() {
    let mut model = Model::new();
    model.snapshot.agents_run = std::sync::Arc::default();
    model.set_pool("default", |_| {});
    let text = super::print::actions(&model.run());
    assert!(text.contains("Ready=False InvalidSpec: There is no image"), "{text}");
    assert!(!text.contains("apply"), "{text}");
}
