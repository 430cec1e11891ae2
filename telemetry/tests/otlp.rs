//! Traces reach a collector over the network, and a collector that is away costs nothing.
//!
//! The environment and the subscriber belong to a whole process, so each test starts this program again as the one that traces.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use pagemesh_telemetry::{Format, Settings, continue_from, current_traceparent};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};
use tracing::level_filters::LevelFilter;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Hands on what it receives.
struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The program that traces: main is not asynchronous, as the agent's is not.
#[test]
#[ignore = "started by the other tests"]
fn program() {
    let settings = Settings {
        // Below the level of the spans: what is traced does not depend on what is logged.
        level: LevelFilter::WARN,
        format: Format::Human,
        service_name: "pagemesh-test",
        instance: "node-1".into(),
    };
    let guard = pagemesh_telemetry::start(&settings).expect("the environment is good");
    let begun = Instant::now();
    for _ in 0..10_000 {
        let span = tracing::info_span!(target: "pagemesh_test", "work", epoch = 7);
        continue_from(&span, PARENT);
        span.in_scope(|| assert!(current_traceparent().is_some()));
        tracing::info_span!(target: "another_crate", "noise").in_scope(|| {});
    }
    println!("work took {} ms", begun.elapsed().as_millis());
    drop(guard);
    println!("all took {} ms", begun.elapsed().as_millis());
}

fn run_program(endpoint: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["--ignored", "--exact", "program", "--nocapture"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
        command.env_remove(name);
    }
    let output = command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).output().expect("this program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_the_collector_with_their_parent_and_who_made_them() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(Collector(sender)))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    let server = tokio::spawn(server);

    tokio::task::spawn_blocking(move || run_program(&endpoint)).await.unwrap();

    let request = received.try_recv().expect("the program's end waits until its spans are sent");
    let [resource_spans] = &request.resource_spans[..] else { panic!("{request:?}") };
    let attributes = &resource_spans.resource.as_ref().unwrap().attributes;
    let attribute = |key: &str| {
        let found = attributes.iter().find(|attribute| attribute.key == key);
        found
            .and_then(|found| found.value.clone()?.value)
            .unwrap_or_else(|| panic!("{key} in {attributes:?}"))
    };
    assert_eq!(attribute("service.name"), Value::StringValue("pagemesh-test".into()));
    assert_eq!(attribute("service.instance.id"), Value::StringValue("node-1".into()));
    let span = &resource_spans.scope_spans[0].spans[0];
    assert_eq!(span.name, "work");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.parent_span_id)), PARENT);
    let epoch = span.attributes.iter().find(|attribute| attribute.key == "epoch").unwrap();
    assert_eq!(epoch.value.clone().unwrap().value, Some(Value::IntValue(7)));
    let names: Vec<&str> = resource_spans
        .scope_spans
        .iter()
        .flat_map(|scope| &scope.spans)
        .map(|span| span.name.as_str())
        .collect();
    assert!(names.iter().all(|name| *name == "work"), "only our own spans are sent");
    server.abort();
}

#[test]
fn a_collector_that_is_away_holds_nothing_up() {
    // Bound but not listening: whoever connects is refused.
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Listening but never answering.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [refused, silent.local_addr().unwrap()] {
        let output = run_program(&format!("http://{address}"));
        let text = String::from_utf8_lossy(&output.stdout);
        let took = |what: &str| -> Duration {
            let line =
                text.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_else(|| panic!("{text}"));
            Duration::from_millis(line.trim_end_matches(" ms").trim().parse().unwrap())
        };
        assert!(took("work took") < Duration::from_secs(5), "{text}");
        assert!(took("all took") < Duration::from_secs(8), "the flush has a deadline: {text}");
    }
}
