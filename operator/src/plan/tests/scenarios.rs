//! Runs the scenarios: what happens to a cluster, line by line, and what is then planned.
//!
//! `plan` prints all that is done until nothing is left to do, and what it prints must be what the file says. To write what is planned
//! into the files: `UPDATE_SCENARIOS=1 cargo test -p pagemesh-operator scenarios`; then read the difference.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::{Taint, Toleration};
use pagemesh_crds::{AgentMemory, Coherence, PreflightFinding, Quantity, Severity};

use super::model::{Model, key, ready};
use super::print;
use crate::plan::Rollout;

#[test]
fn scenarios() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let update = std::env::var_os("UPDATE_SCENARIOS").is_some();
    let mut wrong = Vec::new();
    for file in files {
        let expected = fs::read_to_string(&file).unwrap();
        let actual = run(&expected, &file);
        if actual != expected {
            if update {
                fs::write(&file, &actual).unwrap();
            }
            wrong.push(format!("{}:\n{}", file.display(), difference(&expected, &actual)));
        }
    }
    assert!(update || wrong.is_empty(), "{}", wrong.join("\n"));
}

fn difference(expected: &str, actual: &str) -> String {
    let (mut expected, mut actual) = (expected.lines(), actual.lines());
    loop {
        match (expected.next(), actual.next()) {
            (None, None) => return "only the end differs".into(),
            (left, right) if left == right => {}
            (left, right) => {
                let expected: Vec<&str> = left.into_iter().chain(expected.take(5)).collect();
                let actual: Vec<&str> = right.into_iter().chain(actual.take(5)).collect();
                return format!("expected\n{}\nbut is\n{}\n", expected.join("\n"), actual.join("\n"));
            }
        }
    }
}

/// Runs a scenario. Returns it with what is really planned.
fn run(text: &str, file: &Path) -> String {
    let mut model = Model::new();
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        // Indented lines are output.
        if line.starts_with('|') {
            continue;
        }
        out += line;
        out.push('\n');
        let mut words = line.split_whitespace();
        let Some(command) = words.next().filter(|word| !word.starts_with('#')) else { continue };
        if command == "plan" {
            let done = model.run();
            for line in print::actions(&done).lines() {
                out += &format!("| {line}\n");
            }
            continue;
        }
        let args = Args::new(words);
        let known = step(&mut model, command, &args);
        assert!(known.is_some(), "{}:{}: `{line}` is not understood", file.display(), number + 1);
    }
    out
}

/// The words after a command: one name, `key=value` and flags.
struct Args<'a> {
    name: &'a str,
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Args<'a> {
    fn new(mut words: impl Iterator<Item = &'a str>) -> Args<'a> {
        let name = words.next().unwrap_or_default();
        let values = words.map(|word| word.split_once('=').unwrap_or((word, "true"))).collect();
        Args { name, values }
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.values.get(key).copied()
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key).map(|text| text.parse().ok().unwrap_or_else(|| panic!("{key}={text}")))
    }

    fn list(&self, key: &str) -> Vec<String> {
        self.get(key).into_iter().flat_map(|text| text.split(',')).map(ToOwned::to_owned).collect()
    }

    fn labels(&self, key: &str) -> Option<BTreeMap<String, String>> {
        let pair = |text: String| {
            let (key, value) = text.split_once(':').expect("a label is key:value");
            (key.to_owned(), value.to_owned())
        };
        self.get(key).map(|text| text.split(',').map(|text| pair(text.to_owned())).collect())
    }
}

/// `key:effect`.
fn taint(text: &str) -> Taint {
    let (key, effect) = text.split_once(':').unwrap();
    Taint { key: key.into(), effect: effect.into(), ..Taint::default() }
}

fn toleration(key: &str) -> Toleration {
    Toleration { key: Some(key.into()), operator: Some("Exists".into()), ..Toleration::default() }
}

fn coherence(text: &str) -> Coherence {
    serde_json::from_value(text.into()).unwrap()
}

fn step(model: &mut Model, command: &str, args: &Args<'_>) -> Option<()> {
    let name = args.name;
    match command {
        "pool" => model.set_pool(name, |spec| {
            spec.node_selector = args.labels("selector").unwrap_or_default();
            spec.shards = args.number("shards").unwrap_or(spec.shards);
            spec.tolerations = args.get("tolerates").into_iter().map(toleration).collect();
            if let Some(memory) = args.get("memory") {
                spec.memory = Quantity::from(memory);
            }
        }),
        "pool-gone" => _ = std::sync::Arc::make_mut(&mut model.snapshot.pools).remove(name),
        "rollout" => {
            let number = |key| args.number(key).unwrap_or(0);
            let (desired, ready, updated) = (number("desired"), number("ready"), number("updated"));
            model.set_rollout(name, Rollout { observed: true, desired, ready, updated });
        }
        "failure" => _ = model.snapshot.pool_failures.insert(name.into(), "forbidden".into()),
        "class" => model.set_class(name, |spec| {
            spec.default = args.get("default").is_some();
            spec.defaults.agent_pool_name = args.get("pool").map(ToOwned::to_owned);
            spec.defaults.homes = args.number("homes");
            spec.defaults.coherence = args.get("coherence").map(coherence);
            spec.limits.size = args.get("limit-size").map(Quantity::from);
            spec.limits.homes = args.number("limit-homes");
            spec.limits.regions_per_namespace = args.number("limit-regions");
        }),
        "class-gone" => _ = std::sync::Arc::make_mut(&mut model.snapshot.classes).remove(name),
        "node" => model.set_node(name, |node| {
            node.unschedulable = args.get("cordoned").is_some();
            node.unready = args.get("unready").is_some();
            node.taints = args.get("taint").into_iter().map(taint).collect();
            node.labels.extend(args.labels("labels").unwrap_or_default());
            if let Some(zone) = args.get("zone") {
                node.labels.insert("topology.kubernetes.io/zone".into(), zone.into());
            }
        }),
        "node-gone" => _ = std::sync::Arc::make_mut(&mut model.snapshot.nodes).remove(name),
        "agent" => model.set_agent(name, |spec, status| {
            if let Some(pool) = args.get("pool") {
                spec.agent_pool_name = Some(pool.into());
            }
            if let Some(pod) = args.get("pod") {
                status.pod_name = Some(pod.into());
            }
            if let Some(lent) = args.get("memory") {
                status.memory = Some(AgentMemory { lent: Quantity::from(lent), resident_bytes: 0 });
            }
            if let Some(incarnation) = args.get("incarnation") {
                status.incarnation = Some(incarnation.into());
                status.regions.clear();
            }
            if let Some(reason) = args.get("state") {
                let is_ready = if ["Serving", "Ending"].contains(&reason) { "True" } else { "False" };
                status.conditions = vec![ready(is_ready, reason)];
            }
            if let Some(finding) = args.get("finding") {
                let severity =
                    if args.get("fatal").is_some() { Severity::Failure } else { Severity::Warning };
                let message = "What to do about it.".into();
                status.preflight = vec![PreflightFinding { name: finding.into(), severity, message }];
            }
            if args.get("well").is_some() {
                status.preflight.clear();
            }
        }),
        "agent-gone" => {
            if let Some(agent) = std::sync::Arc::make_mut(&mut model.snapshot.agents).remove(name) {
                model.snapshot.former_ids.extend(agent.spec.id.map(|id| (name.to_owned(), id)));
            }
            model.snapshot.leases.remove(name);
        }
        "silent" => {
            model.silent.push(name.into());
            model.pass(41);
        }
        "old-lease" => {
            let now = model.snapshot.now;
            model.snapshot.leases.get_mut(name)?.fresh_until = now;
        }
        "back" => {
            model.silent.retain(|agent| agent != name);
            model.renew();
        }
        "region" => model.set_region(&key(name), |spec| {
            if let Some(size) = args.get("size") {
                spec.size = Quantity::from(size);
            }
            spec.homes = args.number("homes").or(spec.homes);
            spec.coherence = args.get("coherence").map(coherence).or(spec.coherence);
            spec.region_class_name =
                args.get("class").map(ToOwned::to_owned).or(spec.region_class_name.take());
            spec.agent_pool_name = args.get("pool").map(ToOwned::to_owned).or(spec.agent_pool_name.take());
        }),
        "finalizers" => {
            let add = args.list("add");
            let before = model.region(&key(name)).metadata.finalizers.clone().unwrap_or_default();
            model.set_finalizers(&key(name), before.into_iter().chain(add).collect());
        }
        "condition" => model.say(&key(name), args.get("type")?),
        "new-leader" => model.snapshot.former_ids.clear(),
        "delete" => model.delete_region(&key(name)),
        "confirm" => {
            let key = key(name);
            let placement = model.placement(&key)?.clone();
            let by = args.list("by");
            let homes = placement.homes.iter().map(|home| home.agent.clone());
            let agents: Vec<String> = if by.is_empty() { homes.collect() } else { by };
            for agent in agents {
                let generation = model.region(&key).metadata.generation?;
                model.hold(&agent, &key, |held| {
                    held.epoch = placement.epoch;
                    held.observed_generation = generation;
                    held.settled = args.get("unsettled").is_none();
                });
            }
        }
        "attach" => {
            let key = key(name);
            let agent = args.get("agent")?;
            model.hold(agent, &key, |held| {
                held.attachments = args.number("processes").unwrap_or(1);
                held.pods = args.list("pods");
                held.resident_bytes = args.number("resident").unwrap_or(0);
                held.problem = args.get("problem").map(ToOwned::to_owned);
            });
        }
        "pod" => model.set_pod(name, "default", args.get("name")?),
        "wait" => model.pass(name.parse().ok()?),
        _ => return None,
    }
    Some(())
}
