//! Who may attach to a Region: `spec.access`, and what it comes to for one pod.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{check_label, check_subdomain};
use crate::rules;
use crate::schema::explain_values;
use crate::validate::Findings;

/// Entries that `spec.access` of a Region may have.
pub const ACCESS_MAX: usize = 64;

/// Lets service accounts attach to a Region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessEntry {
    /// Namespace of the service accounts; without it the Region's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (rules::LABEL, rules::NAMESPACE_MESSAGE))]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Name of the service account; without it all of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (rules::SUBDOMAIN, rules::SERVICE_ACCOUNT_MESSAGE))]
    #[schemars(length(max = 253))]
    pub service_account: Option<String>,
    /// What they may do with it. Of several entries that are about one pod the strongest holds.
    #[serde(default)]
    #[schemars(transform = explain_values)]
    pub mode: AccessMode,
}

/// What a pod may do with a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum AccessMode {
    /// Read.
    ReadOnly,
    /// Read and write.
    #[default]
    ReadWrite,
}

/// An [`AccessEntry`] that has passed all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    namespace: String,
    service_account: Option<String>,
    mode: AccessMode,
}

/// Who may attach to a Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access(Vec<Allowed>);

impl Access {
    /// What is so where a Region does not say who may attach to it: every service account of this namespace, its own,
    /// may read and write.
    #[must_use]
    pub fn of_namespace(namespace: &str) -> Access {
        Access(vec![Allowed {
            namespace: namespace.to_owned(),
            service_account: None,
            mode: AccessMode::ReadWrite,
        }])
    }

    /// `spec.access` of a Region in `namespace`.
    pub(crate) fn of(namespace: &str, entries: Option<&[AccessEntry]>) -> Access {
        let Some(entries) = entries else { return Access::of_namespace(namespace) };
        let allowed = entries.iter().map(|entry| Allowed {
            namespace: entry.namespace.clone().unwrap_or_else(|| namespace.to_owned()),
            service_account: entry.service_account.clone(),
            mode: entry.mode,
        });
        Access(allowed.collect())
    }

    /// What a service account may do; `None` if nothing. The strongest entry about it holds.
    #[must_use]
    pub fn mode(&self, namespace: &str, service_account: &str) -> Option<AccessMode> {
        let about = |allowed: &&Allowed| {
            allowed.namespace == namespace
                && allowed.service_account.as_ref().is_none_or(|name| name == service_account)
        };
        self.0.iter().filter(about).map(|allowed| allowed.mode).max()
    }
}

/// Checks `spec.access`.
pub(crate) fn check_access(entries: Option<&[AccessEntry]>, findings: &mut Findings) {
    let entries = entries.unwrap_or_default();
    if entries.len() > ACCESS_MAX {
        let reason = format!(
            "has {} entries; at most {ACCESS_MAX}, so let all service accounts of a namespace in by one entry",
            entries.len()
        );
        findings.add("spec.access", reason);
        return;
    }
    for (index, entry) in entries.iter().enumerate() {
        if let Some(namespace) = &entry.namespace {
            findings.check(format!("spec.access[{index}].namespace"), check_label(namespace));
        }
        if let Some(name) = &entry.service_account {
            findings.check(format!("spec.access[{index}].serviceAccount"), check_subdomain(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AccessMode::{ReadOnly, ReadWrite};

    fn entry(namespace: &str, service_account: &str, mode: AccessMode) -> AccessEntry {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        AccessEntry { namespace: some(namespace), service_account: some(service_account), mode }
    }

    #[test]
    fn the_strongest_entry_about_a_service_account_holds() {
        let own_only = None;
        let nobody = Some(vec![]);
        let some = Some(vec![
            entry("", "writer", ReadWrite),
            entry("", "", ReadOnly),
            entry("team-b", "trainer", ReadOnly),
            entry("team-c", "", ReadOnly),
            entry("team-c", "trainer", ReadWrite),
        ]);
        for (entries, namespace, service_account, expected) in [
            (&own_only, "own", "default", Some(ReadWrite)),
            (&own_only, "other", "default", None),
            (&nobody, "own", "default", None),
            (&nobody, "other", "default", None),
            (&some, "own", "writer", Some(ReadWrite)),
            (&some, "own", "default", Some(ReadOnly)),
            (&some, "team-b", "trainer", Some(ReadOnly)),
            (&some, "team-b", "default", None),
            (&some, "team-b", "writer", None),
            (&some, "team-c", "default", Some(ReadOnly)),
            (&some, "team-c", "trainer", Some(ReadWrite)),
            (&some, "", "", None),
        ] {
            let access = Access::of("own", entries.as_deref());
            assert_eq!(
                access.mode(namespace, service_account),
                expected,
                "{namespace}/{service_account} of {entries:?}"
            );
        }
    }
}
