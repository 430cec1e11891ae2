//! `pagemesh get stats`: what page faults cost, and what went over the network.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

use super::histogram::Histogram;
use super::metrics::{Sample, samples};
use crate::output::{self, Format, Table};

/// Kinds of faults, in the order in which they are shown. The agent may know more; they follow.
const KINDS: [&str; 3] = ["read", "write", "upgrade"];
/// The fields of [`Faults`] by the values of the agents' label `served`.
const SERVED: [&str; 3] = ["local", "home", "third"];

/// All that is shown, summed over all nodes since their agents started.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    faults: Vec<Faults>,
    messages: Vec<Messages>,
}

/// Faults of one kind.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Faults {
    kind: String,
    /// Served by the node alone.
    local: u64,
    /// Served by the page's home on another node.
    home: u64,
    /// Served by a third node.
    third: u64,
    /// How long those took that the node served alone.
    local_seconds: Quantiles,
    /// How long those took for which others were asked.
    remote_seconds: Quantiles,
}

/// Estimated from the buckets of a histogram; absent where nothing was observed.
#[derive(Default, Serialize)]
struct Quantiles {
    p50: Option<f64>,
    p99: Option<f64>,
}

/// Messages of one type between agents. What one agent sent another received, so only the sent ones are counted.
#[derive(Serialize)]
struct Messages {
    r#type: String,
    count: u64,
    bytes: u64,
}

/// The statistics as text.
pub(super) fn render(answers: &[(&str, &String)], format: Format) -> Result<String> {
    let mut all = Vec::new();
    for (node, text) in answers {
        all.extend(samples(text).with_context(|| format!("the metrics of {node} are not readable"))?);
    }
    let stats = Stats { faults: faults(&all), messages: messages(&all) };
    let (faults, messages) = (faults_table(&stats.faults), messages_table(&stats.messages));
    match format {
        Format::Table => Ok(format!("{}\n{}", faults.render(), messages.render())),
        Format::Json => output::json(&stats),
        Format::Yaml => output::yaml(&stats),
    }
}

fn faults(samples: &[Sample<'_>]) -> Vec<Faults> {
    let mut kinds: Vec<&str> = KINDS.to_vec();
    let counts = || samples.iter().filter(|sample| sample.name == "pagemesh_faults_total");
    for sample in counts() {
        if !kinds.contains(&sample.label("kind")) {
            kinds.push(sample.label("kind"));
        }
    }
    let of_kind = |kind: &&str| {
        let count = |served: &str| -> u64 {
            counts()
                .filter(|s| s.label("kind") == *kind && s.label("served") == served)
                .map(Sample::count)
                .sum()
        };
        let [local, home, third] = SERVED.map(count);
        Faults {
            kind: (*kind).into(),
            local,
            home,
            third,
            local_seconds: quantiles(samples, kind, "local"),
            remote_seconds: quantiles(samples, kind, "remote"),
        }
    };
    kinds.iter().map(of_kind).collect()
}

fn quantiles(samples: &[Sample<'_>], kind: &str, phase: &str) -> Quantiles {
    let mut histogram = Histogram::default();
    let buckets = samples.iter().filter(|sample| {
        sample.name == "pagemesh_fault_seconds_bucket"
            && sample.label("kind") == kind
            && sample.label("phase") == phase
    });
    for sample in buckets {
        // Rust reads the `+Inf` of the last bucket as what it is.
        if let Ok(bound) = sample.label("le").parse() {
            histogram.add(bound, sample.value);
        }
    }
    Quantiles { p50: histogram.quantile(0.5), p99: histogram.quantile(0.99) }
}

fn messages(samples: &[Sample<'_>]) -> Vec<Messages> {
    let mut by_type: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.label("direction") == "sent") {
        let (count, bytes) = by_type.entry(sample.label("type")).or_default();
        match sample.name {
            "pagemesh_messages_total" => *count += sample.count(),
            "pagemesh_message_bytes_total" => *bytes += sample.count(),
            _ => {}
        }
    }
    let sent = by_type.into_iter().filter(|(_, (count, _))| *count > 0);
    sent.map(|(kind, (count, bytes))| Messages { r#type: kind.into(), count, bytes }).collect()
}

fn faults_table(faults: &[Faults]) -> Table {
    let mut table = Table::new(&[
        "FAULT",
        "LOCAL",
        "HOME",
        "THIRD",
        "LOCAL P50",
        "LOCAL P99",
        "REMOTE P50",
        "REMOTE P99",
    ]);
    for row in faults {
        table.row([
            row.kind.clone(),
            row.local.to_string(),
            row.home.to_string(),
            row.third.to_string(),
            micros(row.local_seconds.p50),
            micros(row.local_seconds.p99),
            micros(row.remote_seconds.p50),
            micros(row.remote_seconds.p99),
        ]);
    }
    table
}

fn messages_table(messages: &[Messages]) -> Table {
    let mut table = Table::new(&["MESSAGE", "COUNT", "BYTES"]);
    for row in messages {
        table.row([row.r#type.clone(), row.count.to_string(), row.bytes.to_string()]);
    }
    let sum = |of: fn(&Messages) -> u64| messages.iter().map(of).sum::<u64>().to_string();
    table.row(["all".into(), sum(|row| row.count), sum(|row| row.bytes)]);
    table
}

fn micros(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".into(), |seconds| format!("{:.1}us", seconds * 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"
pagemesh_faults_total{kind="read",served="home"} 4
pagemesh_faults_total{kind="read",served="local"} 2
pagemesh_fault_seconds_bucket{kind="read",phase="remote",le="0.00001"} 0
pagemesh_fault_seconds_bucket{kind="read",phase="remote",le="0.00002"} 4
pagemesh_fault_seconds_bucket{kind="read",phase="remote",le="+Inf"} 4
pagemesh_messages_total{direction="sent",type="get"} 3
pagemesh_messages_total{direction="received",type="get"} 3
pagemesh_messages_total{direction="sent",type="ack"} 0
pagemesh_message_bytes_total{direction="sent",type="get"} 192
"#;

    #[test]
    fn nodes_add_up() {
        let text = METRICS.to_owned();
        let table = render(&[("node-0", &text), ("node-1", &text)], Format::Table).expect("a table");
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<Vec<String>> = table.lines().map(cells).collect();
        assert_eq!(lines[1], ["read", "4", "8", "0", "-", "-", "15.0us", "19.9us"]);
        assert_eq!(lines[2], ["write", "0", "0", "0", "-", "-", "-", "-"]);
        assert_eq!(lines[6], ["get", "6", "384"]);
        assert_eq!(lines[7], ["all", "6", "384"]);
    }
}
