//! The writes themselves.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{Patch, PatchParams};
use kube::core::ObjectMeta;
use kube::{Api, Resource};
use pagemesh_crds::{ANNOTATION_TRACEPARENT, API_VERSION, Agent, AgentEnding, AgentPool, AgentSpec, Region};
use pagemesh_telemetry::current_traceparent;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tracing::info;

use super::{Applier, ApplyError};
use crate::observe;
use crate::plan::{Action, Child, ChildKey, ChildView, FINALIZER, Note, Precondition, RegionKey};

/// Who writes, as Kubernetes keeps it beside every field.
const FIELD_MANAGER: &str = "pagemesh-operator";

/// What has been done to one object by the actions before.
#[derive(Default)]
pub(super) struct Progress {
    /// Its resource version after the last write.
    version: Option<String>,
    /// Whether its annotation names this trace already.
    traced: bool,
}

impl Progress {
    /// The state that the next write builds on.
    fn version<'a>(&'a self, on: &'a Precondition) -> &'a str {
        self.version.as_deref().unwrap_or(&on.resource_version)
    }
}

/// Fields that anybody else has written are taken over: they are ours.
fn params() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

impl Applier {
    /// Does one thing.
    pub(super) async fn write(&self, action: Action, progress: &mut Progress) -> Result<(), ApplyError> {
        match action {
            Action::ApplyChild { child, content, .. } => self.apply_child(*child, content).await,
            Action::SetPoolStatus { pool, on, status, notes } => {
                let api: Api<AgentPool> = Api::all(self.client.clone());
                let object = json!({
                    "apiVersion": API_VERSION,
                    "kind": "AgentPool",
                    "metadata": metadata(&on, progress, &pool, None),
                    "status": status,
                });
                let patch = Patch::Apply(&object);
                let written = self.sent(api.patch_status(&pool, &params(), &patch)).await?;
                check_effect(progress.version(&on), &written)?;
                self.events.publish(&written, &notes, None);
                self.observer.wrote_pool(written);
                Ok(())
            }
            Action::AdoptAgent { agent, on, id, node_uid, ending } => {
                self.adopt(&agent, &on, id, node_uid, ending).await
            }
            Action::ReportAgent { agent, uid, findings, notes } => {
                let object = Agent {
                    metadata: ObjectMeta {
                        name: Some(agent),
                        uid: Some(uid.clone()),
                        ..ObjectMeta::default()
                    },
                    ..Agent::new("", Default::default())
                };
                self.events.publish(&object, &notes, None);
                self.observer.told(uid, findings);
                Ok(())
            }
            Action::AddRegionFinalizer { region, on } => {
                self.set_region_metadata(&region, &on, progress).await
            }
            Action::RemoveRegionFinalizer { region, on, others, notes } => {
                self.remove_finalizer(&region, progress.version(&on), &others, &notes).await
            }
            Action::SetRegionStatus { region, on, status, publishes, notes, .. } => {
                // First, so that who sees the placement sees the trace that it belongs to.
                if publishes && !progress.traced && current_traceparent().is_some() {
                    self.set_region_metadata(&region, &on, progress).await?;
                }
                let api: Api<Region> = Api::namespaced(self.client.clone(), &region.namespace);
                let epoch = status.placement.as_ref().map(|placement| placement.epoch);
                let object = json!({
                    "apiVersion": API_VERSION,
                    "kind": "Region",
                    "metadata": metadata(&on, progress, &region.name, Some(&region.namespace)),
                    "status": status,
                });
                let patch = Patch::Apply(&object);
                let written = self.sent(api.patch_status(&region.name, &params(), &patch)).await?;
                check_effect(progress.version(&on), &written)?;
                self.tell_of_region(&region, &written, &notes, epoch);
                self.observer.wrote_region(written);
                Ok(())
            }
        }
    }

    fn tell_of_region(&self, region: &RegionKey, object: &Region, notes: &[Note], epoch: Option<u64>) {
        for note in notes {
            info!(region = %format_args!("{}/{}", region.namespace, region.name), reason = note.reason, "{}", note.text);
        }
        self.events.publish(object, notes, epoch);
    }

    /// Writes what the operator owns of a region's metadata.
    async fn set_region_metadata(
        &self,
        region: &RegionKey,
        on: &Precondition,
        progress: &mut Progress,
    ) -> Result<(), ApplyError> {
        let api: Api<Region> = Api::namespaced(self.client.clone(), &region.namespace);
        let mut metadata = metadata(on, progress, &region.name, Some(&region.namespace));
        metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        metadata.annotations = current_traceparent()
            .map(|traceparent| BTreeMap::from([(ANNOTATION_TRACEPARENT.to_owned(), traceparent)]));
        let object = json!({ "apiVersion": API_VERSION, "kind": "Region", "metadata": metadata });
        let written = self.sent(api.patch(&region.name, &params(), &Patch::Apply(&object))).await?;
        check_effect(progress.version(on), &written)?;
        progress.version.clone_from(&written.metadata.resource_version);
        progress.traced = true;
        self.observer.wrote_region(written);
        Ok(())
    }

    async fn remove_finalizer(
        &self,
        region: &RegionKey,
        version: &str,
        others: &[String],
        notes: &[Note],
    ) -> Result<(), ApplyError> {
        let api: Api<Region> = Api::namespaced(self.client.clone(), &region.namespace);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(finalizers_patch(version, others));
        let written = self.sent(api.patch(&region.name, &params, &patch)).await?;
        check_effect(version, &written)?;
        self.tell_of_region(region, &written, notes, None);
        self.observer.wrote_region(written);
        Ok(())
    }

    async fn adopt(
        &self,
        agent: &str,
        on: &Precondition,
        id: u16,
        node_uid: Option<String>,
        ending: Option<AgentEnding>,
    ) -> Result<(), ApplyError> {
        let api: Api<Agent> = Api::all(self.client.clone());
        let mut metadata = metadata(on, &Progress::default(), agent, None);
        metadata.owner_references = node_uid.map(|uid| {
            vec![OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name: agent.to_owned(),
                uid,
                ..OwnerReference::default()
            }]
        });
        let spec = AgentSpec { id: Some(id), agent_pool_name: None, ending };
        let object =
            json!({ "apiVersion": API_VERSION, "kind": "Agent", "metadata": metadata, "spec": spec });
        let written = self.sent(api.patch(agent, &params(), &Patch::Apply(&object))).await?;
        check_effect(&on.resource_version, &written)?;
        info!(agent, id, "agent has its number");
        self.observer.wrote_agent(written);
        Ok(())
    }

    async fn apply_child(&self, child: Child, content: u64) -> Result<(), ApplyError> {
        let key = child.key();
        match child {
            Child::ServiceAccount(object) => {
                self.child_in_namespace(key, &object, content, observe::child).await
            }
            Child::RoleBinding(object) => {
                self.child_in_namespace(key, &object, content, observe::child).await
            }
            Child::Service(object) => self.child_in_namespace(key, &object, content, observe::child).await,
            Child::DaemonSet(object) => {
                self.child_in_namespace(key, &object, content, observe::daemon_set).await
            }
            Child::ClusterRoleBinding(object) => {
                self.child_of_cluster(key, &object, content, observe::child).await
            }
        }
    }

    async fn child_in_namespace<K>(
        &self,
        key: ChildKey,
        object: &K,
        content: u64,
        view: fn(K) -> ChildView,
    ) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace);
        self.child(api, key, object, content, view).await
    }

    async fn child_of_cluster<K>(
        &self,
        key: ChildKey,
        object: &K,
        content: u64,
        view: fn(K) -> ChildView,
    ) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        self.child(Api::<K>::all(self.client.clone()), key, object, content, view).await
    }

    async fn child<K: Resource + Clone + Debug + Serialize + DeserializeOwned>(
        &self,
        api: Api<K>,
        key: ChildKey,
        object: &K,
        content: u64,
        view: fn(K) -> ChildView,
    ) -> Result<(), ApplyError> {
        let written = self.sent(api.patch(&key.name, &params(), &Patch::Apply(object))).await?;
        let version = observe::version(written.meta());
        info!(kind = key.kind.name(), name = key.name, "applied");
        self.observer.wrote_child(key, version, view(written), content);
        Ok(())
    }
}

/// Names an object in the state that was seen, or that the writes before have left.
fn metadata(on: &Precondition, progress: &Progress, name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(ToOwned::to_owned),
        uid: Some(on.uid.clone()),
        resource_version: Some(progress.version(on).to_owned()),
        ..ObjectMeta::default()
    }
}

/// Says which finalizers an object in this state is to have. What takes one away cannot be server-side apply: that leaves in what
/// somebody else has written as well, as whoever restores an object from a copy does.
pub(crate) fn finalizers_patch(version: &str, finalizers: &[String]) -> Value {
    json!({ "metadata": { "resourceVersion": version, "finalizers": finalizers } })
}

/// Checks that a write was for something. What changes nothing would be planned again at once.
fn check_effect(before: &str, written: &impl Resource) -> Result<(), ApplyError> {
    if written.meta().resource_version.as_deref() == Some(before) {
        return Err(ApplyError::NoEffect);
    }
    Ok(())
}
