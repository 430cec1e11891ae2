//! A collector of traces: what operator and agents export by OTLP arrives here.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tonic::{Request, Response, Status};

/// Where it listens, on all addresses of the machine that the tests run on: pods reach it by the gateway of kind's network.
pub(crate) const PORT: u16 = 4317;

/// A span that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// Its trace, in hexadecimal.
    pub(crate) trace: String,
    /// Who made it: the attribute `service.name`.
    pub(crate) service: String,
    /// Its attributes that are texts.
    pub(crate) attributes: Vec<(String, String)>,
}

/// Receives spans and keeps them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Starts to listen.
    pub(crate) async fn start() -> Result<Collector> {
        let collector = Collector::default();
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
        let listener = tokio::net::TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen for traces on {address}"))?;
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        Ok(collector)
    }

    /// All that has arrived so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for resource_spans in request.into_inner().resource_spans {
            let attributes = resource_spans.resource.map(|resource| texts(resource.attributes));
            let service = attributes.into_iter().flatten().find(|(key, _)| key == "service.name");
            let service = service.map(|(_, value)| value).unwrap_or_default();
            spans.extend(resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| {
                Span {
                    trace: span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect(),
                    service: service.clone(),

                    attributes: texts(span.attributes),
                }
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn texts(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let text = |attribute: KeyValue| match attribute.value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => Some((attribute.key, text)),
        _ => None,
    };
    attributes.into_iter().filter_map(text).collect()
}
