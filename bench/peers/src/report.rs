//! What a run has found, as it is printed.

use std::fmt::Write;

use pagemesh_bench::peers::{Series, middle};
use serde::Serialize;

use crate::side;

/// Percent of the processors' time that others may have taken, for a run to say anything; as for `pagemesh bench`.
const STEAL_MAX: f64 = 5.0;

/// A run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) works: Vec<Row>,
    /// Ours first.
    pub(crate) sides: Vec<About>,
    pub(crate) rounds: usize,
    /// Processors of the machine.
    pub(crate) processors: usize,
    /// Percent of the processors' time that the machine's owner gave to others.
    pub(crate) steal_percent: f64,
    /// What this machine had to do before the run: its load, as a mean over a minute. Others' programs here are not in the steal.
    pub(crate) load_before: f64,
    /// Whether the steal is too much.
    pub(crate) is_disturbed: bool,
}

/// What others have to do with the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Others {
    pub(crate) load_before: f64,
    pub(crate) steal_percent: f64,
}

/// A side.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) flags: Option<String>,
    /// Why there is nothing of it.
    pub(crate) absent: Option<String>,
}

/// What was found of a work.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// What the floor is.
    pub(crate) floor: Option<&'static str>,
    /// The median over rounds of their medians, as all microseconds here.
    pub(crate) floor_us: Option<f64>,
    pub(crate) ours_us: f64,
    /// In the order of the sides after ours; nothing of one that is absent or cannot do it.
    pub(crate) peers: Vec<Option<Cell>>,
}

/// What was found of a work and a peer.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cell {
    pub(crate) us: f64,
    /// The median over rounds of ours by the peer's.
    pub(crate) ratio: f64,
}

/// What is measured of a work and a side, or of its floor.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    series: Series,
    medians: Vec<f64>,
}

impl Measured {
    /// Takes up a round, unless that only warmed up.
    pub(crate) fn enter_if(&mut self, is_measured: bool, nanos: Vec<u64>) {
        if is_measured {
            self.medians.push(self.series.enter(nanos));
        }
    }

    /// Whether anything was measured.
    pub(crate) fn is_some(&self) -> bool {
        !self.medians.is_empty()
    }

    pub(crate) fn micros(&self) -> f64 {
        self.series.micros()
    }

    /// The median over rounds of this by the other.
    pub(crate) fn ratio_to(&self, other: &Measured) -> f64 {
        middle(self.medians.iter().zip(&other.medians).map(|(mine, theirs)| mine / theirs.max(1.0)).collect())
    }
}

impl About {
    pub(crate) fn present(about: side::About) -> About {
        let side::About { name, version, flags } = about;
        About { name: name.into(), version: Some(version), flags: Some(flags), absent: None }
    }

    pub(crate) fn absent(name: &str, reason: &anyhow::Error) -> About {
        About { name: name.into(), version: None, flags: None, absent: Some(format!("{reason:#}")) }
    }
}

impl Report {
    pub(crate) fn new(works: Vec<Row>, sides: Vec<About>, rounds: usize, others: Others) -> Report {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let Others { load_before, steal_percent } = others;
        let is_disturbed = steal_percent > STEAL_MAX;
        Report { works, sides, rounds, processors, steal_percent, load_before, is_disturbed }
    }

    /// As text.
    pub(crate) fn table(&self) -> String {
        let mut rows = vec![vec!["WORK".into(), "FLOOR µs".into(), "OURS µs".into()]];
        rows[0].extend(self.sides.iter().skip(1).map(|side| format!("{} µs (OURS / IT)", side.name)));
        for work in &self.works {
            let mut row = vec![
                work.name.into(),
                work.floor_us.map_or("-".into(), three_digits),
                three_digits(work.ours_us),
            ];
            row.extend(work.peers.iter().map(|cell| match cell {
                Some(Cell { us, ratio }) => format!("{} ({})", three_digits(*us), three_digits(*ratio)),
                None => "-".into(),
            }));
            rows.push(row);
        }
        let mut text = aligned(&rows);
        text.push('\n');
        for work in &self.works {
            let beside = work.floor.map(|floor| format!("; the floor is {floor}")).unwrap_or_default();
            let _ = writeln!(text, "{}: {}{beside}", work.name, work.what);
        }
        text.push('\n');
        for side in &self.sides {
            let _ = match (&side.version, &side.flags, &side.absent) {
                (_, _, Some(why)) => writeln!(text, "{}: {why}", side.name),
                (version, flags, None) => {
                    let [version, flags] = [version, flags].map(|part| part.as_deref().unwrap_or_default());
                    writeln!(text, "{} {version}: {flags}", side.name)
                }
            };
        }
        let _ = writeln!(
            text,
            "\n{} rounds on {} processors, of which others took {:.1} % (steal); load before: {:.1}. Only ratios of one run say \
             something.",
            self.rounds, self.processors, self.steal_percent, self.load_before
        );
        if self.is_disturbed {
            text.push_str("That is too much to say anything; try again when the machine is quieter.\n");
        }
        text
    }
}

/// Three digits of it, or two of what is small.
fn three_digits(value: f64) -> String {
    match value {
        value if value < 0.01 => format!("{value:.4}"),
        value if value < 0.1 => format!("{value:.3}"),
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// Columns, each as wide as it must be.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_within_a_round() {
        let (mut ours, mut theirs) = (Measured::default(), Measured::default());
        // The machine is ten times slower in the second round, and so are both.
        for (mine, other) in [(10, 20), (100, 200), (12, 20)] {
            ours.enter_if(true, vec![mine]);
            theirs.enter_if(true, vec![other]);
            ours.enter_if(false, vec![1]);
        }
        assert!((ours.ratio_to(&theirs) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn one_that_is_absent_is_a_sentence_and_no_number() {
        let cell = Cell { us: 123.4, ratio: 0.25 };
        let row = Row {
            name: "read",
            what: "something",
            floor: None,
            floor_us: None,
            ours_us: 30.0,
            peers: vec![Some(cell), None],
        };
        let present = |name| About::present(side::About { name, version: "1".into(), flags: "-x".into() });
        let absent = About::absent("B", &anyhow::anyhow!("no").context("cannot be had"));
        let sides = vec![present("ours"), present("A"), absent];
        let text = Report::new(vec![row], sides, 3, Others { load_before: 1.5, steal_percent: 7.0 }).table();
        let expected = [
            "read   -          30.0      123 (0.25)",
            "A 1: -x",
            "B: cannot be had: no",
            "7.0 %",
            "too much",
        ];
        for part in expected {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
