//! Leader election by a Lease: of several operators one acts.
//!
//! The leader renews its Lease every two seconds. One that could not for ten seconds stops acting at once; another takes over
//! only after fifteen. Since a write takes four seconds at most ([`crate::apply`]), the last write of the one has ended before
//! the first of the other begins. Clocks of machines are never compared: who waits measures by its own clock for how long the Lease has not
//! changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

/// The Lease, in the operator's namespace.
pub(crate) const LEASE: &str = "pagemesh-operator";
/// How long others leave a leader alone that does not renew.
const DURATION: Duration = Duration::from_secs(15);
/// How long a leader acts without having renewed.
const ACTS_FOR: Duration = Duration::from_secs(10);
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How often those that wait look. A leader that ends in order gives the Lease up, so this is how long hand-over takes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Tells whether this operator may act right now.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    epoch: Instant,
    /// Milliseconds after `epoch`.
    until: Arc<AtomicU64>,
}

impl Fence {
    fn new() -> Fence {
        Fence { epoch: Instant::now(), until: Arc::default() }
    }

    /// One that is always open: for an operator that is alone by its user's word.
    pub(crate) fn open() -> Fence {
        let fence = Fence::new();
        fence.until.store(u64::MAX, Ordering::Release);
        fence
    }

    /// Whether this operator may act right now.
    pub(crate) fn holds(&self) -> bool {
        (self.epoch.elapsed().as_millis() as u64) < self.until.load(Ordering::Acquire)
    }

    fn renew(&self, renewed: Instant) {
        let until = renewed.saturating_duration_since(self.epoch) + ACTS_FOR;
        self.until.store(until.as_millis() as u64, Ordering::Release);
    }

    fn close(&self) {
        self.until.store(0, Ordering::Release);
    }
}

/// A candidate.
pub(crate) struct Election {
    api: Api<Lease>,
    identity: String,
    fence: Fence,
    /// The Lease as it was seen last, and since when it has looked like that.
    seen: Option<(Lease, Instant)>,
}

impl Election {
    pub(crate) fn new(client: Client, namespace: &str, identity: String) -> Election {
        Election { api: Api::namespaced(client, namespace), identity, fence: Fence::new(), seen: None }
    }

    pub(crate) fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Waits until this operator is the leader. `answered` is called whenever the API server has answered.
    pub(crate) async fn acquire(&mut self, answered: impl Fn()) {
        let mut failing = false;
        loop {
            match self.attempt(Instant::now()).await {
                Ok(true) => return,
                Ok(false) => {
                    failing = false;
                    answered();
                }
                Err(error) if failing => debug!("cannot read or write the Lease {LEASE}: {error}"),
                Err(error) => {
                    failing = true;
                    warn!("cannot read or write the Lease {LEASE}; trying on: {error}");
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Renews until that fails for too long, or somebody else has the Lease. Then nothing may be written any more.
    pub(crate) async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            sleep(RENEW_EVERY).await;
            let asked = Instant::now();
            match self.attempt(asked).await {
                Ok(true) => renewed = asked,
                Ok(false) => {
                    warn!("another operator has taken the Lease {LEASE}");
                    break;
                }
                Err(error) if renewed.elapsed() < ACTS_FOR => {
                    debug!("cannot renew the Lease {LEASE}: {error}")
                }
                Err(error) => {
                    warn!("could not renew the Lease {LEASE} for {} s: {error}", ACTS_FOR.as_secs());
                    break;
                }
            }
            if !self.fence.holds() {
                break;
            }
        }
        self.fence.close();
    }

    /// Gives the Lease up, so that nobody has to wait until it runs out.
    pub(crate) async fn release(&mut self) {
        self.fence.close();
        let Some((mut lease, _)) =
            self.seen.take().filter(|(lease, _)| holder(lease) == Some(&self.identity))
        else {
            return;
        };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
        }
        match timeout(REQUEST_TIMEOUT, self.api.replace(LEASE, &PostParams::default(), &lease)).await {
            Ok(Ok(_)) => info!("gave the Lease {LEASE} up"),
            Ok(Err(error)) => warn!("cannot give the Lease {LEASE} up: {error}"),
            Err(_) => warn!("cannot give the Lease {LEASE} up in time"),
        }
    }

    /// Takes or renews the Lease if that is allowed. Returns whether this operator has it.
    async fn attempt(&mut self, now: Instant) -> Result<bool, kube::Error> {
        // The leader knows what it wrote; if that is out of date, the API server refuses, and it looks again.
        let known = self.seen.clone().filter(|(lease, _)| holder(lease) == Some(&self.identity));
        let lease = match known {
            Some(known) => Some(known),
            None => self.look(now).await?,
        };
        let written = match lease {
            None => {
                let lease = self.mine(None);
                bounded(self.api.create(&PostParams::default(), &lease)).await
            }
            Some((lease, since)) => {
                if !is_free(&lease, &self.identity, now.saturating_duration_since(since)) {
                    return Ok(false);
                }
                let lease = self.mine(Some(&lease));
                bounded(self.api.replace(LEASE, &PostParams::default(), &lease)).await
            }
        };
        match written {
            Ok(lease) => {
                self.seen = Some((lease, now));
                self.fence.renew(now);
                Ok(true)
            }
            // Somebody was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                Ok(self.look(now).await?.is_some_and(|(lease, _)| {
                    // Written by a request of ours whose answer was lost.
                    holder(&lease) == Some(&self.identity) && self.fence.holds()
                }))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the Lease, and keeps in mind since when it has been what it is.
    async fn look(&mut self, now: Instant) -> Result<Option<(Lease, Instant)>, kube::Error> {
        let Some(lease) = bounded(self.api.get_opt(LEASE)).await? else {
            self.seen = None;
            return Ok(None);
        };
        let same = |seen: &Lease| seen.metadata.resource_version == lease.metadata.resource_version;
        let since = match &self.seen {
            Some((seen, since)) if same(seen) => *since,
            Some(_) | None => now,
        };
        self.seen = Some((lease.clone(), since));
        Ok(Some((lease, since)))
    }

    /// The Lease as it is when this operator holds it from now on.
    fn mine(&self, before: Option<&Lease>) -> Lease {
        let now = Some(MicroTime(Timestamp::now()));
        let spec = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let renewal = before.is_some_and(|lease| holder(lease) == Some(&self.identity));
        Lease {
            metadata: ObjectMeta {
                name: Some(LEASE.to_owned()),
                resource_version: before.and_then(|lease| lease.metadata.resource_version.clone()),
                ..before.map(|lease| lease.metadata.clone()).unwrap_or_default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: Some(DURATION.as_secs() as i32),
                acquire_time: if renewal { spec.acquire_time } else { now.clone() },
                lease_transitions: Some(
                    spec.lease_transitions.unwrap_or(0) + i32::from(!renewal && before.is_some()),
                ),
                renew_time: now,
                ..LeaseSpec::default()
            }),
        }
    }
}

/// Whether `identity` may take a Lease that has looked like this for so long.
fn is_free(lease: &Lease, identity: &String, unchanged: Duration) -> bool {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).max(Duration::from_secs(1));
    holder(lease).is_none_or(|holder| holder == identity) || unchanged >= duration
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

async fn bounded<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    timeout(REQUEST_TIMEOUT, request).await.map_err(|late| kube::Error::Service(late.into()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>, seconds: Option<i32>) -> Lease {
        let spec = LeaseSpec {
            holder_identity: holder.map(ToOwned::to_owned),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    #[test]
    fn a_lease_is_free_when_nobody_has_it_or_has_renewed_it() {
        let me = "me".to_owned();
        let is_free = |lease: &Lease, seconds| is_free(lease, &me, Duration::from_secs(seconds));
        for nobody in [None, Some("")] {
            assert!(is_free(&lease(nobody, Some(15)), 0));
        }
        assert!(is_free(&lease(Some("me"), Some(15)), 0));
        assert!(!is_free(&lease(Some("you"), Some(15)), 14));
        assert!(is_free(&lease(Some("you"), Some(15)), 15));
        // Whatever somebody has written into it, a leader has a moment to renew.
        for strange in [None, Some(0), Some(-5)] {
            assert!(!is_free(&lease(Some("you"), strange), 0));
            assert!(is_free(&lease(Some("you"), strange), 1));
        }
    }

    #[test]
    fn who_does_not_renew_may_not_act() {
        let mut fence = Fence::new();
        assert!(!fence.holds(), "not before the first renewal");
        fence.renew(Instant::now());
        assert!(fence.holds() && fence.clone().holds());
        fence.close();
        assert!(!fence.holds());
        // The same renewal, but long ago.
        fence.renew(fence.epoch);
        assert!(fence.holds());
        fence.epoch = fence.epoch.checked_sub(ACTS_FOR).unwrap();
        assert!(!fence.holds());
        assert!(Fence::open().holds());
    }

    #[test]
    fn the_last_write_of_one_ends_before_another_begins() {
        assert!(ACTS_FOR + crate::apply::WRITE_TIMEOUT < DURATION);
        assert!(RENEW_EVERY + 2 * REQUEST_TIMEOUT < ACTS_FOR, "there is time for a second try");
    }
}
