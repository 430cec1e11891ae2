//! Does what was planned.
//!
//! Everything is written by server-side apply under one field manager, but for a finalizer that goes. What depends on the state
//! that was seen carries its resource version, so it comes to nothing if that state is not the present one: two operators can
//! never publish the same epoch with different contents.

mod events;
mod pacing;
#[cfg(test)]
mod tests;
mod writes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::Client;
use thiserror::Error;
use tracing::{Instrument, Span, debug, info_span, warn};

use crate::leader::Fence;
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::plan::{Action, Subject};

use events::Events;
pub(crate) use pacing::Pacing;
pub(crate) use writes::finalizers_patch;

/// Objects that are worked on at the same time.
const CONCURRENT_MAX: usize = 16;

/// How long one write may take. With [`crate::leader`]'s deadlines, a write ends before another operator may act.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(4);

/// Why an action was not done.
#[derive(Debug, Error)]
pub(crate) enum ApplyError {
    /// The object is not what it was when the plan was made. Not a failure: the next plan knows better.
    #[error("the object has changed meanwhile")]
    Conflict,
    /// This operator must not act any more.
    #[error("the Lease may be another operator's by now")]
    NotLeader,
    /// What was to be written is not kept, and would be planned again at once.
    #[error("the API server has accepted it and changed nothing; look who else writes the object")]
    NoEffect,
    #[error("no answer within {} s", WRITE_TIMEOUT.as_secs())]
    Late,
    #[error("{0}")]
    Kubernetes(Box<kube::Error>),
}

impl From<kube::Error> for ApplyError {
    fn from(error: kube::Error) -> ApplyError {
        if let kube::Error::Api(status) = &error
            // Gone is a change too.
            && matches!(status.code, 409 | 404)
        {
            return ApplyError::Conflict;
        }
        ApplyError::Kubernetes(Box::new(error))
    }
}

/// Does what was planned.
pub(crate) struct Applier {
    client: Client,
    namespace: String,
    observer: Arc<Observer>,
    events: Events,
    fence: Fence,
    metrics: Arc<Metrics>,
}

impl Applier {
    pub(crate) fn new(
        client: Client,
        namespace: String,
        identity: String,
        observer: Arc<Observer>,
        fence: Fence,
        metrics: Arc<Metrics>,
    ) -> Applier {
        let events = Events::new(client.clone(), identity);
        Applier { client, namespace, observer, events, fence, metrics }
    }

    /// Does all that is due, one object beside the other, and in order for each object.
    pub(crate) async fn apply(&self, actions: Vec<Action>, pacing: &mut Pacing) {
        let due = pacing.due(actions, Instant::now());
        self.metrics.queue_depth.set(due.len() as i64);
        let results = futures::stream::iter(due)
            .map(async |(subject, actions)| {
                let result = self.reconcile(&subject, actions).await;
                self.metrics.queue_depth.dec();
                (subject, result)
            })
            .buffer_unordered(CONCURRENT_MAX);
        let mut results = std::pin::pin!(results);
        while let Some((subject, result)) = results.next().await {
            self.remember(&subject, &result);
            match result {
                Ok(()) => pacing.succeeded(&subject, Instant::now()),
                Err(ApplyError::NotLeader) => {}
                Err(ApplyError::Conflict) => {
                    self.metrics.conflicts.with_label_values(&[subject.kind()]).inc();
                    pacing.conflicted(&subject, Instant::now());
                }
                Err(error @ (ApplyError::NoEffect | ApplyError::Late | ApplyError::Kubernetes(_))) => {
                    self.metrics.reconcile_errors.with_label_values(&[subject.kind()]).inc();
                    let again = pacing.failed(&subject, Instant::now());
                    warn!(kind = subject.kind(), object = %subject, again_in = ?again, "{error}");
                }
            }
        }
    }

    /// A pool's status says what could not be done for it.
    fn remember(&self, subject: &Subject, result: &Result<(), ApplyError>) {
        let Subject::Pool(pool) = subject else { return };
        match result {
            Ok(()) => self.observer.pool_failed(pool, None),
            Err(error @ (ApplyError::Late | ApplyError::Kubernetes(_))) => {
                self.observer.pool_failed(pool, Some(error.to_string()));
            }
            Err(ApplyError::Conflict | ApplyError::NotLeader | ApplyError::NoEffect) => {}
        }
    }

    /// Does what is to be done to one object.
    async fn reconcile(&self, subject: &Subject, actions: Vec<Action>) -> Result<(), ApplyError> {
        let kind = subject.kind();
        let epoch = actions.iter().find_map(Action::epoch);
        let span = info_span!("reconcile", kind, object = %subject, epoch);
        let begun = Instant::now();
        let result = self.in_order(actions).instrument(span).await;
        self.metrics.reconciles.with_label_values(&[kind]).inc();
        self.metrics.reconcile_seconds.with_label_values(&[kind]).observe(begun.elapsed().as_secs_f64());
        result
    }

    async fn in_order(&self, actions: Vec<Action>) -> Result<(), ApplyError> {
        let mut progress = writes::Progress::default();
        for action in actions {
            let name = action.name();
            let span = info_span!("apply", action = name, error = tracing::field::Empty);
            let done = async {
                let result = self.write(action, &mut progress).await;
                if let Err(error) = &result {
                    Span::current().record("error", tracing::field::display(error));
                    debug!(action = name, %error, "not done");
                }
                result
            };
            done.instrument(span).await?;
        }
        Ok(())
    }

    /// Sends a write, if it may still be sent.
    async fn sent<T>(&self, write: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApplyError> {
        if !self.fence.holds() {
            return Err(ApplyError::NotLeader);
        }
        match tokio::time::timeout(WRITE_TIMEOUT, write).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ApplyError::Late),
        }
    }
}
