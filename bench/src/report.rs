//! What is printed.

use serde::Serialize;

use crate::floor::table::FloorRow;
use crate::limits::Agreement;

/// Percent of the processors' time that others may have taken for a verdict to be given.
pub(crate) const STEAL_MAX: f64 = 5.0;

/// What a run has found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What the bare kernel and network cost.
    pub floor: Vec<FloorRow>,
    /// How another program's floor compares with it, if there was one.
    pub limits: Vec<Agreement>,
    /// Workloads, in the order in which they are listed.
    pub rows: Vec<Row>,
    /// Rounds of each.
    pub rounds: usize,
    /// Percent of the processors' time that the machine's owner gave to others.
    pub steal_percent: f64,
    /// That was too much for a verdict.
    pub disturbed: bool,
}

/// A workload.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What it is.
    pub what: String,
    /// What it is compared with.
    pub beside: String,
    /// What is measured: `µs` or `times`.
    pub unit: String,
    /// So much of what it is compared with: the median over rounds of their medians.
    pub beside_median: f64,
    /// So much of ours, in the same way.
    pub ours_median: f64,
    /// What 99 of 100 of ours do not exceed.
    pub ours_p99: f64,
    /// The median over rounds of ours by that, or, of rates, of that by ours.
    pub ratio: f64,
    /// More is better.
    pub is_rate: bool,
    /// What the ratio may be at most, or, of rates, must be at least.
    pub limit: Option<f64>,
    /// Whether it is.
    pub good: Option<bool>,
}

impl Report {
    /// Rows of a table of the floor: setup, TCP 64 B, TCP 4 KiB, local fault, remote fault, remote upgrade, stream.
    pub fn floor_cells(&self) -> impl Iterator<Item = [String; 7]> {
        self.floor.iter().map(|row| {
            let [a, b, c, d, e] = [
                row.tcp_64_us,
                row.tcp_4k_us,
                row.local_fault_us,
                row.remote_fault_us,
                row.remote_upgrade_us,
            ]
            .map(|value| format!("{value:.1}"));
            [row.setup.clone(), a, b, c, d, e, format!("{:.2}", row.stream_gbps)]
        })
    }

    /// Rows of a table: name, unit, ours, p99, what it is compared with, ratio, limit, verdict.
    pub fn cells(&self) -> impl Iterator<Item = [String; 8]> {
        self.rows.iter().map(|row| {
            let verdict = match row.good {
                Some(true) => "ok",
                Some(false) => "MISSED",
                None if row.limit.is_some() => "?",
                None => "",
            };
            let value = |value: f64| if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") };
            let bound = if row.is_rate { "≥" } else { "≤" };
            [
                row.name.clone(),
                row.unit.clone(),
                value(row.ours_median),
                value(row.ours_p99),
                format!("{} ({})", value(row.beside_median), row.beside),
                format!("{:.2}", row.ratio),
                row.limit.map(|limit| format!("{bound} {limit:.2}")).unwrap_or_default(),
                verdict.into(),
            ]
        })
    }
}
