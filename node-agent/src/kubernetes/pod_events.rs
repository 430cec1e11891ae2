//! Events about pods: what their people see under `kubectl describe pod`.
//!
//! Telling never waits: not for the API server, and not for those who tell of other pods. What one pod can have written is
//! bounded, since a program that knocks at its socket all day long must not fill the cluster's Events. That it loses access is
//! nothing that a program can bring about, and is told however much else there was of it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{FIELD_MANAGER, WRITE_TIMEOUT};
use crate::volume::PodIdentity;

/// The word for access that is taken away from programs that have it.
pub const ACCESS_REVOKED: &str = "AccessRevoked";

/// Events that may wait to be sent. Beyond that some are left out: they are a courtesy, and must hold nothing up.
const QUEUE_MAX: usize = 256;
/// Those of them that pods' programs bring about: the rest of the queue is for access that is revoked.
const BROUGHT_ABOUT_MAX: usize = QUEUE_MAX / 2;
/// Pods that are remembered; beyond, the one that was told of first is forgotten.
const PODS_MAX: usize = 1024;
/// What a pod gets at once of what its programs bring about, and how often one more.
const BURST: u32 = 16;
const REFILL: Duration = Duration::from_secs(30);
/// Before the same is said again of the same pod; then it is written as one Event with a count.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Longest text of an Event, by Kubernetes' rule.
const NOTE_BYTES_MAX: usize = 1024;

/// Tells of pods. Clones tell through the same queue.
#[derive(Clone, Debug)]
pub struct PodEvents {
    queue: mpsc::Sender<PodEvent>,
    told: Arc<Mutex<Told>>,
}

/// A warning about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// The pod.
    pub pod: PodIdentity,
    /// In one word, as [`ACCESS_REVOKED`].
    pub reason: &'static str,
    /// What has happened, and what to do about it.
    pub note: String,
}

impl PodEvents {
    /// Writes to the API server as the agent of `node`. Must be called within a runtime; what is left is sent after the last
    /// clone is dropped.
    #[must_use]
    pub fn start(client: Client, node: &str) -> PodEvents {
        let (events, mut waiting) = PodEvents::pair();
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(node.to_owned()) };
        let recorder = Recorder::new(client, reporter);
        tokio::spawn(async move {
            while let Some(event) = waiting.recv().await {
                write(&recorder, event).await;
            }
        });
        events
    }

    /// Tells nobody: for agents that know of no pods.
    #[must_use]
    pub fn nobody() -> PodEvents {
        PodEvents::pair().0
    }

    /// What is told arrives at the other end, as far as it would be written.
    #[must_use]
    pub fn pair() -> (PodEvents, mpsc::Receiver<PodEvent>) {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        (PodEvents { queue, told: Arc::default() }, waiting)
    }

    /// Tells of a pod. `reason` is one word, `note` a sentence that says what to do. What was told a moment ago, and what is too
    /// much of one pod, is left out.
    pub fn tell(&self, pod: &PodIdentity, reason: &'static str, note: impl Into<String>) {
        let note = note.into();
        let may = {
            let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            told.may(&pod.uid, (reason, crc32fast::hash(note.as_bytes())), Instant::now())
        };
        let event = PodEvent { pod: pod.clone(), reason, note };
        let room = reason == ACCESS_REVOKED || self.queue.capacity() > QUEUE_MAX - BROUGHT_ABOUT_MAX;
        if !may || !room || self.queue.try_send(event).is_err() {
            debug!(pod = pod.name, namespace = pod.namespace, reason, "left out an Event about a pod");
        }
    }
}

async fn write(recorder: &Recorder, PodEvent { pod, reason, note }: PodEvent) {
    let regarding = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(pod.namespace),
        name: Some(pod.name),
        uid: Some(pod.uid),
        ..ObjectReference::default()
    };
    let event = Event {
        type_: EventType::Warning,
        reason: reason.to_owned(),
        // The recorder takes two Events of the same reason and action for one, and would keep the text of the first.
        action: format!("Attach{:08x}", crc32fast::hash(note.as_bytes())),
        note: Some(cut(note)),
        secondary: None,
    };
    match timeout(WRITE_TIMEOUT, recorder.publish(&event, &regarding)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(reason, %error, "cannot write an Event about a pod"),
        Err(_) => warn!(reason, "cannot write an Event about a pod in time"),
    }
}

fn cut(mut note: String) -> String {
    let mut end = note.len().min(NOTE_BYTES_MAX);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note.truncate(end);
    note
}

/// What of an Event makes it the same as another one of that pod.
type Same = (&'static str, u32);

/// What was told, by pods' UIDs.
#[derive(Debug, Default)]
struct Told {
    pods: HashMap<String, Pod>,
    order: VecDeque<String>,
}

#[derive(Debug)]
struct Pod {
    left: u32,
    refilled: Instant,
    /// Those of its programs' doing are as many as a pod gets at once, at most.
    recent: VecDeque<(Same, Instant)>,
}

impl Told {
    fn may(&mut self, uid: &str, what: Same, now: Instant) -> bool {
        if !self.pods.contains_key(uid) {
            if self.order.len() == PODS_MAX
                && let Some(first) = self.order.pop_front()
            {
                self.pods.remove(&first);
            }
            self.order.push_back(uid.to_owned());
        }
        let pod = self.pods.entry(uid.to_owned()).or_insert_with(|| Pod {
            left: BURST,
            refilled: now,
            recent: VecDeque::new(),
        });
        pod.may(what, now)
    }
}

impl Pod {
    fn may(&mut self, what: Same, now: Instant) -> bool {
        while self.left < BURST && now.duration_since(self.refilled) >= REFILL {
            (self.left, self.refilled) = (self.left + 1, self.refilled + REFILL);
        }
        if self.left == BURST {
            self.refilled = now;
        }
        self.recent.retain(|(_, when)| now.duration_since(*when) < AGAIN_AFTER);
        if self.recent.iter().any(|(said, _)| *said == what) {
            return false;
        }
        if what.0 != ACCESS_REVOKED {
            let Some(left) = self.left.checked_sub(1) else { return false };
            self.left = left;
        }
        self.recent.push_back((what, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> PodIdentity {
        PodIdentity {
            namespace: "team-a".into(),
            name: "trainer-0".into(),
            uid: uid.into(),
            service_account: "trainer".into(),
        }
    }

    #[test]
    fn the_same_is_said_once_a_minute_and_something_else_at_once() {
        let (start, mut told) = (Instant::now(), Told::default());
        let later = start + AGAIN_AFTER;
        assert!(told.may("u", (ACCESS_REVOKED, 1), start));
        assert!(!told.may("u", (ACCESS_REVOKED, 1), later - Duration::from_millis(1)));
        assert!(told.may("u", (ACCESS_REVOKED, 2), start));
        assert!(told.may("u", ("NotReady", 1), start));
        assert!(told.may("v", (ACCESS_REVOKED, 1), start), "another pod");
        assert!(told.may("u", (ACCESS_REVOKED, 1), later));
    }

    #[test]
    fn a_pod_that_never_stops_has_few_events_and_takes_none_from_others() {
        let (start, mut told) = (Instant::now(), Told::default());
        // Ten times a second for an hour, each time something else.
        let mut written = 0;
        for at in 0..36_000 {
            let now = start + Duration::from_millis(100) * at;
            written += u32::from(told.may("loud", ("Refused", at), now));
        }
        assert_eq!(written, BURST + 119);
        let end = start + Duration::from_secs(3600);
        assert!(told.may("quiet", ("Refused", 0), end));
        assert!(told.pods["loud"].recent.len() <= BURST as usize);
    }

    #[test]
    fn that_access_is_revoked_is_told_whatever_the_pod_did_before() {
        let (now, mut told) = (Instant::now(), Told::default());
        for at in 0..2 * BURST {
            assert_eq!(told.may("u", ("RegionUnknown", at), now), at < BURST);
        }
        for at in 0..2 * BURST {
            assert!(told.may("u", (ACCESS_REVOKED, at), now), "another region");
            assert!(!told.may("u", (ACCESS_REVOKED, at), now), "the same");
        }
        // Nor does it take anything from what else there is.
        for at in 0..2 * BURST {
            assert!(told.may("v", (ACCESS_REVOKED, at), now));
        }
        assert!(told.may("v", ("RegionUnknown", 0), now));
    }

    #[test]
    fn as_many_pods_are_remembered_as_may_be() {
        let (now, mut told) = (Instant::now(), Told::default());
        for at in 0..3 * PODS_MAX {
            assert!(told.may(&at.to_string(), ("Refused", 0), now));
        }
        assert_eq!((told.pods.len(), told.order.len()), (PODS_MAX, PODS_MAX));
    }

    #[test]
    fn telling_never_waits() {
        let (events, mut waiting) = PodEvents::pair();
        for reason in ["Refused", ACCESS_REVOKED] {
            for at in 0..2 * QUEUE_MAX {
                events.tell(&pod(&at.to_string()), reason, "no");
            }
        }
        let mut arrived = [0; 2];
        while let Ok(PodEvent { pod: of, reason, note }) = waiting.try_recv() {
            let arrived = &mut arrived[usize::from(reason == ACCESS_REVOKED)];
            assert_eq!((of, note.as_str()), (pod(&arrived.to_string()), "no"));
            *arrived += 1;
        }
        assert_eq!(
            arrived,
            [BROUGHT_ABOUT_MAX, QUEUE_MAX - BROUGHT_ABOUT_MAX],
            "there is room for what matters"
        );
        PodEvents::nobody().tell(&pod("u"), "Refused", "nobody hears it");
    }

    #[test]
    fn long_notes_are_cut_between_letters() {
        let note = cut("é".repeat(NOTE_BYTES_MAX));
        assert_eq!(note.len(), NOTE_BYTES_MAX);
        assert_eq!(cut(format!("a{note}")).len(), NOTE_BYTES_MAX - 1);
    }
}
