//! The watches.

use std::fmt::Debug;
use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::api::ObjectMeta;
use kube::core::error_boundary::InvalidObject;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client, Resource};
use pagemesh_crds::{Agent, AgentPool, Region, RegionClass};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tracing::warn;

use super::cache::{Cache, Change, Versioned};
use super::views;
use super::world::{Observer, World};
use crate::metrics::Metrics;
use crate::plan::{ChildKind, ChildView, POOL_LABEL};

/// Starts all watches; they end when the set is dropped.
pub(crate) fn start(
    client: &Client,
    namespace: &str,
    observer: &Arc<Observer>,
    metrics: &Arc<Metrics>,
) -> JoinSet<()> {
    let mut watches =
        Watches { set: JoinSet::new(), observer: Arc::clone(observer), metrics: Arc::clone(metrics) };
    let of_pools = || Config::default().labels(POOL_LABEL);
    let all = || client.clone();
    use views::{by_name, by_namespace, by_uid, whole};

    let pools = guarded::<AgentPool>(Api::all(all()));
    watches.cache("AgentPool", pools, by_name, whole, |world| &mut world.pools);
    let classes = guarded::<RegionClass>(Api::all(all()));
    watches.cache("RegionClass", classes, by_name, whole, |world| &mut world.classes);
    let regions = guarded::<Region>(Api::all(all()));
    watches.cache("Region", regions, by_namespace, whole, |world| &mut world.regions);
    let agents = guarded::<Agent>(Api::all(all()));
    watches.spawn("Agent", agents, |observer, event| {
        if let Some(change) = change(event, by_name, whole) {
            observer.observe_agent(change);
        }
    });
    let nodes = plain::<Node>(Api::all(all()), Config::default());
    watches.cache("Node", nodes, by_name, views::node, |world| &mut world.nodes);
    let pods = plain::<PartialObjectMeta<Pod>>(Api::all(all()), Config::default());
    watches.cache("Pod", pods, by_uid, views::pod, |world| &mut world.pods);
    let leases = watcher(Api::<Lease>::namespaced(all(), namespace), Config::default());
    watches.spawn("Lease", leases, |observer, event| observer.observe_lease(&event));

    let bindings = plain::<PartialObjectMeta<ClusterRoleBinding>>(Api::all(all()), of_pools());
    watches.child(ChildKind::ClusterRoleBinding, bindings, views::child);
    let accounts = plain::<PartialObjectMeta<ServiceAccount>>(Api::namespaced(all(), namespace), of_pools());
    watches.child(ChildKind::ServiceAccount, accounts, views::child);
    let bindings = plain::<PartialObjectMeta<RoleBinding>>(Api::namespaced(all(), namespace), of_pools());
    watches.child(ChildKind::RoleBinding, bindings, views::child);
    let services = plain::<PartialObjectMeta<Service>>(Api::namespaced(all(), namespace), of_pools());
    watches.child(ChildKind::Service, services, views::child);
    let sets = plain::<DaemonSet>(Api::namespaced(all(), namespace), of_pools());
    watches.child(ChildKind::DaemonSet, sets, views::daemon_set);
    watches.set
}

/// Watches that are being started.
struct Watches {
    set: JoinSet<()>,
    observer: Arc<Observer>,
    metrics: Arc<Metrics>,
}

impl Watches {
    /// Keeps a cache up to date.
    fn cache<K, Key, V>(
        &mut self,
        kind: &'static str,
        stream: impl Stream<Item = watcher::Result<Guarded<K>>> + Send + 'static,
        key: fn(&ObjectMeta) -> Option<Key>,
        view: fn(K) -> V,
        cache: fn(&mut World) -> &mut Cache<Key, V>,
    ) where
        K: Resource<DynamicType = ()> + Send + 'static,
        Key: Ord + Clone + 'static,
        V: PartialEq + 'static,
    {
        self.spawn(kind, stream, move |observer, event| {
            if let Some(change) = change(event, key, view) {
                observer.update(|world| cache(world).observe(change));
            }
        });
    }

    /// Keeps up to date what is known of one kind of what belongs to pools.
    fn child<K>(
        &mut self,
        kind: ChildKind,
        stream: impl Stream<Item = watcher::Result<Guarded<K>>> + Send + 'static,
        view: fn(K) -> ChildView,
    ) where
        K: Resource<DynamicType = ()> + Send + 'static,
    {
        self.spawn(kind.name(), stream, move |observer, event| {
            if let Some(change) = change(event, views::by_name, view) {
                observer.update(|world| world.children(kind).observe(change));
            }
        });
    }

    fn spawn<K: Send + 'static>(
        &mut self,
        kind: &'static str,
        stream: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        take: impl Fn(&Observer, Event<K>) + Send + 'static,
    ) {
        let observer = Arc::clone(&self.observer);
        let metrics = Arc::clone(&self.metrics);
        self.set.spawn(async move {
            let mut stream = std::pin::pin!(stream.default_backoff());
            while let Some(item) = stream.next().await {
                match item {
                    Ok(event) => take(&observer, event),
                    Err(error) => {
                        metrics.watch_errors.with_label_values(&[kind]).inc();
                        warn!(kind, "cannot watch; trying again: {}", advice(&error));
                    }
                }
            }
        });
    }
}

/// What happens to an object that may not be understood.
type Guarded<K> = Event<DeserializeGuard<K>>;

/// Watches one of our own kinds. An object that this version does not understand does not stop the others.
fn guarded<K>(api: Api<DeserializeGuard<K>>) -> impl Stream<Item = watcher::Result<Guarded<K>>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(api, Config::default())
}

/// Watches one of Kubernetes' own kinds.
fn plain<K>(api: Api<K>, config: Config) -> impl Stream<Item = watcher::Result<Guarded<K>>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let understood = |object: K| DeserializeGuard(Ok(object));
    watcher(api, config).map_ok(move |event| match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(understood(object)),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(understood(object)),
        Event::Delete(object) => Event::Delete(understood(object)),
    })
}

/// What an event means for a cache. To it, an object that is not understood is none.
fn change<K: Resource<DynamicType = ()>, Key, V>(
    event: Guarded<K>,
    key: fn(&ObjectMeta) -> Option<Key>,
    view: fn(K) -> V,
) -> Option<Change<Key, V>> {
    let versioned = |DeserializeGuard(object): DeserializeGuard<K>| {
        let object = object.map_err(complain::<K>);
        let metadata = object.as_ref().map_or_else(|metadata| metadata, |object| object.meta());
        let (key, version) = (key(metadata)?, views::version(metadata));
        Some(Versioned { key, version, value: object.ok().map(view) })
    };
    match event {
        Event::Init => Some(Change::Begin),
        Event::InitDone => Some(Change::End),
        Event::InitApply(object) => {
            let Versioned { key, version, value } = versioned(object)?;
            value.map(|value| Change::Listed(Versioned { key, version, value }))
        }
        Event::Apply(object) => {
            let Versioned { key, version, value } = versioned(object)?;
            Some(match value {
                Some(value) => Change::Put(Versioned { key, version, value }),
                None => Change::Remove(Versioned { key, version, value: () }),
            })
        }
        Event::Delete(object) => {
            let metadata = object.meta();
            let (key, version) = (key(metadata)?, views::version(metadata));
            Some(Change::Remove(Versioned { key, version, value: () }))
        }
    }
}

/// Says that an object is not understood. Returns its metadata.
fn complain<K: Resource<DynamicType = ()>>(InvalidObject { error, metadata }: InvalidObject) -> ObjectMeta {
    let name = metadata.name.as_deref().unwrap_or_default();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    warn!(kind = %K::kind(&()), namespace, name, error, "leaves out an object that it does not understand");
    metadata
}

/// What to do about a watch that fails.
fn advice(error: &watcher::Error) -> String {
    let code = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code,
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => 0,
    };
    match code {
        403 => format!("{error}. Install the operator's ClusterRole and Role as the chart has them."),
        404 => {
            format!(
                "{error}. Install the CustomResourceDefinitions: `pagemesh crd | kubectl apply --server-side -f -`."
            )
        }
        _ => error.to_string(),
    }
}
