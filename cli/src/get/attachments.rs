//! `pagemesh get attachments`.

use anyhow::Result;
use pagemesh_crds::quantity;
use serde::Serialize;

use super::Answers;
use crate::agent_api::{Attachment, Status};
use crate::output::{self, Format, Table};

#[derive(Serialize)]
struct Row<'a> {
    node: &'a str,
    #[serde(flatten)]
    attachment: &'a Attachment,
}

fn access(attachment: &Attachment) -> &'static str {
    match (&attachment.revoked, attachment.read_only) {
        (Some(_), _) => "revoked",
        (None, true) => "read",
        (None, false) => "write",
    }
}

/// The attachments as text.
pub(super) fn render<'a>(answers: &Answers<'a>, format: Format) -> Result<String> {
    let on_node = |(node, status): &(&'a str, &'a Status)| {
        let node = *node;
        status.attachments.iter().map(move |attachment| Row { node, attachment })
    };
    let rows: Vec<Row<'_>> = answers.iter().flat_map(on_node).collect();
    let mut table = Table::new(&["NODE", "ID", "REGION", "ACCESS", "PID", "UID", "MAPPED", "COMMAND", "POD"]);
    for Row { node, attachment } in &rows {
        table.row([
            (*node).into(),
            attachment.id.to_string(),
            attachment.region.clone(),
            access(attachment).into(),
            attachment.pid.to_string(),
            attachment.uid.to_string(),
            quantity::format(attachment.mapped_bytes),
            attachment.command.clone(),
            attachment.pod.clone().unwrap_or_default(),
        ]);
    }
    output::render(
        format,
        &rows,
        &table,
        "no program is attached; run one with `pagemesh run --node 0 -- CMD`",
    )
}
