//! What the leader does: observe, plan, apply, over and over.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::apply::{Applier, Pacing};
use crate::default_pool::DefaultPool;
use crate::http::Health;
use crate::leader::Fence;
use crate::metrics::Metrics;
use crate::observe::{self, Observer};
use crate::plan::{AgentsRun, plan};

/// Changes that come in quick succession are planned for together.
const PLAN_INTERVAL: Duration = Duration::from_millis(50);
/// How long nothing happens at most.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// How long to wait when nobody can say who is alive.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often is said what is still missing at the start.
const COMPLETE_TELL: Duration = Duration::from_secs(10);

/// What the leader works with.
pub(crate) struct Leading {
    pub(crate) client: Client,
    pub(crate) identity: String,
    pub(crate) agents_run: Arc<AgentsRun>,
    /// The AgentPool that the installation brings.
    pub(crate) default_pool: Option<DefaultPool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
}

impl Leading {
    /// Leads until it is dropped, or cannot any more.
    ///
    /// # Errors
    /// When a watch has ended, which it never should.
    pub(crate) async fn run(&self, fence: Fence) -> Result<Infallible> {
        let observer = Arc::new(Observer::default());
        let namespace = self.agents_run.namespace.clone();
        let mut watches = observe::start(&self.client, &namespace, &observer, &self.metrics);
        let applier = Applier::new(
            self.client.clone(),
            namespace,
            self.identity.clone(),
            Arc::clone(&observer),
            fence,
            Arc::clone(&self.metrics),
        );
        tokio::select! {
            result = ended(&mut watches) => result,
            never = self.apply_default_pool() => match never {},
            never = self.work(&observer, &applier) => match never {},
        }
    }

    async fn apply_default_pool(&self) -> Infallible {
        if let Some(pool) = &self.default_pool {
            pool.apply(&self.client).await;
        }
        std::future::pending().await
    }

    async fn work(&self, observer: &Observer, applier: &Applier) -> Infallible {
        self.complete(observer).await;
        let mut pacing = Pacing::default();
        loop {
            self.health.alive();
            let begun = Instant::now();
            // One time for both: a Lease that runs out in between is one that nobody has asked for.
            let now = Timestamp::now();
            let namespace = &self.agents_run.namespace;
            let wake = match observer.ask_for_doubtful_leases(&self.client, namespace, now).await {
                Ok(()) => self.round(observer, applier, &mut pacing, now).await,
                Err(error) => {
                    warn!("cannot ask whether agents are alive; nothing is decided before: {error}");
                    Some(Instant::now() + ASK_AGAIN)
                }
            };
            let latest = begun + IDLE_MAX;
            let wake = wake.map_or(latest, |wake| wake.min(latest)).max(begun + PLAN_INTERVAL);
            sleep((begun + PLAN_INTERVAL).saturating_duration_since(Instant::now())).await;
            tokio::select! {
                () = observer.changed() => {}
                () = sleep_until(wake.into()) => {}
            }
        }
    }

    /// Plans once, and does it. Returns when to do so again at the latest.
    async fn round(
        &self,
        observer: &Observer,
        applier: &Applier,
        pacing: &mut Pacing,
        now: Timestamp,
    ) -> Option<Instant> {
        let snapshot = observer.snapshot(&self.agents_run, now);
        self.metrics.count(&snapshot);
        let timer = self.metrics.plan_seconds.start_timer();
        let plan = plan(&snapshot);
        timer.observe_duration();
        drop(snapshot);
        if !plan.actions.is_empty() {
            debug!(actions = plan.actions.len(), "planned");
        }
        applier.apply(plan.actions, pacing).await;
        let wake_at = plan.wake_at.map(|at| Instant::now() + until(now, at));
        wake_at.into_iter().chain(pacing.next()).min()
    }

    /// Waits until there is a first picture of everything.
    async fn complete(&self, observer: &Observer) {
        let begun = Instant::now();
        loop {
            self.health.alive();
            let missing = observer.missing();
            if missing.is_empty() {
                info!(took = ?begun.elapsed(), "knows the cluster");
                self.health.ready();
                return;
            }
            if timeout(COMPLETE_TELL, observer.changed()).await.is_err() {
                warn!("waits for the first list of {}", missing.join(", "));
            }
        }
    }
}

fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

/// Waits for a watch to end.
async fn ended(watches: &mut JoinSet<()>) -> Result<Infallible> {
    match watches.join_next().await {
        Some(Err(error)) => bail!("a watch has failed: {error}"),
        Some(Ok(())) | None => bail!("a watch has ended by itself"),
    }
}
