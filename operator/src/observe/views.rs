//! What is kept of each kind of object: pods and nodes are many, and say much that nobody here needs.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::PartialObjectMeta;

use crate::plan::{ChildView, NodeView, PodView, RegionKey, Rollout};

/// The number in a resource version; 0 for one that is not from this object's store.
pub(crate) fn version(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// The key of an object that is in no namespace, or all of whose kind that are looked at are in one.
pub(crate) fn by_name(metadata: &ObjectMeta) -> Option<String> {
    metadata.name.clone()
}

pub(crate) fn by_namespace(metadata: &ObjectMeta) -> Option<RegionKey> {
    Some(RegionKey { namespace: metadata.namespace.clone()?, name: metadata.name.clone()? })
}

pub(crate) fn by_uid(metadata: &ObjectMeta) -> Option<String> {
    metadata.uid.clone()
}

/// A whole object, without what only `kubectl` needs.
pub(crate) fn whole<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

pub(crate) fn node(node: Node) -> NodeView {
    let spec = node.spec.unwrap_or_default();
    let mut taints = spec.taints.unwrap_or_default();
    taints.retain(|taint| taint.effect != "PreferNoSchedule");
    // When it was added says nothing here, and changes.
    taints.iter_mut().for_each(|taint| taint.time_added = None);
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    NodeView {
        uid: node.metadata.uid.unwrap_or_default(),
        unready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status != "True"),
        unschedulable: spec.unschedulable.unwrap_or(false),
        taints,
        labels: node.metadata.labels.unwrap_or_default(),
    }
}

pub(crate) fn pod(pod: PartialObjectMeta<Pod>) -> PodView {
    PodView {
        namespace: pod.metadata.namespace.unwrap_or_default(),
        name: pod.metadata.name.unwrap_or_default(),
    }
}

pub(crate) fn daemon_set(object: DaemonSet) -> ChildView {
    let status = object.status.unwrap_or_default();
    let number = |number: i32| u32::try_from(number).unwrap_or(0);
    let rollout = Rollout {
        observed: status.observed_generation >= object.metadata.generation,
        desired: number(status.desired_number_scheduled),
        ready: number(status.number_ready),
        updated: number(status.updated_number_scheduled.unwrap_or(0)),
    };
    ChildView { revision: revision(&object.metadata), rollout: Some(rollout) }
}

pub(crate) fn child<K: Resource>(object: K) -> ChildView {
    ChildView { revision: revision(object.meta()), rollout: None }
}

/// What changes when somebody changes what an object says, and not when its status does.
fn revision(metadata: &ObjectMeta) -> String {
    match metadata.generation {
        Some(generation) if generation > 0 => {
            format!("{}/{generation}", metadata.uid.as_deref().unwrap_or_default())
        }
        Some(_) | None => metadata.resource_version.clone().unwrap_or_default(),
    }
}
