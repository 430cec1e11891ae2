//! Checks of the kinds whose values agents take as they are, or do not act on: what a file says of them is right or refused all the same.

use crate::names::{check_address, check_label, check_path, check_pool_name};
use crate::rules;
use crate::validate::Findings;
use crate::{
    AGENTS_MAX, AgentPool, CONTEXTS_MAX, FieldError, HAND_OVER_SECONDS_MAX, HOMES_MAX, MOUNTS_MAX,
    MountTable, NAMESPACE_DEFAULT, REGIONS_PER_NAMESPACE_MAX, RegionClass, SHARDS_MAX, UpdateStrategy,
};

/// Checks a RegionClass.
///
/// # Errors
/// Every field that is wrong.
pub fn validate_region_class(class: &RegionClass) -> Result<(), Vec<FieldError>> {
    let mut findings = Findings::default();
    findings.check("metadata.name", check_label(class.metadata.name.as_deref().unwrap_or_default()));
    findings.no_namespace("a RegionClass", &class.metadata);
    let (defaults, limits) = (&class.spec.defaults, &class.spec.limits);
    if let Some(name) = &defaults.agent_pool_name {
        findings.check("spec.defaults.agentPoolName", check_pool_name(name));
    }
    for (field, homes) in [("spec.defaults.homes", defaults.homes), ("spec.limits.homes", limits.homes)] {
        if let Some(homes) = homes {
            findings.within(field, homes, 1..=HOMES_MAX.into());
        }
    }
    if let (Some(homes), Some(limit)) = (defaults.homes, limits.homes)
        && homes > limit
    {
        findings.add(
            "spec.defaults.homes",
            format!("is {homes} and limits.homes is {limit}; write {limit} or less"),
        );
    }
    if let Some(size) = &limits.size {
        findings.some_bytes("spec.limits.size", size);
    }
    if let Some(regions) = limits.regions_per_namespace {
        findings.within("spec.limits.regionsPerNamespace", regions, 1..=REGIONS_PER_NAMESPACE_MAX.into());
    }
    findings.done()
}

/// Checks a MountTable.
///
/// # Errors
/// Every field that is wrong.
pub fn validate_mount_table(table: &MountTable) -> Result<(), Vec<FieldError>> {
    let mut findings = Findings::default();
    let metadata = &table.metadata;
    findings.check("metadata.name", check_label(metadata.name.as_deref().unwrap_or_default()));
    findings
        .check("metadata.namespace", check_label(metadata.namespace.as_deref().unwrap_or(NAMESPACE_DEFAULT)));

    let (mounts, contexts) = (&table.spec.mounts, &table.spec.contexts);
    for (field, count, max) in
        [("spec.mounts", mounts.len(), MOUNTS_MAX), ("spec.contexts", contexts.len(), CONTEXTS_MAX)]
    {
        if count > max {
            findings.add(field, format!("has {count} entries; at most {max}, so write several MountTables"));
            return findings.done();
        }
    }
    for (index, mount) in mounts.iter().enumerate() {
        let field = format!("spec.mounts[{index}]");
        findings.check(format!("{field}.path"), check_path(&mount.path));
        findings.check(format!("{field}.region"), check_label(&mount.region));
        if let Some(namespace) = &mount.namespace {
            findings.check(format!("{field}.namespace"), check_label(namespace));
        }
    }
    for (index, context) in contexts.iter().enumerate() {
        let field = format!("spec.contexts[{index}]");
        findings.check(format!("{field}.path"), check_path(&context.path));
        if context.namespace.is_some() == context.delegate.is_some() {
            findings.add(&field, rules::ONE_TARGET_MESSAGE);
        }
        if let Some(namespace) = &context.namespace {
            findings.check(format!("{field}.namespace"), check_label(namespace));
        }
        if let Some(delegate) = &context.delegate {
            findings.check(format!("{field}.delegate.context"), check_label(&delegate.context));
            findings.check(format!("{field}.delegate.to"), check_address(&delegate.to));
        }
    }
    check_apart(table, &mut findings);
    findings.done()
}

/// Checks that no path is where another is, or below it.
fn check_apart(table: &MountTable, findings: &mut Findings) {
    let mounts = table
        .spec
        .mounts
        .iter()
        .enumerate()
        .map(|(i, mount)| (format!("spec.mounts[{i}].path"), &mount.path));
    let contexts = table
        .spec
        .contexts
        .iter()
        .enumerate()
        .map(|(i, context)| (format!("spec.contexts[{i}].path"), &context.path));
    let paths: Vec<_> = mounts.chain(contexts).collect();
    for (index, (field, path)) in paths.iter().enumerate() {
        if let Some((other, _)) = paths[..index].iter().find(|(_, other)| other == path) {
            findings
                .add(field, format!("`{}` is at {other} already; write another path", path.escape_debug()));
        }
        if let Some((other, _)) = paths.iter().find(|(_, other)| is_below(path, other)) {
            findings.add(
                field,
                format!(
                    "`{}` is below {other}, and nothing of this table can be there; write another path",
                    path.escape_debug()
                ),
            );
        }
    }
}

fn is_below(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
}

/// Checks of an AgentPool what is ours. What is a pod's (selector, tolerations, resources) Kubernetes checks.
///
/// # Errors
/// Every field that is wrong.
pub fn validate_agent_pool(pool: &AgentPool) -> Result<(), Vec<FieldError>> {
    let mut findings = Findings::default();
    findings.check("metadata.name", check_pool_name(pool.metadata.name.as_deref().unwrap_or_default()));
    findings.no_namespace("an AgentPool", &pool.metadata);
    let spec = &pool.spec;
    findings.some_bytes("spec.memory", &spec.memory);
    findings.within("spec.shards", spec.shards, 1..=SHARDS_MAX.into());
    findings.within("spec.handOverSeconds", spec.hand_over_seconds, 1..=HAND_OVER_SECONDS_MAX.into());
    let UpdateStrategy { max_surge, max_unavailable, .. } = spec.update_strategy;
    let counts = [("maxSurge", max_surge), ("maxUnavailable", max_unavailable)];
    for (field, count) in counts.iter().filter_map(|(field, count)| Some((field, (*count)?))) {
        findings.within(&format!("spec.updateStrategy.{field}"), count, 1..=AGENTS_MAX.into());
    }
    if max_surge.is_some() && max_unavailable.is_some() {
        findings.add("spec.updateStrategy", rules::SURGE_OR_UNAVAILABLE_MESSAGE);
    }
    if max_surge.is_some() && spec.host_network {
        findings.add("spec.updateStrategy.maxSurge", rules::NO_SURGE_ON_HOST_NETWORK_MESSAGE);
    }
    findings.done()
}
