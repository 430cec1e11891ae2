//! `pagemesh get regions`.

use std::collections::BTreeMap;

use anyhow::Result;
use pagemesh_crds::quantity;
use serde::Serialize;

use super::Answers;
use crate::agent_api::{Pages, Region};
use crate::output::{self, Format, Table};

/// A region, and what each node has of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    namespace: &'a str,
    name: &'a str,
    size: u64,
    page_size: u64,
    consistency: &'a str,
    coherence: &'a str,
    epoch: Option<u64>,
    homes: &'a [String],
    nodes: Vec<OnNode<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OnNode<'a> {
    node: &'a str,
    ready: bool,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    pages: Pages,
    attachments: u64,
}

impl<'a> Row<'a> {
    /// All agents read the same object: what the first of them says of it holds for all.
    fn new(region: &'a Region) -> Row<'a> {
        Row {
            namespace: &region.namespace,
            name: &region.name,
            size: region.size,
            page_size: region.page_size,
            consistency: &region.consistency,
            coherence: &region.coherence,
            epoch: region.epoch,
            homes: &region.homes,
            nodes: Vec::new(),
        }
    }
}

/// The regions as text.
pub(super) fn render(answers: &Answers<'_>, format: Format) -> Result<String> {
    let mut by_name: BTreeMap<(&str, &str), Row<'_>> = BTreeMap::new();
    for (node, status) in answers {
        for region in &status.regions {
            let row = by_name.entry((&region.namespace, &region.name)).or_insert_with(|| Row::new(region));
            let (ready, pages, attachments) = (region.ready, region.pages, region.attachments);
            row.nodes.push(OnNode { node, ready, reason: region.reason.as_deref(), pages, attachments });
        }
    }
    let rows: Vec<Row<'_>> = by_name.into_values().collect();
    let mut table = Table::new(&[
        "NAMESPACE",
        "NAME",
        "SIZE",
        "PAGE",
        "CONSISTENCY",
        "COHERENCE",
        "EPOCH",
        "HOMES",
        "READY",
        "SHARED",
        "EXCLUSIVE",
        "ATTACHMENTS",
    ]);
    for row in &rows {
        let sum = |of: fn(&OnNode<'_>) -> u64| row.nodes.iter().map(of).sum::<u64>().to_string();
        let ready = row.nodes.iter().filter(|on| on.ready).count();
        table.row([
            row.namespace.into(),
            row.name.into(),
            quantity::format(row.size),
            quantity::format(row.page_size),
            row.consistency.into(),
            row.coherence.into(),
            row.epoch.map_or_else(|| "-".into(), |epoch| epoch.to_string()),
            row.homes.join(","),
            format!("{ready}/{}", answers.len()),
            sum(|on| on.pages.shared),
            sum(|on| on.pages.exclusive),
            sum(|on| on.attachments),
        ]);
    }
    output::render(
        format,
        &rows,
        &table,
        "there is no region; declare one with `pagemesh dev --region NAME=SIZE`",
    )
}
