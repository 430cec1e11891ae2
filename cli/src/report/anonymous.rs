//! Puts other names in place of those that say whose cluster it is. The same name gets the same other one everywhere, so that
//! what belongs together is still seen to. Numbers, not hashes: who guesses a name could compute its hash.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

/// Whatever could be a name or an address.
static WORD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]*[A-Za-z0-9])?")
        .expect("the pattern is fixed, and tests use it")
});

/// Names that are ours or Kubernetes' own, and so tell nothing of a cluster.
const COMMON: [&str; 11] = [
    "default",
    "pagemesh",
    "pagemesh-agent",
    "pagemesh-system",
    "pagemesh-operator",
    "kube-system",
    "agent",
    "operator",
    "kubernetes",
    "info",
    "node",
];

/// The names found in objects, and what stands for each.
#[derive(Default)]
pub(super) struct Names {
    others: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
    addresses: BTreeMap<IpAddr, usize>,
}

impl Names {
    /// Learns the names in an object: its own, its namespace's, its node's, and those of the nodes and objects that it names.
    pub(super) fn learn(&mut self, object: &Value) {
        self.learn_in("", object);
    }

    fn learn_in(&mut self, parent: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (field, value) in fields {
                    match (kind(parent, field), value) {
                        (Some(kind), Value::String(name)) => self.add(kind, name),
                        (_, Value::String(image)) if field == "image" => self.add_registry(image),
                        (_, other) => self.learn_in(field, other),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.learn_in(parent, item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Learns where an image comes from, if its name says so: the first part then has a dot or a port.
    fn add_registry(&mut self, image: &str) {
        if let Some((registry, _)) = image.split_once('/')
            && registry.contains(['.', ':'])
        {
            self.add("registry", registry);
        }
    }

    /// Learns what a part of a cluster is called.
    pub(super) fn add(&mut self, kind: &'static str, name: &str) {
        // A word of one or two letters would take the place of too much else.
        const NAME_BYTES_MIN: usize = 3;
        // An agent's Lease is named after its node, which is learnt by itself.
        let known = name.starts_with("agent.")
            || COMMON.contains(&name)
            || name.ends_with("pagemesh.io")
            || name.parse::<IpAddr>().is_ok();
        if name.len() >= NAME_BYTES_MIN && !known && !self.others.contains_key(name) {
            let count = self.counts.entry(kind).or_default();
            *count += 1;
            self.others.insert(name.into(), format!("{kind}-{count}"));
        }
    }

    /// Puts other names and addresses in place of those in `text`.
    pub(super) fn replace(&mut self, text: &str) -> String {
        WORD.replace_all(text, |word: &Captures<'_>| self.word(&word[0])).into_owned()
    }

    fn word(&mut self, word: &str) -> String {
        if let Some(other) = self.others.get(word) {
            return other.clone();
        }
        if let Some(address) = self.address(word) {
            return address;
        }
        // `agent.NODE`, `HOST:PORT`, `POD.log`, `POD_NAMESPACE(UID)`, `pagemesh-agent-POOL`: the name is a part.
        let is_name = |part: &str| self.others.contains_key(part);
        for separator in [':', '_', '.', '-'] {
            for (at, _) in word.match_indices(separator) {
                let (before, after) = (&word[..at], &word[at + 1..]);
                if is_name(before) || is_name(after) {
                    return format!("{}{separator}{}", self.word(before), self.word(after));
                }
            }
        }
        word.into()
    }

    /// An address, with its port if there is one.
    fn address(&mut self, word: &str) -> Option<String> {
        let (address, port) = match word.parse::<IpAddr>() {
            Ok(address) => (address, ""),
            Err(_) => {
                let (address, port) = word.rsplit_once(':')?;
                (
                    address.parse::<IpAddr>().ok().filter(IpAddr::is_ipv4)?,
                    &word[word.len() - port.len() - 1..],
                )
            }
        };
        if address.is_loopback() || address.is_unspecified() {
            return Some(word.into());
        }
        let next = self.addresses.len() + 1;
        let number = *self.addresses.entry(address).or_insert(next);
        Some(format!("address-{number}{port}"))
    }
}

/// What a field holds the name of. A port or a container has a `name`, too, which says nothing of a cluster.
fn kind(parent: &str, field: &str) -> Option<&'static str> {
    const OF_OBJECTS: [&str; 5] = ["metadata", "involvedObject", "ownerReferences", "regions", "subjects"];
    Some(match field {
        "name" if OF_OBJECTS.contains(&parent) => "name",
        "podName" | "holderIdentity" => "name",
        "namespace" => "namespace",
        "nodeName" | "node" | "agent" | "hostname" | "host" | "kubernetes.io/hostname" => "node",
        "topology.kubernetes.io/zone" | "topology.kubernetes.io/region" => "zone",
        "agentPoolName" | "pagemesh.io/agent-pool" => "pool",
        "regionClassName" => "class",
        "region" => "region",
        "path" if parent == "mounts" || parent == "contexts" => "path",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> Names {
        let mut names = Names::default();
        names.learn(&json!({
            "metadata": {"name": "customer-7", "namespace": "secret-project"},
            "spec": {
                "nodeName": "host-1.corp.example", "agentPoolName": "gold",
                "containers": [{"name": "agent", "image": "images.corp.example:5000/pagemesh/agent:0.1.0"}],
            },
        }));
        names
    }

    #[test]
    fn the_same_name_has_the_same_other_one_everywhere() {
        let mut names = names();
        let text = "secret-project/customer-7 on host-1.corp.example, customer-7 (agent.host-1.corp.example) pagemesh-agent-gold";
        assert_eq!(
            names.replace(text),
            "namespace-1/name-1 on node-1, name-1 (agent.node-1) pagemesh-agent-pool-1"
        );
        assert_eq!(names.replace("customer-77 and xcustomer-7"), "customer-77 and xcustomer-7");
        assert_eq!(names.replace("logs/customer-7.log"), "logs/name-1.log");
        assert_eq!(names.replace("pod=customer-7_secret-project(8a)"), "pod=name-1_namespace-1(8a)");
        assert_eq!(
            names.replace("images.corp.example:5000/pagemesh/agent:0.1.0"),
            "registry-1/pagemesh/agent:0.1.0"
        );
    }

    #[test]
    fn addresses_too() {
        let mut names = names();
        assert_eq!(
            names.replace("10.1.2.3:7400 [fd00::1]:7400 10.1.2.3 127.0.0.1:80 v1.30.2 12:30:01"),
            "address-1:7400 [address-2]:7400 address-1 127.0.0.1:80 v1.30.2 12:30:01"
        );
    }

    #[test]
    fn what_says_nothing_stays() {
        let mut names = Names::default();
        names.learn(&json!({"metadata": {"name": "default", "namespace": "pagemesh-system"}, "node": "a"}));
        assert_eq!(names.replace("default pagemesh-system a"), "default pagemesh-system a");
    }
}
