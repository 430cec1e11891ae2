//! Traces by OTLP.

use anyhow::{Result, ensure};

use crate::scene::Scene;
use crate::wait::{EVENTUALLY, Seen, until};

pub(super) async fn one_trace_spans_operator_and_agent(scene: &Scene) -> Result<()> {
    scene.region("table", "size: 1Mi, homes: 2").await?;
    scene.ready("table").await?;
    let collector = crate::install::collector().await?;
    let region = format!("{}/table", scene.namespace);
    let about_it = |span: &&crate::collector::Span| span.attributes.iter().any(|(_, value)| *value == region);
    let agents = until("a trace of both", EVENTUALLY, async || {
        let spans = collector.spans();
        let of = |service: &str| {
            spans.iter().filter(|s| s.service == service).filter(about_it).cloned().collect::<Vec<_>>()
        };
        let (operator, agent) = (of("pagemesh-operator"), of("pagemesh-agent"));
        let joined: Vec<_> =
            agent.iter().filter(|a| operator.iter().any(|o| o.trace == a.trace)).cloned().collect();
        if joined.is_empty() {
            return Ok(Seen::NotYet(format!(
                "{} spans in all; operator {operator:?}; agent {agent:?}",
                spans.len()
            )));
        }
        Ok(Seen::Yes(joined))
    })
    .await?;
    ensure!(agents.iter().all(|span| span.trace.len() == 32), "{agents:?}");
    Ok(())
}
