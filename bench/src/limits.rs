//! Another program that measures the same floor, for whoever does not believe this one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::floor::table::FloorRow;
use crate::series::middle;

/// Percent by which two floors may differ for them to agree.
const APART_MAX: f64 = 10.0;

/// What it prints: a line of JSON.
#[derive(Debug, Deserialize)]
struct Printed {
    setups: Setups,
}

#[derive(Debug, Deserialize)]
struct Setups {
    free_block: Setup,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Setup {
    remote_fault_us: f64,
    remote_upgrade_us: f64,
}

/// How the other program's floor compares with this one's.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Agreement {
    /// What was measured.
    pub what: String,
    /// Microseconds, by this program.
    pub here_us: f64,
    /// Microseconds, by the other.
    pub there_us: f64,
    /// Percent of the other by which this is more or less.
    pub apart_percent: f64,
    /// Whether that is little enough.
    pub agrees: bool,
}

/// The other program, and what it has found so far.
#[derive(Debug)]
pub(crate) struct Limits {
    program: PathBuf,
    found: Vec<Setup>,
}

impl Limits {
    pub(crate) fn new(program: &Path) -> Limits {
        Limits { program: program.to_owned(), found: Vec::new() }
    }

    /// Has it measure once, for as short as it can.
    pub(crate) fn round(&mut self) -> Result<()> {
        let shown = self.program.display();
        let output = Command::new(&self.program).args(["1", "256"]).output().with_context(|| {
            format!("{shown} cannot be started; name a program that prints a line of JSON")
        })?;
        ensure!(
            output.status.success(),
            "{shown} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let printed: Printed = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{shown} does not print `setups.free_block.remote_fault_us` in JSON"))?;
        self.found.push(printed.setups.free_block);
        Ok(())
    }

    pub(crate) fn agreements(&self, floor: &FloorRow) -> Vec<Agreement> {
        let there = |of: fn(&Setup) -> f64| middle(self.found.iter().map(of).collect());
        let agreement = |what: &str, here_us: f64, there_us: f64| {
            let apart_percent = (here_us / there_us - 1.0) * 100.0;
            Agreement {
                what: what.into(),
                here_us,
                there_us,
                apart_percent,
                agrees: apart_percent.abs() <= APART_MAX,
            }
        };
        vec![
            agreement("free_block.remote_fault", floor.remote_fault_us, there(|setup| setup.remote_fault_us)),
            agreement(
                "free_block.remote_upgrade",
                floor.remote_upgrade_us,
                there(|setup| setup.remote_upgrade_us),
            ),
        ]
    }
}
