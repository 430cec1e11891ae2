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

use crate::control::{Control, survey};
use crate::metrics::Metrics;

pub use status::{AttachmentStatus, PageCounts, PeerStatus, RegionStatus, Status};

/// What every page needs.
#[derive(Clone, Debug)]
struct Shared {
    control: Arc<Control>,
    metrics: Arc<Metrics>,
}

/// All pages.
pub fn router(control: Arc<Control>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status", get(status_page))
        .with_state(Shared { control, metrics })
}

/// The gauges are counted when somebody asks, so that they cost nothing in between.
async fn metrics_page(State(shared): State<Shared>) -> Response {
    let Shared { control, metrics } = shared;
    // A stuck shard must not hide the other numbers: they say why it is stuck. Its gauges stay as they were.
    if let Ok(survey) = survey(&control).await {
        metrics.set_peers_connected(survey.connected.len());
        for (region, declared) in &control.objects().regions {
            let name = format!("{}/{}", declared.object.namespace, declared.object.name);
            if let Some((shared, exclusive)) = survey.pages.get(region) {
                metrics.set_pages(&name, *shared, *exclusive);
            }
        }
    }
    metrics.set_attachments(control.attachments().len());
    match TextEncoder::new().encode_to_string(&metrics.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Alive: this process answers, and so do its shards.
async fn healthz(State(shared): State<Shared>) -> Response {
    match survey(&shared.control).await {
        Ok(_) => "ok\n".into_response(),
        Err(silent) => unavailable(&silent_shards(&silent)),
    }
}

/// Ready: programs that attach will be served.
async fn readyz(State(shared): State<Shared>) -> Response {
    let reasons = match survey(&shared.control).await {
        Ok(survey) => ready::reasons(shared.control.me(), &shared.control.objects(), &survey.connected),
        Err(silent) => silent_shards(&silent),
    };
    if reasons.is_empty() { "ok\n".into_response() } else { unavailable(&reasons) }
}

async fn status_page(State(shared): State<Shared>) -> Response {
    match survey(&shared.control).await {
        Ok(survey) => Json(Status::of(&shared.control, &survey)).into_response(),
        Err(silent) => unavailable(&silent_shards(&silent)),
    }
}

fn silent_shards(shards: &[usize]) -> Vec<String> {
    shards.iter().map(|shard| format!("shard {shard} does not answer")).collect()
}

fn unavailable(reasons: &[String]) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))).into_response()
}
