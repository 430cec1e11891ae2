//! What is printed of programs.

use serde::Serialize;

use crate::series::middle;

/// What the programs have cost.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppsReport {
    /// The programs.
    pub apps: Vec<AppReport>,
    /// How often each was run.
    pub rounds: usize,
    /// Percent of the processors' time that the machine's owner gave to others.
    pub steal_percent: f64,
}

/// What a program has cost.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppReport {
    /// Its name.
    pub name: String,
    /// What it is.
    pub what: String,
    /// How much it had to do.
    pub size: u64,
    /// How often.
    pub iterations: u64,
    /// What an iteration is, of which there are several.
    pub iterations_are: String,
    /// A digest of the result, the same for all runs and for one process that shares nothing.
    pub result: String,
    /// Its runs: each number of processes first on one node without pagemesh, then each process on a node of its own.
    pub runs: Vec<Run>,
}

/// A program on so many nodes: medians over all rounds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Nodes; 1 is without pagemesh.
    pub nodes: u16,
    /// Processes that share the work.
    pub processes: u16,
    /// How long the slowest process took.
    pub seconds: f64,
    /// That by the time of as many processes on one node in the same round.
    pub ratio: Option<f64>,
    /// What all agents did meanwhile, if there were any.
    pub per_iteration: Option<PerIteration>,
}

/// What agents have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages between agents.
    pub messages: u64,
    /// Their bytes, pages included.
    pub bytes: u64,
    /// Page faults that agents served.
    pub faults: u64,
}

/// The same, by iteration.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PerIteration {
    /// Messages between agents.
    pub messages: f64,
    /// Their bytes, pages included.
    pub bytes: f64,
    /// Page faults that agents served.
    pub faults: f64,
}

impl Traffic {
    pub(super) fn since(self, before: Traffic) -> Traffic {
        Traffic {
            messages: self.messages.saturating_sub(before.messages),
            bytes: self.bytes.saturating_sub(before.bytes),
            faults: self.faults.saturating_sub(before.faults),
        }
    }
}

/// A program once on one node and once on several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) plain_seconds: f64,
    pub(super) seconds: f64,
    pub(super) traffic: Traffic,
}

/// What is reported of these rounds: of one node, and of so many.
pub(super) fn runs(nodes: u16, iterations: u64, rounds: &[Round]) -> [Run; 2] {
    let median = |of: &dyn Fn(&Round) -> f64| middle(rounds.iter().map(of).collect());
    let by_iteration = |of: fn(Traffic) -> u64| median(&|round| of(round.traffic) as f64 / iterations as f64);
    let per_iteration = PerIteration {
        messages: by_iteration(|all| all.messages),
        bytes: by_iteration(|all| all.bytes),
        faults: by_iteration(|all| all.faults),
    };
    let run = |nodes_of, seconds| Run {
        nodes: nodes_of,
        processes: nodes,
        seconds,
        ratio: None,
        per_iteration: None,
    };
    [
        run(1, median(&|round| round.plain_seconds)),
        Run {
            ratio: Some(median(&|round| round.seconds / round.plain_seconds.max(1e-9))),
            per_iteration: Some(per_iteration),
            ..run(nodes, median(&|round| round.seconds))
        },
    ]
}

impl AppsReport {
    /// Rows of a table: program, iterations, nodes, processes, seconds, ratio, and by iteration messages, bytes and faults.
    pub fn cells(&self) -> impl Iterator<Item = [String; 9]> {
        self.apps.iter().flat_map(|app| app.runs.iter().map(|run| app.cells(run)))
    }
}

impl AppReport {
    fn cells(&self, run: &Run) -> [String; 9] {
        let by_iteration = |of: fn(&PerIteration) -> f64| {
            run.per_iteration.as_ref().map_or("-".into(), |all| rounded(of(all)))
        };
        [
            format!("{} {}", self.name, self.size),
            format!("{} {}", self.iterations, self.iterations_are),
            run.nodes.to_string(),
            run.processes.to_string(),
            format!("{:.3}", run.seconds),
            run.ratio.map_or("-".into(), rounded),
            by_iteration(|all| all.messages),
            by_iteration(|all| all.bytes),
            by_iteration(|all| all.faults),
        ]
    }
}

/// Three digits, or as many as there are before the point.
fn rounded(value: f64) -> String {
    let digits = [100.0, 10.0, 1.0].into_iter().filter(|limit| value < *limit).count();
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let before = Traffic { messages: 10, bytes: 0, faults: 2 };
        let round = |seconds: f64, messages: u64| Round {
            plain_seconds: 0.5,
            seconds,
            traffic: Traffic { messages, bytes: 4_096_000, faults: 5 }.since(before),
        };
        let app = AppReport {
            name: "sort".into(),
            what: "bucket sort".into(),
            size: 100,
            iterations: 10,
            iterations_are: "sorts".into(),
            result: "7".into(),
            runs: runs(2, 10, &[round(1.25, 110), round(9.0, 10), round(1.0, 900)]).into(),
        };
        let report = AppsReport { apps: vec![app], rounds: 3, steal_percent: 0.0 };
        let rows: Vec<_> = report.cells().collect();
        assert_eq!(rows[0], ["sort 100", "10 sorts", "1", "2", "0.500", "-", "-", "-", "-"]);
        assert_eq!(rows[1], ["sort 100", "10 sorts", "2", "2", "1.250", "2.50", "10.0", "409600", "0.300"]);
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["apps"][0]["runs"][1]["perIteration"]["bytes"], 409_600.0);
        assert_eq!(json["apps"][0]["runs"][0]["perIteration"], serde_json::Value::Null);
    }
}
