//! A trace that goes on in another process.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Span, debug};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

/// Longest text that is looked at: versions after 00 may be longer than the 55 bytes of that one, by little.
const TRACEPARENT_BYTES_MAX: usize = 256;

/// The current span as a W3C `traceparent`; `None` when no trace is made.
#[must_use]
pub fn current_traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes `span` a child of the one that `traceparent` names, which another process has begun. To be called before the span
/// is entered. A text that is none, as anybody may write into an annotation, changes nothing.
pub fn continue_from(span: &Span, traceparent: &str) {
    if traceparent.len() > TRACEPARENT_BYTES_MAX {
        return;
    }
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&carrier);
    if !context.span().span_context().is_valid() {
        return;
    }
    // Fails when no trace is made, and when the span has begun already.
    if let Err(error) = span.set_parent(context) {
        debug!(%error, "a span does not continue its trace");
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::subscriber::with_default;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn traced<T>(test: impl FnOnce() -> T) -> T {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        with_default(Registry::default().with(tracing_opentelemetry::layer().with_tracer(tracer)), test)
    }

    /// The trace that a span belongs to after it was told to continue `traceparent`.
    fn trace_of(traceparent: &str) -> String {
        let span = tracing::info_span!("work");
        continue_from(&span, traceparent);
        let own = span.in_scope(|| current_traceparent().expect("traces are made"));
        own.split('-').nth(1).expect("a traceparent has four parts").to_owned()
    }

    #[test]
    fn a_span_continues_a_trace() {
        traced(|| {
            let span = tracing::info_span!("work");
            continue_from(&span, GIVEN);
            let own = span.in_scope(|| current_traceparent().unwrap());
            assert_eq!(own[..36], GIVEN[..36], "same version and trace");
            assert_ne!(own, GIVEN, "another span");
            assert!(own.ends_with("-01"), "sampled, as its parent is: {own}");
        });
    }

    #[test]
    fn what_is_no_traceparent_is_ignored() {
        traced(|| {
            let long = format!("01-{}", "a-".repeat(500));
            let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
            for bad in [
                "",
                "-",
                "00",
                "ü",
                "00-xyz-b7ad6b7169203331-01",
                &GIVEN[3..],
                &GIVEN.to_uppercase(),
                zero,
                &long,
            ] {
                let trace = trace_of(bad);
                assert!(!bad.contains(&trace), "{bad:?}");
                assert_ne!(trace, "0".repeat(32), "{bad:?} must leave a trace of its own");
            }
        });
    }

    #[test]
    fn without_traces_there_is_nothing_to_hand_on() {
        let span = tracing::info_span!("work");
        continue_from(&span, GIVEN);
        assert_eq!(span.in_scope(current_traceparent), None);
    }
}
