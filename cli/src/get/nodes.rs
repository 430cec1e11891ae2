//! `pagemesh get nodes`.

use anyhow::Result;
use serde::Serialize;

use super::Node;
use crate::agent_api::{AgentInfo, Status};
use crate::output::{self, Format, Table};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    name: &'a str,
    state: State,
    /// Why, when it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a AgentInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    peers_connected: usize,
    peers: usize,
    attachments: usize,
}

#[derive(Clone, Copy, Debug, Serialize)]
enum State {
    /// It serves, and is connected to all peers.
    Ready,
    /// It serves, but a peer is missing.
    Alone,
    /// It does not answer.
    Silent,
}

/// The nodes as text.
pub(super) fn render(nodes: &[Node<Status>], format: Format) -> Result<String> {
    let rows: Vec<Row<'_>> = nodes.iter().map(row).collect();
    let mut table =
        Table::new(&["NAME", "STATUS", "PEERS", "ATTACHMENTS", "ADDRESS", "HTTP", "PID", "VERSION"]);
    for row in &rows {
        let of_agent = |tell: fn(&AgentInfo) -> String| row.agent.map_or_else(|| "-".into(), tell);
        table.row([
            row.name.into(),
            format!("{:?}", row.state),
            format!("{}/{}", row.peers_connected, row.peers),
            row.attachments.to_string(),
            of_agent(|agent| agent.listen.to_string()),
            of_agent(|agent| agent.http.to_string()),
            of_agent(|agent| agent.pid.to_string()),
            row.version.unwrap_or("-").into(),
        ]);
    }
    output::render(format, &rows, &table, "the mesh has no node")
}

fn row(node: &Node<Status>) -> Row<'_> {
    let agent = node.agent.as_ref();
    let name = node.name.as_str();
    match &node.answer {
        Ok(status) => {
            let missing: Vec<&str> =
                status.peers.iter().filter(|peer| !peer.connected).map(|peer| peer.name.as_str()).collect();
            Row {
                name,
                state: if missing.is_empty() { State::Ready } else { State::Alone },
                reason: (!missing.is_empty()).then(|| format!("not connected to {}", missing.join(", "))),
                agent,
                version: Some(&status.version),
                peers_connected: status.peers.len() - missing.len(),
                peers: status.peers.len(),
                attachments: status.attachments.len(),
            }
        }
        Err(error) => Row {
            name,
            state: State::Silent,
            reason: Some(format!("{error:#}")),
            agent,
            version: None,
            peers_connected: 0,
            peers: 0,
            attachments: 0,
        },
    }
}
