//! A cluster as the planner sees it, that does at once what was planned.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use pagemesh_crds::{
    Agent, AgentMemory, AgentPool, AgentPoolSpec, AgentSpec, AgentStatus, HeldRegion, Placement, Quantity,
    Region, RegionClass, RegionClassSpec, RegionSpec,
};

use crate::plan::{
    Action, AgentsRun, ChildKey, ChildKind, ChildView, FINALIZER, LeaseView, NodeView, PodView, Precondition,
    RegionKey, Rollout, Snapshot, Written, plan,
};

/// How many rounds it may take until nothing is left to be done. A plan that writes forever would never end.
const ROUNDS_MAX: usize = 6;

pub(super) struct Model {
    pub(super) snapshot: Snapshot,
    version: u64,
    /// Agents that renew their Leases no more.
    pub(super) silent: Vec<String>,
}

impl Model {
    pub(super) fn new() -> Model {
        let agents_run = AgentsRun {
            namespace: "pagemesh-system".into(),
            image: "pagemesh/agent:test".into(),
            ..AgentsRun::default()
        };
        let now = "2030-01-01T00:00:00Z".parse().unwrap();
        let snapshot = Snapshot { now, agents_run: Arc::new(agents_run), ..Snapshot::default() };
        Model { snapshot, version: 0, silent: Vec::new() }
    }

    /// Metadata of a new object, or of the next version of one.
    fn metadata(&mut self, name: &str, before: Option<&ObjectMeta>) -> ObjectMeta {
        self.version += 1;
        let mut metadata = before.cloned().unwrap_or_else(|| ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(format!("{name}-{}", self.version)),
            creation_timestamp: Some(Time(self.snapshot.now)),
            generation: Some(0),
            ..ObjectMeta::default()
        });
        metadata.resource_version = Some(self.version.to_string());
        metadata.generation = metadata.generation.map(|generation| generation + 1);
        metadata
    }

    pub(super) fn set_pool(&mut self, name: &str, edit: impl FnOnce(&mut AgentPoolSpec)) {
        let before = self.snapshot.pools.get(name).cloned();
        let metadata = self.metadata(name, before.as_ref().map(|pool| &pool.metadata));
        let mut pool = before.map(Arc::unwrap_or_clone).unwrap_or_else(|| {
            let spec = serde_json::from_value(serde_json::json!({ "memory": "1Gi" })).unwrap();
            AgentPool::new(name, spec)
        });
        pool.metadata = metadata;
        edit(&mut pool.spec);
        Arc::make_mut(&mut self.snapshot.pools).insert(name.into(), Arc::new(pool));
    }

    pub(super) fn set_class(&mut self, name: &str, edit: impl FnOnce(&mut RegionClassSpec)) {
        let metadata = self.metadata(name, None);
        let mut class = RegionClass::new(name, RegionClassSpec::default());
        class.metadata = metadata;
        edit(&mut class.spec);
        Arc::make_mut(&mut self.snapshot.classes).insert(name.into(), Arc::new(class));
    }

    pub(super) fn set_node(&mut self, name: &str, edit: impl FnOnce(&mut NodeView)) {
        let before = self.snapshot.nodes.get(name);
        let mut node = before.map_or_else(
            || NodeView { uid: format!("node-{name}"), ..NodeView::default() },
            |node| NodeView::clone(node),
        );
        edit(&mut node);
        Arc::make_mut(&mut self.snapshot.nodes).insert(name.into(), Arc::new(node));
    }

    /// Writes to an Agent; a new one serves.
    pub(super) fn set_agent(&mut self, name: &str, edit: impl FnOnce(&mut AgentSpec, &mut AgentStatus)) {
        let before = self.snapshot.agents.get(name).cloned();
        let metadata = self.metadata(name, before.as_ref().map(|agent| &agent.metadata));
        let mut agent = before.map(Arc::unwrap_or_clone).unwrap_or_else(|| {
            let spec = AgentSpec { agent_pool_name: Some("default".into()), ..AgentSpec::default() };
            let mut agent = Agent::new(name, spec);
            agent.status = Some(AgentStatus {
                address: Some("10.0.0.1:7400".into()),
                incarnation: Some("1".into()),
                memory: Some(AgentMemory { lent: Quantity::from("1Gi"), resident_bytes: 0 }),
                conditions: vec![ready("True", "Serving")],
                ..AgentStatus::default()
            });
            agent
        });
        agent.metadata = metadata;
        edit(&mut agent.spec, agent.status.get_or_insert_default());
        Arc::make_mut(&mut self.snapshot.agents).insert(name.into(), Arc::new(agent));
        self.renew();
    }

    pub(super) fn set_region(&mut self, key: &RegionKey, edit: impl FnOnce(&mut RegionSpec)) {
        let before = self.snapshot.regions.get(key).cloned();
        let mut metadata = self.metadata(&key.name, before.as_ref().map(|region| &region.metadata));
        metadata.namespace = Some(key.namespace.clone());
        let mut region = before
            .map(Arc::unwrap_or_clone)
            .unwrap_or_else(|| Region::new(&key.name, RegionSpec::sized(Quantity::from("64Mi"))));
        region.metadata = metadata;
        edit(&mut region.spec);
        Arc::make_mut(&mut self.snapshot.regions).insert(key.clone(), Arc::new(region));
    }

    pub(super) fn delete_region(&mut self, key: &RegionKey) {
        let before = self.region(key).clone();
        let mut metadata = self.metadata(&key.name, Some(&before.metadata));
        metadata.deletion_timestamp = Some(Time(self.snapshot.now));
        let region = Region { metadata, ..before };
        Arc::make_mut(&mut self.snapshot.regions).insert(key.clone(), Arc::new(region));
    }

    /// As of the API server: an object that is being deleted is gone with its last finalizer.
    pub(super) fn set_finalizers(&mut self, key: &RegionKey, finalizers: Vec<String>) {
        let mut object = self.region(key).clone();
        object.metadata = self.bumped(&object.metadata);
        let regions = Arc::make_mut(&mut self.snapshot.regions);
        if finalizers.is_empty() && object.metadata.deletion_timestamp.is_some() {
            regions.remove(key);
            return;
        }
        object.metadata.finalizers = Some(finalizers);
        regions.insert(key.clone(), Arc::new(object));
    }

    /// Somebody else says something in a region's conditions.
    pub(super) fn say(&mut self, key: &RegionKey, type_: &str) {
        let mut object = self.region(key).clone();
        object.metadata = self.bumped(&object.metadata);
        let condition = Condition { type_: type_.into(), ..ready("True", "Foreign") };
        assert!(is_foreign(&condition));
        object.status.get_or_insert_default().conditions.push(condition);
        Arc::make_mut(&mut self.snapshot.regions).insert(key.clone(), Arc::new(object));
    }

    pub(super) fn region(&self, key: &RegionKey) -> &Region {
        &self.snapshot.regions[key]
    }

    pub(super) fn placement(&self, key: &RegionKey) -> Option<&Placement> {
        self.snapshot.regions.get(key)?.status.as_ref()?.placement.as_ref()
    }

    pub(super) fn set_pod(&mut self, uid: &str, namespace: &str, name: &str) {
        let pod = PodView { namespace: namespace.into(), name: name.into() };
        Arc::make_mut(&mut self.snapshot.pods).insert(uid.into(), Arc::new(pod));
    }

    pub(super) fn set_rollout(&mut self, pool: &str, rollout: Rollout) {
        let key = ChildKey { kind: ChildKind::DaemonSet, name: format!("pagemesh-agent-{pool}") };
        let children = Arc::make_mut(&mut self.snapshot.children);
        let revision = children.get(&key).map(|view| view.revision.clone()).unwrap_or_default();
        children.insert(key, Arc::new(ChildView { revision, rollout: Some(rollout) }));
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.snapshot.now = self.snapshot.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        self.renew();
    }

    /// Agents renew their Leases, except those that are silent.
    pub(super) fn renew(&mut self) {
        let until: Timestamp = self.snapshot.now.checked_add(SignedDuration::from_secs(40)).unwrap();
        for agent in self.snapshot.agents.keys().filter(|agent| !self.silent.contains(agent)) {
            self.snapshot.leases.insert(agent.clone(), LeaseView { holds_until: until, fresh_until: until });
        }
    }

    /// What an agent says of a region becomes different. `None` takes it from its list.
    pub(super) fn hold(&mut self, agent: &str, key: &RegionKey, edit: impl FnOnce(&mut HeldRegion)) {
        let region = self.region(key);
        let (uid, generation) = (region.metadata.uid.clone().unwrap(), region.metadata.generation.unwrap());
        self.set_agent(agent, |_, status| {
            if !status.regions.iter().any(|held| held.uid == uid) {
                status.regions.push(HeldRegion {
                    namespace: key.namespace.clone(),
                    name: key.name.clone(),
                    uid: uid.clone(),
                    observed_generation: generation,
                    settled: true,
                    ..HeldRegion::default()
                });
            }
            edit(status.regions.iter_mut().find(|held| held.uid == uid).unwrap());
        });
    }

    /// Plans and does so, until nothing is left to be done. Returns all that was done.
    pub(super) fn run(&mut self) -> Vec<Action> {
        let mut done = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let actions = plan(&self.snapshot).actions;
            if actions.is_empty() {
                return done;
            }
            self.apply(&actions);
            done.extend(actions);
        }
        panic!(
            "after {ROUNDS_MAX} rounds there is still something to do: {:#?}",
            plan(&self.snapshot).actions
        );
    }

    fn apply(&mut self, actions: &[Action]) {
        // As the applier does: later actions on an object build on the earlier ones.
        let mut written: BTreeMap<RegionKey, ()> = BTreeMap::new();
        for action in actions {
            match action {
                Action::ApplyChild { child, content, .. } => {
                    self.version += 1;
                    let (key, revision) = (child.key(), self.version.to_string());
                    let children = Arc::make_mut(&mut self.snapshot.children);
                    let rollout = children.get(&key).and_then(|view| view.rollout.clone());
                    // What is seen of it is of the time before.
                    let rollout = rollout.map(|rollout| Rollout { observed: false, ..rollout });
                    let view = ChildView { revision: revision.clone(), rollout };
                    children.insert(key.clone(), Arc::new(view));
                    self.snapshot.written.insert(key, Written { content: *content, revision });
                }
                Action::SetPoolStatus { pool, on, status, .. } => {
                    let mut object = AgentPool::clone(&self.snapshot.pools[pool]);
                    check(&object.metadata, on);
                    object.metadata = self.bumped(&object.metadata);
                    object.status = Some((**status).clone());
                    Arc::make_mut(&mut self.snapshot.pools).insert(pool.clone(), Arc::new(object));
                }
                Action::AdoptAgent { agent, on, id, node_uid, ending } => {
                    let mut object = Agent::clone(&self.snapshot.agents[agent]);
                    check(&object.metadata, on);
                    object.metadata = self.bumped(&object.metadata);
                    object.spec.id = Some(*id);
                    object.spec.ending.clone_from(ending);
                    object.metadata.owner_references = node_uid.as_ref().map(|uid| {
                        let owner = OwnerReference {
                            kind: "Node".into(),
                            uid: uid.clone(),
                            ..OwnerReference::default()
                        };
                        vec![owner]
                    });
                    Arc::make_mut(&mut self.snapshot.agents).insert(agent.clone(), Arc::new(object));
                }
                Action::ReportAgent { uid, findings, .. } => {
                    self.snapshot.reported.insert(uid.clone(), findings.clone());
                }
                Action::AddRegionFinalizer { region, on } => {
                    check(&self.region(region).metadata, on);
                    let mut finalizers = self.region(region).metadata.finalizers.clone().unwrap_or_default();
                    finalizers.push(FINALIZER.to_owned());
                    written.insert(region.clone(), ());
                    self.set_finalizers(region, finalizers);
                }
                Action::RemoveRegionFinalizer { region, on, others, .. } => {
                    check(&self.region(region).metadata, on);
                    self.set_finalizers(region, others.clone());
                }
                Action::SetRegionStatus { region, on, status, .. } => {
                    let mut object = self.region(region).clone();
                    if !written.contains_key(region) {
                        check(&object.metadata, on);
                    }
                    object.metadata = self.bumped(&object.metadata);
                    let mut status = (**status).clone();
                    let before = object.status.take().unwrap_or_default();
                    status.conditions.extend(before.conditions.into_iter().filter(is_foreign));
                    object.status = Some(status);
                    Arc::make_mut(&mut self.snapshot.regions).insert(region.clone(), Arc::new(object));
                }
            }
        }
    }

    fn bumped(&mut self, metadata: &ObjectMeta) -> ObjectMeta {
        self.version += 1;
        ObjectMeta { resource_version: Some(self.version.to_string()), ..metadata.clone() }
    }
}

/// Whether a condition is not the operator's. Server-side apply leaves those as they are.
fn is_foreign(condition: &Condition) -> bool {
    !["Ready", "Degraded", "Deleting"].contains(&condition.type_.as_str())
}

fn check(metadata: &ObjectMeta, on: &Precondition) {
    assert_eq!(metadata.uid.as_deref(), Some(on.uid.as_str()));
    assert_eq!(metadata.resource_version.as_deref(), Some(on.resource_version.as_str()));
}

pub(super) fn ready(status: &str, reason: &str) -> Condition {
    Condition {
        type_: "Ready".into(),
        status: status.into(),
        reason: reason.into(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    }
}

pub(super) fn key(name: &str) -> RegionKey {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    RegionKey { namespace: namespace.into(), name: name.into() }
}
