//! The operator: whether it is there, of which version, and whether one of its replicas leads.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PodSpec;
use kube::ResourceExt;

use super::{UPGRADE, seen, tag};
use crate::check::finding::Finding;
use crate::kubernetes::{Snapshot, age, lease_end};

const CHECK: &str = "operator";
const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn operator(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(operators) = seen(CHECK, &snapshot.operators, &mut findings) else { return findings };
    match operators {
        [] => findings.push(Finding::fail(
            CHECK,
            "not installed, so no region gets a place and no pool its agents",
            "`helm install pagemesh charts/pagemesh -n pagemesh-system --create-namespace`",
        )),
        [operator] => {
            findings.push(replicas(operator));
            findings.push(version(operator));
            findings.extend(leader(snapshot, operator));
        }
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|operator| {
                    format!("{}/{}", operator.namespace().unwrap_or_default(), operator.name_any())
                })
                .collect();
            findings.push(Finding::fail(
                CHECK,
                format!("there are {}: {}", names.len(), names.join(", ")),
                "uninstall all but one (`helm list -A`): two operators undo each other's work",
            ));
        }
    }
    findings
}

fn replicas(operator: &Deployment) -> Finding {
    let namespace = operator.namespace().unwrap_or_default();
    let wanted = operator.spec.replicas.unwrap_or(1);
    let ready = operator.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let found = format!("{namespace}/{}: {ready} of {wanted} ready", operator.name_any());
    let advice = format!("`kubectl describe pods -n {namespace} -l app.kubernetes.io/component=operator`");
    match ready {
        0 if wanted == 0 => Finding::fail(
            CHECK,
            format!("{namespace}/{} is scaled to 0, so nothing changes", operator.name_any()),
            format!("`kubectl scale deployment -n {namespace} {} --replicas 1`", operator.name_any()),
        ),
        0 => Finding::fail(CHECK, found, advice),
        _ if ready < wanted => Finding::warn(CHECK, found, advice),
        _ => Finding::ok(CHECK, found),
    }
}

fn pod(operator: &Deployment) -> Option<&PodSpec> {
    operator.spec.template.spec.as_ref()
}

fn version(operator: &Deployment) -> Finding {
    let check = "operator's version";
    let image = pod(operator).and_then(|pod| pod.containers.first()?.image.as_deref()).unwrap_or_default();
    match tag(image) {
        Some(tag) if tag.trim_start_matches('v') == OWN_VERSION => Finding::ok(check, tag),
        Some(tag) => Finding::warn(
            check,
            format!("{tag}, while this is pagemesh {OWN_VERSION}"),
            format!("use the pagemesh of that version here, or {UPGRADE} there"),
        ),
        None => Finding::ok(check, format!("not in the name of its image `{image}`")),
    }
}

fn leader(snapshot: &Snapshot, operator: &Deployment) -> Vec<Finding> {
    let check = "operator's leader";
    let mut arguments =
        pod(operator).and_then(|pod| pod.containers.first()?.args.as_ref()).into_iter().flatten();
    if arguments.any(|argument| argument == "--leader-elect=false") {
        return vec![Finding::ok(check, "none is elected, as its arguments say")];
    }
    let mut findings = Vec::new();
    let Some(leases) = seen(check, &snapshot.leases, &mut findings) else { return findings };
    let namespace = &snapshot.install_namespace;
    let advice = format!("`kubectl logs -n {namespace} -l app.kubernetes.io/component=operator --tail 50`");
    let lease = leases.iter().find(|lease| lease.name_any() == "pagemesh-operator");
    let holder = lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref()).unwrap_or_default();
    findings.push(match lease.and_then(lease_end) {
        None => Finding::fail(check, "no replica leads, so nothing changes", advice),
        Some(end) if end < snapshot.now => Finding::fail(
            check,
            format!("{holder} let its Lease run out {} ago, so nothing changes", age(snapshot.now, end)),
            advice,
        ),
        Some(_) => Finding::ok(check, holder),
    });
    findings
}
