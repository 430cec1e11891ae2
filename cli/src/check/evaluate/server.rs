//! The API server, the definitions of our kinds, and the policy that holds agents to their own objects.

use k8s_openapi::api::admissionregistration::v1::{
    NamedRuleWithOperations, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;

use super::{UPGRADE, seen};
use crate::check::definitions::difference;
use crate::check::finding::Finding;
use crate::kubernetes::{Look, Trouble, VERSION_MIN, Version};

type Served = Result<(String, Option<Version>), Trouble>;

pub(super) fn version(version: &Served) -> Vec<Finding> {
    const CHECK: &str = "API server";
    vec![match version {
        Err(trouble) => Finding::not_looked_at(CHECK, trouble),
        Ok((shown, None)) => Finding::warn(
            CHECK,
            format!("its version `{shown}` is not a number"),
            format!("see that it is {VERSION_MIN} or newer"),
        ),
        Ok((shown, Some(version))) if *version < VERSION_MIN => Finding::fail(
            CHECK,
            format!("Kubernetes {shown} is too old"),
            format!(
                "upgrade the cluster to {VERSION_MIN} or newer: before, a pod's token need not name its node, and agents are \
                 held to their own objects by that name"
            ),
        ),
        Ok((shown, Some(_))) => Finding::ok(CHECK, format!("Kubernetes {shown}")),
    }]
}

type Definition = (String, Result<Option<CustomResourceDefinition>, Trouble>);

pub(super) fn definitions(found: &[Definition]) -> Vec<Finding> {
    // Whoever may not look at one may not look at the others.
    if let Some(Err(trouble)) = found.first().map(|(_, found)| found)
        && found.iter().all(|(_, found)| found.is_err())
    {
        return vec![Finding::not_looked_at("CRDs", trouble)];
    }
    let ours = pagemesh_crds::definitions();
    let ours_of = |name: &str| ours.iter().find(|definition| definition.name_any() == name);
    found.iter().filter_map(|(name, found)| Some(definition(name, found, ours_of(name)?))).collect()
}

fn definition(
    name: &str,
    found: &Result<Option<CustomResourceDefinition>, Trouble>,
    ours: &CustomResourceDefinition,
) -> Finding {
    const APPLY: &str = "`pagemesh crd | kubectl apply --server-side -f -`";
    let check = format!("CRD {name}");
    let found = match found {
        Err(trouble) => return Finding::not_looked_at(check, trouble),
        Ok(None) => {
            return Finding::fail(check, "not installed", format!("{UPGRADE}, or the CRDs alone: {APPLY}"));
        }
        Ok(Some(found)) => found,
    };
    let conditions =
        found.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    if found.metadata.deletion_timestamp.is_some() {
        return Finding::fail(
            check,
            "is being deleted, and all objects of its kind with it",
            format!("when it is gone, {APPLY}"),
        );
    }
    for condition in conditions {
        let bad = match condition.type_.as_str() {
            "Established" | "NamesAccepted" => condition.status != "True",
            "NonStructuralSchema" => condition.status == "True",
            _ => false,
        };
        if bad {
            let message = condition.message.as_deref().unwrap_or_default();
            return Finding::fail(check, format!("the API server does not serve it ({message})"), APPLY);
        }
    }
    match difference(found, ours) {
        None => Finding::ok(check, format!("as of pagemesh {}", env!("CARGO_PKG_VERSION"))),
        Some(path) => Finding::fail(
            check,
            format!("differs from that of pagemesh {} at {path}", env!("CARGO_PKG_VERSION")),
            format!(
                "if this is the version that the cluster should have, {APPLY}; else use the pagemesh of its version"
            ),
        ),
    }
}

pub(super) fn admission(
    policies: &Look<ValidatingAdmissionPolicy>,
    bindings: &Look<ValidatingAdmissionPolicyBinding>,
) -> Vec<Finding> {
    const CHECK: &str = "admission policy";
    const RISK: &str = "an agent may write another node's Agent object";
    let mut findings = Vec::new();
    let (Some(policies), Some(bindings)) =
        (seen(CHECK, policies, &mut findings), seen(CHECK, bindings, &mut findings))
    else {
        return findings;
    };
    let guards: Vec<&ValidatingAdmissionPolicy> =
        policies.iter().filter(|policy| guards_agents(policy)).collect();
    if guards.is_empty() {
        findings.push(Finding::fail(CHECK, format!("there is none for agents, so {RISK}"), UPGRADE));
        return findings;
    }
    for policy in guards {
        let name = policy.name_any();
        let ignores = policy.spec.as_ref().and_then(|spec| spec.failure_policy.as_deref()) == Some("Ignore");
        let warnings = policy.status.as_ref().and_then(|status| status.type_checking.as_ref());
        let warning = warnings.and_then(|checked| checked.expression_warnings.as_deref()?.first());
        findings.push(if !bindings.iter().any(|binding| denies(binding, &name)) {
            Finding::fail(CHECK, format!("{name} is not bound with the action Deny, so {RISK}"), UPGRADE)
        } else if let Some(warning) = warning {
            let line = warning.warning.lines().next().unwrap_or_default();
            Finding::fail(
                CHECK,
                format!("{name} has an expression that cannot be evaluated ({line})"),
                UPGRADE,
            )
        } else if ignores {
            Finding::warn(CHECK, format!("{name} lets pass what it cannot judge"), UPGRADE)
        } else {
            Finding::ok(CHECK, format!("{name} holds each agent to its own Agent object"))
        });
    }
    findings
}

fn guards_agents(policy: &ValidatingAdmissionPolicy) -> bool {
    let constraints = policy.spec.as_ref().and_then(|spec| spec.match_constraints.as_ref());
    let rules = constraints.and_then(|constraints| constraints.resource_rules.as_deref());
    rules.unwrap_or_default().iter().any(names_agents)
}

fn names_agents(rule: &NamedRuleWithOperations) -> bool {
    let has = |list: &Option<Vec<String>>, name: &str| list.iter().flatten().any(|item| item == name);
    has(&rule.api_groups, "pagemesh.io")
        && (has(&rule.resources, "agents") || has(&rule.resources, "agents/status"))
}

fn denies(binding: &ValidatingAdmissionPolicyBinding, policy: &str) -> bool {
    binding.spec.policy_name == policy
        && binding.spec.validation_actions.iter().any(|action| action == "Deny")
}
