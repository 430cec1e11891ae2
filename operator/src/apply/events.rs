//! Events: what people see under `kubectl describe`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::WRITE_TIMEOUT;
use crate::plan::{Note, cut};

/// Who reports.
const CONTROLLER: &str = "pagemesh-operator";
/// Events that may wait to be sent. Beyond that some are left out: they are a courtesy, and must hold nothing up.
const QUEUE_MAX: usize = 1024;
/// Longest text of an Event, by Kubernetes' rule.
const TEXT_BYTES_MAX: usize = 1024;

/// Publishes Events, one after the other, beside everything else.
pub(super) struct Events {
    queue: mpsc::Sender<(Event, ObjectReference)>,
}

impl Events {
    /// Must be called within a runtime. What is left is sent after it is dropped.
    pub(super) fn new(client: Client, identity: String) -> Events {
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(identity) };
        // Says the same thing about the same object once, with a count.
        let recorder = Recorder::new(client, reporter);
        let (queue, mut waiting) = mpsc::channel::<(Event, ObjectReference)>(QUEUE_MAX);
        tokio::spawn(async move {
            while let Some((event, object)) = waiting.recv().await {
                match timeout(WRITE_TIMEOUT, recorder.publish(&event, &object)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => warn!(reason = event.reason, %error, "cannot write an Event"),
                    Err(_) => warn!(reason = event.reason, "cannot write an Event in time"),
                }
            }
        });
        Events { queue }
    }

    /// Tells about an object. Notes of different epochs are different things, however alike.
    pub(super) fn publish<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        notes: &[Note],
        epoch: Option<u64>,
    ) {
        for note in notes {
            let event = Event {
                type_: if note.warning { EventType::Warning } else { EventType::Normal },
                reason: note.reason.to_owned(),
                note: Some(cut(&note.text, TEXT_BYTES_MAX).to_owned()),
                action: epoch.map_or_else(|| "Reconcile".to_owned(), |epoch| format!("Epoch{epoch}")),
                secondary: None,
            };
            if self.queue.try_send((event, object.object_ref(&()))).is_err() {
                debug!(reason = note.reason, "too many Events at a time; left out");
            }
        }
    }
}
