//! Follows the API server. What it has said last stays in force while it is away, and watches are resumed when it is back.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, ResourceExt};
use pagemesh_crds::{
    ANNOTATION_TRACEPARENT, Agent, AgentEnding, AgentStatus, CONDITION_READY, MountTable, Region,
    RegionStatus,
};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::pause::jittered;

use super::{Deleting, InForce, Me, Objects, Source, Sources, Unreadable, of_api};

/// One change often comes with others: wait until they have paused.
const PAUSE: Duration = Duration::from_millis(10);
/// Pauses that are awaited at most.
const PAUSES_MAX: u32 = 10;

/// How long a watch lasts before it is resumed, and so how soon one is noticed whose connection nobody has closed.
const WATCH_SECONDS: u32 = 60;
/// Between two tries, at first and at most.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// This agent's own object, as the API server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAgent {
    /// Whether it is there.
    pub present: bool,
    /// The number that it was given.
    pub id: Option<u16>,
    /// The life that its status is of.
    pub incarnation: Option<String>,
    /// The reason of its condition `Ready`.
    pub reason: Option<String>,
    /// What the operator has answered when it was told to end.
    pub ending: Option<AgentEnding>,
}

/// What the API server has, as far as it is known here.
#[derive(Debug)]
pub struct Api {
    regions: Kind<Region>,
    agents: Kind<Agent>,
    tables: Kind<MountTable>,
}

impl Api {
    /// Begins to watch.
    #[must_use]
    pub fn start(client: Client) -> Api {
        Api {
            regions: Kind::start(client.clone(), lean_region),
            agents: Kind::start(client.clone(), lean_agent),
            tables: Kind::start(client, lean_table),
        }
    }

    /// Awaits the next change of what is known.
    async fn changed(&mut self) {
        loop {
            let changed = tokio::select! {
                changed = self.regions.next() => changed,
                changed = self.agents.next() => changed,
                changed = self.tables.next() => changed || self.tables.refused,
            };
            if changed && self.is_known() {
                return;
            }
        }
    }

    /// Whether all has been told once. An agent that may not watch MountTables serves regions all the same, but one that has just
    /// not been told them yet would take paths for regions' own names.
    fn is_known(&self) -> bool {
        self.regions.listed && self.agents.listed && (self.tables.listed || self.tables.refused)
    }

    /// This agent's own object.
    #[must_use]
    pub fn own(&self, name: &str) -> OwnAgent {
        let key = (String::new(), name.to_owned());
        let own = self.agents.known.get(&key);
        let readable = own.and_then(|own| own.as_ref().ok());
        let status = readable.and_then(|own| own.status.as_ref());
        let ready = status.and_then(|status| status.conditions.iter().find(|c| c.type_ == CONDITION_READY));
        OwnAgent {
            present: own.is_some(),
            id: readable.and_then(|own| own.spec.id),
            incarnation: status.and_then(|status| status.incarnation.clone()),
            reason: ready.map(|ready| ready.reason.clone()),
            ending: readable.and_then(|own| own.spec.ending.clone()),
        }
    }

    /// Tells what becomes of the object of the agent of this name, for ever.
    pub async fn follow_own(&mut self, name: &str, own: &watch::Sender<OwnAgent>) -> Infallible {
        loop {
            self.changed().await;
            self.tell_own(name, own);
        }
    }

    fn tell_own(&self, name: &str, own: &watch::Sender<OwnAgent>) {
        let now = self.own(name);
        own.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
    }

    /// Waits until the agent of this name has been given a number and all else is known, too, and tells what becomes of its
    /// object until then.
    pub async fn wait_for_id(&mut self, name: &str, own: &watch::Sender<OwnAgent>) -> u16 {
        loop {
            if let Some(id) = self.own(name).id.filter(|_| self.is_known()) {
                return id;
            }
            self.changed().await;
            self.tell_own(name, own);
        }
    }

    fn sources(&self) -> Sources {
        let mut sources = of_api(self.regions.good(), self.agents.good(), self.tables.good());
        sources.extend(self.regions.bad("Region"));
        sources.extend(self.agents.bad("Agent"));
        sources.extend(self.tables.bad("MountTable"));
        sources
    }

    /// What is in force at the start, for the agent that this is.
    #[must_use]
    pub fn in_force(&self, me: Me) -> InForce {
        let mut in_force = InForce::new(me);
        in_force.take_known(&self.sources(), self.tables.listed);
        in_force
    }

    /// Publishes every new state, and what becomes of this agent's own object, until nobody listens.
    pub async fn run(
        mut self,
        name: String,
        mut in_force: InForce,
        publish: watch::Sender<Arc<Objects>>,
        own: watch::Sender<OwnAgent>,
    ) {
        loop {
            tokio::select! {
                () = publish.closed() => return,
                () = self.changed() => {}
            }
            for _ in 0..PAUSES_MAX {
                if tokio::time::timeout(PAUSE, self.changed()).await.is_err() {
                    break;
                }
            }
            self.tell_own(&name, &own);
            if in_force.take_known(&self.sources(), self.tables.listed) {
                publish.send_replace(in_force.objects());
            }
        }
    }
}

/// Namespace and name.
type Key = (String, String);
/// An object, or why it cannot be read: one that cannot must not hide the others.
type Read<K> = Result<K, Unreadable>;
type Events<K> = Pin<Box<dyn Stream<Item = watcher::Result<Event<DeserializeGuard<K>>>> + Send>>;

/// All objects of one kind.
struct Kind<K> {
    events: Events<K>,
    known: BTreeMap<Key, Read<K>>,
    /// What a list that is under way has told so far.
    list: BTreeMap<Key, Read<K>>,
    /// All of them have been told once.
    listed: bool,
    /// The API server does not answer.
    away: bool,
    /// It says that this agent may not watch them, or that there is no such kind.
    refused: bool,
    /// Leaves of an object what is used: the rest takes memory, and changes all the time.
    lean: fn(K) -> K,
}

impl<K> std::fmt::Debug for Kind<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kind").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl<K> Kind<K>
where
    K: Resource<DynamicType = ()> + Clone + PartialEq + std::fmt::Debug + Send + 'static,
    K: serde::de::DeserializeOwned,
{
    fn start(client: Client, lean: fn(K) -> K) -> Kind<K> {
        let config = watcher::Config::default().timeout(WATCH_SECONDS);
        let events = watcher::watcher(kube::Api::<DeserializeGuard<K>>::all(client), config);
        Kind::of(events.backoff(Patience::default()).boxed(), lean)
    }

    fn of(events: Events<K>, lean: fn(K) -> K) -> Kind<K> {
        let (known, list) = (BTreeMap::new(), BTreeMap::new());
        Kind { events, known, list, listed: false, away: false, refused: false, lean }
    }

    /// Takes the next event; whether it has changed what is known. Not to be awaited after the stream has ended, which
    /// that of a watch never does.
    async fn next(&mut self) -> bool {
        match self.events.next().await {
            Some(event) => self.take(event),
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, event: watcher::Result<Event<DeserializeGuard<K>>>) -> bool {
        let kind = K::kind(&());
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                self.refused |= refuses(&error);
                // While it is away there is an error for each try.
                if !std::mem::replace(&mut self.away, true) {
                    warn!(%kind, error = described(&error), "cannot watch; what was known last stays in force");
                }
                return false;
            }
        };
        // That a list begins says nothing yet: the API server has not been asked.
        self.refused &= matches!(event, Event::Init);
        if !matches!(event, Event::Init) && std::mem::replace(&mut self.away, false) {
            info!(%kind, "watching again");
        }
        match event {
            Event::Apply(object) => {
                let (key, object) = self.read(object);
                if self.known.get(&key) == Some(&object) {
                    return false;
                }
                self.known.insert(key, object);
                true
            }
            Event::Delete(object) => self.known.remove(&key(&object)).is_some(),
            Event::Init => {
                self.list.clear();
                false
            }
            Event::InitApply(object) => {
                let (key, object) = self.read(object);
                self.list.insert(key, object);
                false
            }
            Event::InitDone => {
                let list = std::mem::take(&mut self.list);
                let first = !std::mem::replace(&mut self.listed, true);
                let changed = first || list != self.known;
                self.known = list;
                changed
            }
        }
    }

    fn read(&self, object: DeserializeGuard<K>) -> (Key, Read<K>) {
        let key = key(&object);
        let unreadable = |invalid: InvalidObject| Unreadable {
            deleting: Deleting::of(&invalid.metadata),
            reason: invalid.error,
            ..Unreadable::default()
        };
        (key, object.0.map(self.lean).map_err(unreadable))
    }

    fn good(&self) -> impl Iterator<Item = &K> {
        self.known.values().filter_map(|object| object.as_ref().ok())
    }

    fn bad(&self, kind: &str) -> impl Iterator<Item = (String, Source)> {
        self.known.iter().filter_map(move |((namespace, name), object)| {
            let unreadable = object.as_ref().err()?.clone();
            let name = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
            Some((format!("{kind} {name}"), Source { objects: Err(unreadable), version: 0 }))
        })
    }
}

/// Whether asking again changes nothing as long as nobody gives this agent the right, or the kind.
fn refuses(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error)
    | watcher::Error::WatchStartFailed(error)
    | watcher::Error::WatchFailed(error)) = error
    else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 404))
}

/// `kube`'s own text for a refusal is the whole answer twice.
fn described(error: &watcher::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        next = error.source().filter(|source| !text.contains(&source.to_string()));
    }
    text
}

fn key(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn lean_region(region: Region) -> Region {
    let mut annotations = region.metadata.annotations.unwrap_or_default();
    annotations.retain(|name, _| name == ANNOTATION_TRACEPARENT);
    let metadata = ObjectMeta {
        name: region.metadata.name,
        namespace: region.metadata.namespace,
        uid: region.metadata.uid,
        generation: region.metadata.generation,
        deletion_timestamp: region.metadata.deletion_timestamp,
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    let placement = region.status.and_then(|status| status.placement);
    Region {
        metadata,
        spec: region.spec,
        status: Some(RegionStatus { placement, ..RegionStatus::default() }),
    }
}

fn lean_agent(agent: Agent) -> Agent {
    let metadata = ObjectMeta {
        name: agent.metadata.name,
        uid: agent.metadata.uid,
        generation: agent.metadata.generation,
        ..ObjectMeta::default()
    };
    let AgentStatus { address, incarnation, conditions, .. } = agent.status.unwrap_or_default();
    let status = AgentStatus { address, incarnation, conditions, ..AgentStatus::default() };
    Agent { metadata, spec: agent.spec, status: Some(status) }
}

fn lean_table(table: MountTable) -> MountTable {
    let metadata = ObjectMeta {
        name: table.metadata.name,
        namespace: table.metadata.namespace,
        generation: table.metadata.generation,
        creation_timestamp: table.metadata.creation_timestamp,
        ..ObjectMeta::default()
    };
    MountTable { metadata, spec: table.spec }
}

/// How long to wait between tries: twice as long each time, up to a bound, and some of it by chance, so that the agents
/// of a cluster do not all come back to its API server at once. `kube` resets it on each event, also on the one that says
/// that a list begins, which is no success: only time does.
struct Patience {
    pause: Duration,
    last: Instant,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { pause: RETRY_MIN, last: Instant::now() }
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.last.elapsed() > 3 * RETRY_MAX {
            self.pause = RETRY_MIN;
        }
        let pause = self.pause;
        (self.pause, self.last) = ((2 * pause).min(RETRY_MAX), Instant::now());
        Some(jittered(pause))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {}
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
