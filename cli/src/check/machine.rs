//! `pagemesh check` of this machine.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Result, anyhow};

use super::Format;
use crate::binaries;

/// Becomes `pagemesh-agent preflight`: whoever runs the agent must look with the agent's eyes.
pub(super) fn check(format: Format) -> Result<ExitCode> {
    let agent = binaries::agent()?;
    let format = match format {
        Format::Table => "table",
        Format::Json => "json",
    };
    let error = Command::new(&agent).args(["preflight", "-o", format]).exec();
    Err(anyhow!("{} could not be started: {error}", agent.display()))
}
