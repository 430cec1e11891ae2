//! `/metrics`, `/healthz` and `/readyz`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::Metrics;

/// How long the leader may take for one round: all writes of a round together have this long.
const ROUND_MAX: Duration = Duration::from_secs(120);

/// Whether the operator works.
#[derive(Debug)]
pub(crate) struct Health {
    start: Instant,
    ready: AtomicBool,
    leading: AtomicBool,
    /// When the leader was seen working, in milliseconds after `start`.
    alive: AtomicU64,
}

impl Health {
    pub(crate) fn new() -> Health {
        Health {
            start: Instant::now(),
            ready: AtomicBool::default(),
            leading: AtomicBool::default(),
            alive: AtomicU64::default(),
        }
    }

    /// The API server has answered.
    pub(crate) fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// The leader goes on.
    pub(crate) fn alive(&self) {
        self.alive.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.alive();
        self.leading.store(leads, Ordering::Relaxed);
    }

    fn is_healthy(&self) -> bool {
        let alive = Duration::from_millis(self.alive.load(Ordering::Relaxed));
        !self.leading.load(Ordering::Relaxed) || self.start.elapsed().saturating_sub(alive) < ROUND_MAX
    }
}

/// What to try to listen on for an address, in this order: `[::]` takes IPv4 as well and is all IPv4 where the kernel has
/// no IPv6.
pub(crate) fn candidates(address: SocketAddr) -> Vec<SocketAddr> {
    let mut all = vec![address];
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        all.push(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()));
    }
    all
}

/// The three pages.
pub(crate) fn router(metrics: Arc<Metrics>, health: Arc<Health>) -> Router {
    Router::new()
        .route("/metrics", get(metrics_page))
        .with_state(metrics)
        .merge(Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(health))
}

async fn metrics_page(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz(State(health): State<Arc<Health>>) -> Response {
    if health.is_healthy() {
        "ok\n".into_response()
    } else {
        let text = format!("leads, but has not planned for {} s\n", ROUND_MAX.as_secs());
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn readyz(State(health): State<Arc<Health>>) -> Response {
    if health.ready.load(Ordering::Relaxed) {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet\n").into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leader_that_hangs_is_unhealthy() {
        let mut health = Health::new();
        health.start = Instant::now().checked_sub(2 * ROUND_MAX).unwrap();
        assert!(health.is_healthy(), "it waits");
        health.leads(true);
        assert!(health.is_healthy());
        health.alive.store(0, Ordering::Relaxed);
        assert!(!health.is_healthy());
        health.alive();
        assert!(health.is_healthy());
        health.alive.store(0, Ordering::Relaxed);
        health.leads(false);
        assert!(health.is_healthy());
    }
}
