//! All that is known of the cluster, kept up to date.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource};
use pagemesh_crds::{Agent, AgentPool, Region, RegionClass};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::cache::{Cache, Change, Versioned};
use super::leases::{self, Leases};
use super::views;
use crate::plan::{
    AgentsRun, ChildKey, ChildKind, ChildView, NodeView, PodView, RegionKey, Snapshot, Written,
};

/// How long asking for one Lease may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// How many agents that are gone are remembered; nodes may come and go forever.
const FORMER_IDS_MAX: usize = 4096;

/// All that is known of the cluster.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) pools: Cache<String, AgentPool>,
    pub(crate) classes: Cache<String, RegionClass>,
    pub(crate) regions: Cache<RegionKey, Region>,
    pub(crate) agents: Cache<String, Agent>,
    pub(crate) nodes: Cache<String, NodeView>,
    pub(crate) pods: Cache<String, PodView>,
    pub(crate) leases: Leases,
    children: BTreeMap<ChildKind, Cache<String, ChildView>>,
    written: BTreeMap<ChildKey, Written>,
    pool_failures: BTreeMap<String, String>,
    former_ids: BTreeMap<String, u16>,
    reported: BTreeMap<String, Vec<String>>,
}

impl World {
    pub(crate) fn children(&mut self, kind: ChildKind) -> &mut Cache<String, ChildView> {
        self.children.entry(kind).or_default()
    }

    /// What is not complete yet, by kind.
    fn missing(&self) -> Vec<&'static str> {
        let child = |kind| self.children.get(&kind).is_some_and(Cache::is_complete);
        let kinds = [
            ("AgentPool", self.pools.is_complete()),
            ("RegionClass", self.classes.is_complete()),
            ("Region", self.regions.is_complete()),
            ("Agent", self.agents.is_complete()),
            ("Node", self.nodes.is_complete()),
            ("Pod", self.pods.is_complete()),
            ("Lease", self.leases.is_complete()),
            ("ServiceAccount", child(ChildKind::ServiceAccount)),
            ("ClusterRoleBinding", child(ChildKind::ClusterRoleBinding)),
            ("RoleBinding", child(ChildKind::RoleBinding)),
            ("Service", child(ChildKind::Service)),
            ("DaemonSet", child(ChildKind::DaemonSet)),
        ];
        kinds.into_iter().filter(|(_, complete)| !complete).map(|(kind, _)| kind).collect()
    }
}

/// Shares what is known between the watches and the planner.
#[derive(Default)]
pub(crate) struct Observer {
    world: Mutex<World>,
    changed: Notify,
}

impl Observer {
    fn world(&self) -> MutexGuard<'_, World> {
        // Every change to it is complete before anything can panic.
        self.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Changes what is known. `change` says whether a plan may come out different.
    pub(crate) fn update(&self, change: impl FnOnce(&mut World) -> bool) {
        if change(&mut self.world()) {
            self.changed.notify_one();
        }
    }

    /// Waits until something is different.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Kinds of objects whose first list has not come yet. Nothing may be decided before all are there.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        self.world().missing()
    }

    /// What is known, judged at a time for which [`Observer::ask_for_doubtful_leases`] has asked.
    pub(crate) fn snapshot(&self, agents_run: &Arc<AgentsRun>, now: Timestamp) -> Snapshot {
        let world = self.world();
        let children = world.children.iter().flat_map(|(kind, cache)| {
            let objects = cache.objects();
            objects
                .iter()
                .map(|(name, view)| (ChildKey { kind: *kind, name: name.clone() }, Arc::clone(view)))
                .collect::<Vec<_>>()
        });
        Snapshot {
            now,
            agents_run: Arc::clone(agents_run),
            pools: world.pools.objects(),
            classes: world.classes.objects(),
            regions: world.regions.objects(),
            agents: world.agents.objects(),
            nodes: world.nodes.objects(),
            leases: world.leases.all(),
            pods: world.pods.objects(),
            children: Arc::new(children.collect()),
            written: world.written.clone(),
            pool_failures: world.pool_failures.clone(),
            former_ids: world.former_ids.clone(),
            reported: world.reported.clone(),
        }
    }

    /// Asks the API server about the Leases that have run out at a time, as far as was seen.
    ///
    /// # Errors
    /// When it does not answer: then nobody knows who is alive.
    pub(crate) async fn ask_for_doubtful_leases(
        &self,
        client: &Client,
        namespace: &str,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        let doubtful = self.world().leases.doubtful(now);
        let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
        for agent in doubtful {
            let name = leases::name(&agent);
            let lease = timeout(ASK_TIMEOUT, api.get_opt(&name))
                .await
                .map_err(|late| kube::Error::Service(late.into()))??;
            self.world().leases.answer(&agent, lease.as_ref(), Timestamp::now());
        }
        Ok(())
    }

    pub(crate) fn observe_agent(&self, change: Change<String, Agent>) {
        self.update(|world| {
            let before = world.agents.objects();
            let changed = world.agents.observe(change);
            let after = world.agents.objects();
            for (name, agent) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
                if let Some(id) = agent.spec.id {
                    world.former_ids.insert(name.clone(), id);
                }
                world.reported.remove(agent.metadata.uid.as_deref().unwrap_or_default());
            }
            world.former_ids.retain(|name, _| after.get(name).is_none_or(|agent| agent.spec.id.is_none()));
            while world.former_ids.len() > FORMER_IDS_MAX {
                world.former_ids.pop_first();
            }
            changed
        });
    }

    pub(crate) fn observe_lease(&self, event: &Event<Lease>) {
        self.update(|world| {
            let leases = &mut world.leases;
            match event {
                Event::Init => leases.begin_list(),
                Event::InitApply(lease) => _ = leases.observe(lease, Timestamp::now()),
                Event::InitDone => {
                    leases.end_list();
                    return true;
                }
                Event::Apply(lease) => return leases.observe(lease, Timestamp::now()),
                Event::Delete(lease) => return leases.remove(lease),
            }
            false
        });
    }

    /// Takes the answer to a write of an object, so that the next plan knows of it.
    pub(crate) fn wrote_region(&self, region: Region) {
        self.wrote(region, views::by_namespace, |world| &mut world.regions);
    }

    /// As [`Observer::wrote_region`].
    pub(crate) fn wrote_pool(&self, pool: AgentPool) {
        self.wrote(pool, views::by_name, |world| &mut world.pools);
    }

    /// As [`Observer::wrote_region`].
    pub(crate) fn wrote_agent(&self, agent: Agent) {
        self.wrote(agent, views::by_name, |world| &mut world.agents);
    }

    fn wrote<K: Ord + Clone, V: Resource + PartialEq>(
        &self,
        object: V,
        key: fn(&ObjectMeta) -> Option<K>,
        cache: fn(&mut World) -> &mut Cache<K, V>,
    ) {
        let version = views::version(object.meta());
        let Some(key) = key(object.meta()) else { return };
        self.update(|world| cache(world).wrote(Versioned { key, version, value: views::whole(object) }));
    }

    /// Remembers what a pool's child was made to say.
    pub(crate) fn wrote_child(&self, key: ChildKey, version: u64, view: ChildView, content: u64) {
        self.update(|world| {
            let written = Written { content, revision: view.revision.clone() };
            let said = world.written.insert(key.clone(), written.clone()) != Some(written);
            world.children(key.kind).wrote(Versioned { key: key.name, version, value: view }) || said
        });
    }

    /// Remembers whether what was to be done to a pool has failed, and how.
    pub(crate) fn pool_failed(&self, pool: &str, failure: Option<String>) {
        self.update(|world| match failure {
            Some(failure) => world.pool_failures.insert(pool.to_owned(), failure.clone()) != Some(failure),
            None => world.pool_failures.remove(pool).is_some(),
        });
    }

    /// Remembers what has been told of an agent.
    pub(crate) fn told(&self, uid: String, findings: Vec<String>) {
        self.update(|world| {
            world.reported.insert(uid, findings);
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;

    use super::*;

    /// Time goes on while others are asked for; who runs out meanwhile is not taken for dead before it was asked for, too.
    #[test]
    fn a_picture_is_of_the_time_that_was_asked_for() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let spec = LeaseSpec { lease_duration_seconds: Some(40), ..LeaseSpec::default() };
        let metadata = ObjectMeta { name: Some(leases::name("a")), ..ObjectMeta::default() };
        let observer = Observer::default();
        observer.update(|world| world.leases.observe(&Lease { metadata, spec: Some(spec) }, at(1000)));
        let now = at(1039);
        assert!(observer.world().leases.doubtful(now).is_empty());
        let picture = observer.snapshot(&Arc::default(), now);
        assert!(picture.leases["a"].holds_until > picture.now);
    }
}
