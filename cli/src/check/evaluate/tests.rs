//! A healthy cluster passes; each fault is named, with what to do.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use serde_json::json;

use super::*;
use crate::check::finding::{Level, passes, table};
use crate::check::rights::{Reviewed, Who, all_of};
use crate::kubernetes::fixture::{agent, ended, lease, object, region, snapshot};
use crate::kubernetes::{Trouble, VERSION_MIN, Version};

fn policy() -> ValidatingAdmissionPolicy {
    object(json!({
        "metadata": {"name": "pagemesh-agents"},
        "spec": {"matchConstraints": {"resourceRules": [
            {"apiGroups": ["pagemesh.io"], "resources": ["agents", "agents/status"], "operations": ["*"]},
        ]}},
    }))
}

fn binding() -> ValidatingAdmissionPolicyBinding {
    object(json!({
        "metadata": {"name": "pagemesh-agents"},
        "spec": {"policyName": "pagemesh-agents", "validationActions": ["Deny"]},
    }))
}

fn facts() -> Facts {
    let established = json!({"conditions": [{"type": "Established", "status": "True"}]});
    let definitions = pagemesh_crds::definitions().into_iter().map(|mut definition| {
        definition.status = Some(object(established.clone()));
        (definition.metadata.name.clone().unwrap_or_default(), Ok(Some(definition)))
    });
    let granted = |(who, right)| {
        let right: crate::check::rights::Right = right;
        Reviewed { who, right, allowed: Ok(right.needed) }
    };
    Facts {
        version: Ok((format!("v{VERSION_MIN}.1"), Some(VERSION_MIN))),
        definitions: definitions.collect(),
        policies: Ok(vec![policy()].into()),
        bindings: Ok(vec![binding()].into()),
        rights: all_of(&["default".into()]).into_iter().map(granted).collect(),
        snapshot: snapshot(),
    }
}

#[test]
fn a_healthy_cluster_passes() {
    let findings = evaluate(&facts());
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{}", table(&findings));
    assert!(table(&findings).ends_with(&format!("{} ok, 0 warn, 0 fail\n", findings.len())));
    for check in ["API server", "CRD regions.pagemesh.io", "operator's leader", "shards", "regions"] {
        assert!(findings.iter().any(|finding| finding.check == check), "{check} is looked at");
    }
}

/// A way to make it worse, and what must then be said: level, check, a part of what was found, a part of the advice.
type Fault = (fn(&mut Facts), Level, &'static str, &'static str, &'static str);

const FAULTS: &[Fault] = &[
    (
        |f| f.version = Ok(("v1.x".into(), Some(Version(VERSION_MIN.0, VERSION_MIN.1 - 1)))),
        Level::Fail,
        "API server",
        "Kubernetes v1.x is too old",
        "upgrade the cluster to",
    ),
    (
        |f| f.definitions[0].1 = Ok(None),
        Level::Fail,
        "CRD agentpools.pagemesh.io",
        "not installed",
        "pagemesh crd |",
    ),
    (
        |f| {
            if let (_, Ok(Some(definition))) = &mut f.definitions[1] {
                definition.spec.scope = "Namespaced".into();
            }
        },
        Level::Fail,
        "CRD agents.pagemesh.io",
        "differs from that of pagemesh 0.1.0 at spec.scope",
        "kubectl apply",
    ),
    (
        |f| f.policies = Ok(vec![].into()),
        Level::Fail,
        "admission policy",
        "another node's Agent object",
        "helm upgrade",
    ),
    (|f| f.bindings = Ok(vec![].into()), Level::Fail, "admission policy", "not bound", "helm upgrade"),
    (|f| f.snapshot.operators = Ok(vec![].into()), Level::Fail, "operator", "not installed", "helm install"),
    (
        |f| {
            let operators = f.snapshot.operators.as_mut().expect("there");
            operators.items[0].status.as_mut().expect("there").ready_replicas = None;
        },
        Level::Fail,
        "operator",
        "0 of 2 ready",
        "kubectl describe pods",
    ),
    (
        |f| {
            let operator = &mut f.snapshot.operators.as_mut().expect("there").items[0];
            operator.spec.replicas = Some(0);
            operator.status = None;
        },
        Level::Fail,
        "operator",
        "scaled to 0",
        "kubectl scale",
    ),
    (
        |f| {
            let operators = f.snapshot.operators.as_mut().expect("there");
            let pod = operators.items[0].spec.template.spec.as_mut().expect("there");
            pod.containers[0].image = Some("registry:5000/pagemesh/operator:9.9.9@sha256:ab".into());
        },
        Level::Warn,
        "operator's version",
        "9.9.9, while this is pagemesh",
        "helm upgrade",
    ),
    (
        |f| {
            let mut old = lease("pagemesh-operator");
            old.spec.as_mut().expect("there").lease_duration_seconds = Some(5);
            f.snapshot.leases.as_mut().expect("there").items[0] = old;
        },
        Level::Fail,
        "operator's leader",
        "let its Lease run out 5s ago",
        "kubectl logs",
    ),
    (|f| f.snapshot.pools = Ok(vec![].into()), Level::Warn, "pools", "no AgentPool", "create one"),
    (
        |f| f.snapshot.daemon_sets = Ok(vec![].into()),
        Level::Fail,
        "pool default",
        "no DaemonSet",
        "kubectl describe",
    ),
    (
        |f| {
            let sets = f.snapshot.daemon_sets.as_mut().expect("there");
            sets.items[0].status.as_mut().expect("there").number_ready = 1;
        },
        Level::Fail,
        "pool default",
        "1 of 2 agents' pods ready",
        "pagemesh.io/agent-pool=default",
    ),
    (
        |f| {
            let mut bad = agent("a", 0, 0);
            let status = bad.status.as_mut().expect("there");
            status.conditions[0].status = "False".into();
            status.conditions[0].reason = "PreflightFailed".into();
            status.preflight = vec![object(json!({
                "name": "userfaultfd", "severity": "Failure", "message": "the device is missing: modprobe it",
            }))];
            f.snapshot.agents.as_mut().expect("there").items[0] = bad;
        },
        Level::Fail,
        "node a",
        "userfaultfd: the device is missing",
        "modprobe it",
    ),
    (
        |f| {
            let agent = &mut f.snapshot.agents.as_mut().expect("there").items[0];
            let condition = &mut agent.status.as_mut().expect("there").conditions[0];
            (condition.status, condition.reason) = ("False".into(), "PreflightFailed".into());
        },
        Level::Fail,
        "agent a",
        "PreflightFailed",
        "kubectl delete pod -n pagemesh-system pagemesh-agent-default-a",
    ),
    (
        |f| drop(f.snapshot.leases.as_mut().expect("there").items.pop()),
        Level::Fail,
        "agents' leases",
        "not renewed by b",
        "kubectl get nodes",
    ),
    (
        |f| {
            let agents = f.snapshot.agents.as_mut().expect("there");
            agents.items[1].status.as_mut().expect("there").shards = Some(4);
        },
        Level::Fail,
        "shards",
        "2 (a); 4 (b)",
        "the same spec.shards",
    ),
    (
        |f| f.snapshot.agents.as_mut().expect("there").items[1].spec.id = Some(0),
        Level::Fail,
        "agents' numbers",
        "0 (a, b)",
        "delete its Agent object",
    ),
    (
        |f| f.rights[0].allowed = Ok(false),
        Level::Warn,
        "your permissions",
        "you may not see regions",
        "kubectl auth can-i list regions.pagemesh.io -A",
    ),
    (
        |f| {
            let of_agents = |reviewed: &&mut Reviewed| matches!(reviewed.who, Who::AgentsOf(_));
            f.rights.iter_mut().find(of_agents).expect("there").allowed = Ok(false);
        },
        Level::Fail,
        "permissions of pool default",
        "agents may not know the regions",
        "--as system:serviceaccount:pagemesh-system:pagemesh-agent-default",
    ),
    (
        |f| f.rights.last_mut().expect("there").allowed = Ok(true),
        Level::Fail,
        "permissions of pool default",
        "agents may write Events, which they need not",
        "binding",
    ),
    (
        |f| {
            let moving = region("Ready", "False", "Moving", "1 of 2 homes has all of its pages");
            f.snapshot.regions = Ok(vec![moving].into());
        },
        Level::Warn,
        "region team/table",
        "Moving: 1 of 2 homes",
        "wait",
    ),
    (
        |f| {
            let full = region("Ready", "False", "NotEnoughMemory", "the agents lend 1Gi");
            f.snapshot.regions = Ok(vec![full].into());
        },
        Level::Fail,
        "region team/table",
        "NotEnoughMemory: the agents lend 1Gi",
        "kubectl edit agentpool",
    ),
];

#[test]
fn each_fault_is_named_with_what_to_do() {
    for (index, (make_worse, level, check, found, advice)) in FAULTS.iter().enumerate() {
        let mut facts = facts();
        make_worse(&mut facts);
        let findings = evaluate(&facts);
        let named = findings.iter().any(|finding| {
            finding.level == *level
                && finding.check == *check
                && finding.found.contains(found)
                && finding.advice.as_ref().is_some_and(|said| said.contains(advice))
        });
        assert!(named, "fault {index}, {check}: {}", table(&findings));
        assert!(*level != Level::Fail || !passes(&findings));
        let silent = |finding: &&Finding| finding.level != Level::Ok && finding.advice.is_none();
        assert_eq!(findings.iter().find(silent), None, "every fault has advice");
    }
}

/// What may be hidden from somebody, and the check that then fails.
type Hidden = (fn(&mut Facts, Trouble), &'static str);

const HIDDEN: &[Hidden] = &[
    (|f, trouble| f.version = Err(trouble), "API server"),
    (|f, trouble| f.definitions[1].1 = Err(trouble), "CRD agents.pagemesh.io"),
    (|f, trouble| f.definitions.iter_mut().for_each(|(_, found)| *found = Err(trouble.clone())), "CRDs"),
    (|f, trouble| f.policies = Err(trouble), "admission policy"),
    (|f, trouble| f.bindings = Err(trouble), "admission policy"),
    (|f, trouble| f.snapshot.operators = Err(trouble), "operator"),
    (|f, trouble| f.snapshot.leases = Err(trouble), "operator's leader"),
    (|f, trouble| f.snapshot.leases = Err(trouble), "agents' leases"),
    (|f, trouble| f.snapshot.pools = Err(trouble), "pools"),
    (|f, trouble| f.snapshot.daemon_sets = Err(trouble), "DaemonSets"),
    (|f, trouble| f.snapshot.agents = Err(trouble), "agents"),
    (|f, trouble| f.rights[0].allowed = Err(trouble), "your permissions"),
    (|f, trouble| f.rights.last_mut().expect("there").allowed = Err(trouble), "permissions of pool default"),
    (|f, trouble| f.snapshot.regions = Err(trouble), "regions"),
];

#[test]
fn what_may_not_be_looked_at_is_not_good() {
    let refusal = "User \"x\" cannot list resource \"y\"";
    for (hide, check) in HIDDEN {
        let mut facts = facts();
        hide(&mut facts, Trouble::Forbidden(refusal.into()));
        let findings = evaluate(&facts);
        let table = table(&findings);
        let line = table.lines().find(|line| line.starts_with(&format!("fail  {check} ")));
        let expected = format!("not looked at: you may not ({refusal}): ask an administrator");
        assert!(line.is_some_and(|line| line.contains(&expected)), "{check}: {table}");
        assert!(!passes(&findings), "{check}");
    }
}

#[test]
fn an_agent_that_has_ended_in_good_order_is_well_whatever_it_was_like() {
    let mut facts = facts();
    let mut last = ended("b", 1);
    let status = last.status.as_mut().expect("there");
    (status.shards, status.version) = (Some(4), Some("0.0.9".into()));
    facts.snapshot.agents.as_mut().expect("there").items[1] = last;
    facts
        .snapshot
        .leases
        .as_mut()
        .expect("there")
        .items
        .retain(|lease| lease.metadata.name != Some("agent.b".into()));
    let findings = evaluate(&facts);
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{}", table(&findings));
    assert!(table(&findings).contains("1 of 1 fresh"), "{}", table(&findings));
}

#[test]
fn tags() {
    for (image, expected) in [
        ("pagemesh/operator:0.1.0", Some("0.1.0")),
        ("registry:5000/pagemesh/operator", None),
        ("registry:5000/operator:v1@sha256:00", Some("v1")),
        ("operator@sha256:00", None),
        ("", None),
    ] {
        assert_eq!(tag(image), expected, "{image}");
    }
}
