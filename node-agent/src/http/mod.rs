//! For people and machines that look after the agent: `/metrics`, `/healthz`, `/readyz`, `/status`. It only reads.

mod ready;
mod status;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::TextEncoder;
use tokio::sync::watch;

use crate::control::{Control, RegionState, RegionSurvey, Survey, survey};
use crate::metrics::{Metrics, RegionGauges};

pub use status::{AttachmentStatus, PageCounts, PeerStatus, RegionStatus, Status};

/// What an agent is at, as far as these pages tell it.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It does not serve yet: why, as a sentence.
    Waiting(String),
    /// It serves.
    Serving(Arc<Control>),
    /// It is about to end: why it is not ready, as a sentence.
    Stopping(Arc<Control>, String),
}

/// What it takes to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// This agent serves. Where others can be away for good, none of them must make all others unready.
    Alone,
    /// And it is connected to every agent that is declared.
    WholeMesh,
}

/// What every page needs.
#[derive(Clone, Debug)]
struct Shared {
    standing: watch::Receiver<Standing>,
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

impl Shared {
    /// What it serves with, or why it does not serve yet.
    fn control(&self) -> Result<Arc<Control>, String> {
        match &*self.standing.borrow() {
            Standing::Waiting(why) => Err(why.clone()),
            Standing::Serving(control) | Standing::Stopping(control, _) => Ok(Arc::clone(control)),
        }
    }
}

/// All pages.
pub fn router(standing: watch::Receiver<Standing>, readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status", get(status_page))
        .with_state(Shared { standing, readiness, metrics })
}

/// The gauges are counted when somebody asks, so that they cost nothing in between.
async fn metrics_page(State(shared): State<Shared>) -> Response {
    let metrics = Arc::clone(&shared.metrics);
    if let Ok(control) = shared.control() {
        // A stuck shard must not hide the other numbers: they say why it is stuck. Its gauges stay as they were.
        if let Ok(survey) = survey(&control).await {
            set_gauges(&metrics, &control, &survey);
        }
        metrics.set_attachments(control.attachments().len());
    }
    match TextEncoder::new().encode_to_string(&metrics.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn set_gauges(metrics: &Metrics, control: &Control, survey: &Survey) {
    metrics.set_peers_connected(survey.connected.len());
    let regions = control.regions();
    let name = |state: &RegionState| format!("{}/{}", state.region.namespace, state.region.name);
    let pages = regions.iter().filter_map(|state| {
        let open = state.open?;
        let RegionSurvey { shared, exclusive, .. } = *survey.regions.get(&state.id)?;
        Some(RegionGauges { name: name(state), shared, exclusive, resident_bytes: open.resident_bytes })
    });
    metrics.set_regions(pages);
}

/// Alive: this process answers, and so do its shards, if it has any yet.
async fn healthz(State(shared): State<Shared>) -> Response {
    let Ok(control) = shared.control() else { return "ok\n".into_response() };
    match survey(&control).await {
        Ok(_) => "ok\n".into_response(),
        Err(silent) => unavailable(&silent_shards(&silent)),
    }
}

/// Ready: programs that attach will be served.
async fn readyz(State(shared): State<Shared>) -> Response {
    let standing = shared.standing.borrow().clone();
    let reasons = match standing {
        Standing::Waiting(why) | Standing::Stopping(_, why) => vec![why],
        Standing::Serving(control) => match (survey(&control).await, shared.readiness) {
            (Err(silent), _) => silent_shards(&silent),
            (Ok(_), Readiness::Alone) => Vec::new(),
            (Ok(survey), Readiness::WholeMesh) => {
                ready::reasons(control.me(), &control.objects(), &survey.connected)
            }
        },
    };
    if reasons.is_empty() { "ok\n".into_response() } else { unavailable(&reasons) }
}

async fn status_page(State(shared): State<Shared>) -> Response {
    let control = match shared.control() {
        Ok(control) => control,
        Err(why) => return unavailable(&[why]),
    };
    match survey(&control).await {
        Ok(survey) => Json(Status::of(&control, &survey)).into_response(),
        Err(silent) => unavailable(&silent_shards(&silent)),
    }
}

fn silent_shards(shards: &[usize]) -> Vec<String> {
    shards.iter().map(|shard| format!("shard {shard} does not answer")).collect()
}

fn unavailable(reasons: &[String]) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))).into_response()
}
