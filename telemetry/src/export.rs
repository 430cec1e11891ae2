//! Sends spans to an OpenTelemetry collector.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData};
use tokio::runtime::{self, Runtime};
use tracing::{info, warn};

use crate::Settings;

/// How long a batch may take to be sent, connecting and trying again included.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the end of the process may be held up to send the last spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Keeps traces going; dropping it sends what is not sent yet, for two seconds at most.
#[must_use = "traces end when it is dropped"]
#[derive(Debug)]
pub struct Guard(Option<Parts>);

#[derive(Debug)]
struct Parts {
    provider: SdkTracerProvider,
    runtime: Runtime,
}

impl Guard {
    pub(crate) fn without_traces() -> Guard {
        Guard(None)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(Parts { provider, runtime }) = self.0.take() else { return };
        if let Err(error) = provider.shutdown_with_timeout(FLUSH_TIMEOUT) {
            info!(%error, "the last spans were not sent");
        }
        // Does not wait, so it may be called within another runtime.
        runtime.shutdown_background();
    }
}

/// Starts the exporter if the environment asks for one.
pub(crate) fn start(
    settings: &Settings,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<(Guard, SdkTracer)>> {
    if !wanted(&env)? {
        return Ok(None);
    }
    // A runtime of its own: the caller's may begin later, end earlier or be busy.
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("traces")
        .enable_all()
        .build()
        .context("cannot start the thread that sends traces")?;
    let exporter = {
        let _entered = runtime.enter();
        SpanExporter::builder()
            .with_tonic()
            .build()
            .context("cannot send traces as OTEL_EXPORTER_OTLP_ENDPOINT and its like say")?
    };
    let exporter = Exporter {
        inner: Arc::new(exporter),
        runtime: runtime.handle().clone(),
        failing: AtomicBool::new(false),
    };
    let mut resource = Resource::builder().with_attributes([
        KeyValue::new("service.instance.id", settings.instance.clone()),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ]);
    if env("OTEL_SERVICE_NAME").is_none_or(|name| name.is_empty()) {
        resource = resource.with_service_name(settings.service_name);
    }
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
    let tracer = provider.tracer("pagemesh");
    Ok(Some((Guard(Some(Parts { provider, runtime })), tracer)))
}

/// Whether the environment asks for traces.
fn wanted(env: &impl Fn(&str) -> Option<String>) -> Result<bool> {
    let given = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    let endpoint = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
        .iter()
        .find_map(|name| Some((name, given(name)?)));
    let off = given("OTEL_SDK_DISABLED").is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
    let (Some((name, endpoint)), false) = (endpoint, off) else { return Ok(false) };
    match given("OTEL_TRACES_EXPORTER").as_deref().map(str::trim) {
        None | Some("otlp") => {}
        Some("none") => return Ok(false),
        Some(other) => {
            bail!("OTEL_TRACES_EXPORTER is `{}`; only `otlp` and `none` are known", other.escape_debug())
        }
    }
    let protocol =
        given("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| given("OTEL_EXPORTER_OTLP_PROTOCOL"));
    match protocol.as_deref().map(str::trim) {
        None | Some("grpc") => {}
        Some(other) => bail!(
            "OTEL_EXPORTER_OTLP_PROTOCOL is `{}`; only `grpc` is spoken, which collectors take at port 4317",
            other.escape_debug()
        ),
    }
    if !endpoint.starts_with("http://") {
        bail!(
            "{name} is `{}`; write an address such as http://collector:4317 (TLS is not spoken: send to a collector \
             within the cluster, which may pass traces on)",
            endpoint.escape_debug()
        );
    }
    Ok(true)
}

/// Sends on a runtime of its own with a deadline, and says once when the collector goes away and once when it is back.
///
/// It is called by the one thread of the batch processor. Spans queue before it up to a limit, and are dropped beyond that: who
/// makes a span never waits.
struct Exporter {
    inner: Arc<SpanExporter>,
    runtime: runtime::Handle,
    failing: AtomicBool,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let inner = Arc::clone(&self.inner);
        let sent = self.runtime.spawn(async move {
            // Made in here: the deadline belongs to the runtime that it is waited for on.
            tokio::time::timeout(EXPORT_TIMEOUT, inner.export(batch)).await
        });
        let result = match sent.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(OTelSdkError::Timeout(EXPORT_TIMEOUT)),
            Err(error) => Err(OTelSdkError::InternalFailure(error.to_string())),
        };
        match &result {
            Ok(()) if self.failing.swap(false, Ordering::Relaxed) => info!("traces are sent again"),
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                warn!(%error, "cannot send traces; those that do not fit into the queue are dropped");
            }
            Ok(()) | Err(_) => {}
        }
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(variables: &[(&str, &str)]) -> Result<bool, String> {
        let env =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        wanted(&env).map_err(|error| error.to_string())
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");

    #[test]
    fn traces_are_off_unless_asked_for() {
        assert_eq!(asked(&[]), Ok(false));
        assert_eq!(asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(false));
        assert_eq!(asked(&[("OTEL_TRACES_EXPORTER", "otlp")]), Ok(false));
        assert_eq!(asked(&[ENDPOINT]), Ok(true));
        assert_eq!(asked(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ENDPOINT.1)]), Ok(true));
        assert_eq!(asked(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
        assert_eq!(asked(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "otlp")]), Ok(true));
        assert_eq!(asked(&[ENDPOINT, ("OTEL_SDK_DISABLED", "True")]), Ok(false));
        assert_eq!(asked(&[ENDPOINT, ("OTEL_SDK_DISABLED", "false")]), Ok(true));
        assert_eq!(asked(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]), Ok(true));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let bad = [
            (vec![ENDPOINT, ("OTEL_TRACES_EXPORTER", "zipkin")], "OTEL_TRACES_EXPORTER"),
            (vec![ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], "OTEL_EXPORTER_OTLP_PROTOCOL"),
            (
                vec![ENDPOINT, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")],
                "OTEL_EXPORTER_OTLP_PROTOCOL",
            ),
            (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x:4317")], "OTEL_EXPORTER_OTLP_ENDPOINT"),
            (
                vec![("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317")],
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            ),
        ];
        for (variables, named) in bad {
            let refused = asked(&variables).unwrap_err();
            assert!(refused.contains(named), "{refused}");
        }
    }
}
