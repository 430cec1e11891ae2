//! `pagemesh check` of this machine.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use super::finding::Finding;
use crate::output::{self, Format};
use crate::{binaries, exit};

/// Becomes `pagemesh-agent preflight`: whoever runs the agent must look with the agent's eyes.
pub(super) fn check(format: Format) -> Result<ExitCode> {
    let agent = binaries::agent()?;
    let format = match format {
        Format::Table => "table",
        Format::Json => "json",
        Format::Yaml => return as_yaml(&agent),
    };
    let error = preflight(&agent, format).exec();
    Err(error).with_context(|| not_started(&agent))
}

/// The agent itself writes no YAML.
fn as_yaml(agent: &Path) -> Result<ExitCode> {
    let output = preflight(agent, "json").stderr(Stdio::inherit()).output();
    let output = output.with_context(|| not_started(agent))?;
    let findings: Vec<Finding> = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("{} does not say what it has found; use the one of this version", agent.display())
    })?;
    output::print(&output::yaml(&findings)?)?;
    Ok(exit::code_of_status(output.status))
}

fn preflight(agent: &Path, format: &str) -> Command {
    let mut command = Command::new(agent);
    command.args(["preflight", "-o", format]);
    command
}

fn not_started(agent: &Path) -> String {
    format!("{} could not be started", agent.display())
}
