//! Logs and traces of the daemons.
//!
//! [`start`] is called once, first thing in `main`. Logs go to standard error. Traces go to an OpenTelemetry collector, by OTLP
//! over gRPC, if the standard `OTEL_` variables of the environment name one; else no trace is made, and a span costs what a
//! log line costs that nobody wants.
//!
//! A trace crosses from one daemon to another as a W3C `traceparent`: [`current_traceparent`], [`continue_from`].
#![forbid(unsafe_code)]

mod export;
mod trace_context;

use std::io::{self, IsTerminal};

use anyhow::{Context, Result};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use export::Guard;
pub use trace_context::{continue_from, current_traceparent};

/// Our own crates' targets begin with this; `pagemesh_agent::shard` for example.
const OWN_TARGETS: &str = "pagemesh";

/// What a daemon logs and how, and what it calls itself in traces.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What to log. Libraries are kept to `INFO`: below that they tell about their own insides.
    pub level: LevelFilter,
    /// How to log.
    pub format: Format,
    /// `service.name` of the traces, unless the environment has `OTEL_SERVICE_NAME`.
    pub service_name: &'static str,
    /// `service.instance.id` of the traces: the node of an agent, the pod of an operator.
    pub instance: String,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people: one line each, in colour on a terminal.
    Human,
    /// For machines: one JSON object each.
    Json,
}

/// Begins to log, and to trace if the environment says where to. Works in and out of an asynchronous runtime; what is not
/// sent yet is sent when the guard is dropped.
///
/// # Errors
/// When the environment asks for traces in a way that is not understood, or something logs already.
pub fn start(settings: &Settings) -> Result<Guard> {
    let exporter = export::start(settings, |name| std::env::var(name).ok())?;
    let (guard, tracer) = match exporter {
        Some((guard, tracer)) => (guard, Some(tracer)),
        None => (Guard::without_traces(), None),
    };
    // Spans of ours alone, at every level of the log: what is traced must not depend on what is logged.
    let traces = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(OWN_TARGETS, LevelFilter::INFO))
    });
    let wanted = Targets::new()
        .with_default(settings.level.min(LevelFilter::INFO))
        .with_target(OWN_TARGETS, settings.level);
    let log = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let log = match settings.format {
        Format::Human => log.with_target(false).with_ansi(io::stderr().is_terminal()).boxed(),
        Format::Json => log.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(traces)
        .with(log.with_filter(wanted))
        .try_init()
        .context("cannot begin to log: something else in this process logs already")?;
    Ok(guard)
}
