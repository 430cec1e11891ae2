//! What is printed of programs.

use serde::Serialize;

/// What the programs have cost.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppsReport {
    /// The programs.
    pub apps: Vec<AppReport>,
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

/// A run of a program.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Nodes; 1 is without pagemesh.
    pub nodes: u16,
    /// Processes that share the work.
    pub processes: u16,
    /// How long the slowest process took.
    pub seconds: f64,
    /// What all agents did meanwhile, if there were any.
    #[serde(flatten)]
    pub traffic: Option<Traffic>,
    /// The same by iteration.
    pub per_iteration: Option<PerIteration>,
}

/// What agents have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
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

impl Run {
    pub(super) fn new(
        nodes: u16,
        processes: u16,
        seconds: f64,
        traffic: Option<Traffic>,
        iterations: u64,
    ) -> Run {
        let per_iteration = traffic.map(|traffic| {
            let [messages, bytes, faults] = [traffic.messages, traffic.bytes, traffic.faults]
                .map(|count| count as f64 / iterations as f64);
            PerIteration { messages, bytes, faults }
        });
        Run { nodes, processes, seconds, traffic, per_iteration }
    }
}

impl AppsReport {
    /// Rows of a table: program, iterations, nodes, processes, seconds, and by iteration messages, bytes and faults.
    pub fn cells(&self) -> impl Iterator<Item = [String; 8]> {
        self.apps.iter().flat_map(|app| app.runs.iter().map(|run| app.cells(run)))
    }
}

impl AppReport {
    fn cells(&self, run: &Run) -> [String; 8] {
        let by_iteration = |of: fn(&PerIteration) -> f64| {
            run.per_iteration.as_ref().map_or("-".into(), |all| rounded(of(all)))
        };
        [
            format!("{} {}", self.name, self.size),
            format!("{} {}", self.iterations, self.iterations_are),
            run.nodes.to_string(),
            run.processes.to_string(),
            format!("{:.3}", run.seconds),
            by_iteration(|all| all.messages),
            by_iteration(|all| all.bytes),
            by_iteration(|all| all.faults),
        ]
    }
}

/// Three digits, or as many as there are before the point.
fn rounded(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let traffic = Traffic { messages: 110, bytes: 4_096_000, faults: 5 };
        let traffic = traffic.since(Traffic { messages: 10, bytes: 0, faults: 2 });
        let app = AppReport {
            name: "sort".into(),
            what: "bucket sort".into(),
            size: 100,
            iterations: 10,
            iterations_are: "sorts".into(),
            result: "7".into(),
            runs: vec![Run::new(1, 2, 0.5, None, 10), Run::new(2, 2, 1.25, Some(traffic), 10)],
        };
        let report = AppsReport { apps: vec![app], steal_percent: 0.0 };
        let rows: Vec<_> = report.cells().collect();
        assert_eq!(rows[0], ["sort 100", "10 sorts", "1", "2", "0.500", "-", "-", "-"]);
        assert_eq!(rows[1], ["sort 100", "10 sorts", "2", "2", "1.250", "10.0", "409600", "0.30"]);
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["apps"][0]["runs"][1]["bytes"], 4_096_000);
        assert_eq!(json["apps"][0]["runs"][1]["perIteration"]["messages"], 10.0);
        assert_eq!(json["apps"][0]["runs"][0]["perIteration"], serde_json::Value::Null);
    }
}
