//! `pagemesh check`: can this machine run an agent?

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Result, anyhow};

use crate::binaries;

/// Look whether this machine can run an agent.
///
/// One line for each thing that an agent needs: ok, warn or fail, with what to do. Fails if an agent cannot run here.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pagemesh check\n  pagemesh check -o json")]
pub(crate) struct Args {
    /// How to print it.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Becomes `pagemesh-agent preflight`: whoever runs the agent must look with the agent's eyes.
pub(crate) fn check(args: &Args) -> Result<ExitCode> {
    let agent = binaries::agent()?;
    let format = match args.output {
        Format::Table => "table",
        Format::Json => "json",
    };
    let error = Command::new(&agent).args(["preflight", "-o", format]).exec();
    Err(anyhow!("{} could not be started: {error}", agent.display()))
}
