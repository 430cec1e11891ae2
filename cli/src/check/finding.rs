//! What `check` says, in the form that `pagemesh-agent preflight` has.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kubernetes::Trouble;
use crate::output::escape;

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// It works, but somebody should look at this.
    Warn,
    /// Something does not work, or could not be looked at.
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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Finding {
    /// How good it is.
    pub(crate) level: Level,
    /// What was looked at.
    pub(crate) check: String,
    /// What was found.
    pub(crate) found: String,
    /// What to do, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Finding {
    /// All is well.
    pub(crate) fn ok(check: impl Into<String>, found: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, check: check.into(), found: found.into(), advice: None }
    }

    /// Somebody should look.
    pub(crate) fn warn(
        check: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        let advice = Some(advice.into());
        Finding { level: Level::Warn, check: check.into(), found: found.into(), advice }
    }

    /// Something does not work.
    pub(crate) fn fail(
        check: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { level: Level::Fail, ..Finding::warn(check, found, advice) }
    }

    /// It could not be looked at: nothing says that it is well, so it does not pass for that. The trouble says which right
    /// is missing, if one is.
    pub(crate) fn not_looked_at(check: impl Into<String>, trouble: &Trouble) -> Finding {
        Finding::fail(check, "not looked at", trouble.to_string())
    }
}

/// The findings as lines for people, and how many there are of each kind.
pub(crate) fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| escape(&finding.check).chars().count()).max().unwrap_or(0);
    let mut table = String::new();
    for Finding { level, check, found, advice } in findings {
        table.push_str(&format!("{level:<4}  {:<width$}  {}", escape(check), escape(found)));
        if let Some(advice) = advice {
            table.push_str(&format!(": {}", escape(advice)));
        }
        table.push('\n');
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (ok, warn, fail) = (count(Level::Ok), count(Level::Warn), count(Level::Fail));
    table + &format!("{ok} ok, {warn} warn, {fail} fail\n")
}

/// Whether nothing fails.
pub(crate) fn passes(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.level < Level::Fail)
}
