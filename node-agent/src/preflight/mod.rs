//! `pagemesh-agent preflight`: can an agent run here? One line for each thing that it needs, with what to do.
//!
//! `facts` looks at the machine, `evaluate` judges what was found: only the first does I/O.

mod evaluate;
mod facts;
mod limits;
mod mounts;

use std::fmt;

use serde::Serialize;

pub use evaluate::evaluate;
pub use facts::{DeviceTrouble, Facts, MemoryDir, UffdFeature, Userfaultfd, gather};

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// An agent runs, but somebody should look at this.
    Warn,
    /// No agent can run.
    Fail,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        })
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How good it is.
    pub level: Level,
    /// What was looked at.
    pub check: String,
    /// What was found.
    pub found: String,
    /// What to do, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// A finding that no agent can run with. `found` says what to do as well.
#[must_use]
pub fn failure(check: &str, found: String) -> Finding {
    Finding { level: Level::Fail, check: check.into(), found, advice: None }
}

/// The report as lines for people.
#[must_use]
pub fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    let mut table = String::new();
    for Finding { level, check, found, advice } in findings {
        table.push_str(&format!("{level:<4}  {check:<width$}  {found}"));
        if let Some(advice) = advice {
            table.push_str(&format!(": {advice}"));
        }
        table.push('\n');
    }
    table
}

/// The report for programs.
///
/// # Panics
///
/// Never: a list of findings can always be written as JSON.
#[must_use]
pub fn json(findings: &[Finding]) -> String {
    let mut json = serde_json::to_string_pretty(findings).expect("findings are text");
    json.push('\n');
    json
}

/// Whether an agent can run.
#[must_use]
pub fn passes(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.level < Level::Fail)
}
