//! `pagemesh-agent`: puts the parts together, and takes them apart in order.

mod agent;
mod args;
mod cluster;
mod goodbye;
mod on_files;
mod on_kubernetes;
mod shards;
mod start_up;
mod take_over;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pagemesh_agent::preflight;
use pagemesh_agent::shard::monotonic_nanos;
use pagemesh_telemetry::{Format, Settings};
use tracing::{error, warn};

use args::{Args, LogFormat, PreflightArgs, PreflightFormat, RunArgs, Source, Subcommand};

/// How long to wait at the end for threads that the kernel holds up.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match Args::parse() {
        Args { command: Some(Subcommand::Preflight(args)), .. } => report(&args),
        Args { command: None, run: Some(args) } => run(&args),
        Args { command: None, run: None } => unreachable!("clap asks for one or the other"),
    }
}

fn report(args: &PreflightArgs) -> ExitCode {
    let findings = preflight::evaluate(&preflight::gather(&args.memory_dir));
    let text = match args.output {
        PreflightFormat::Table => preflight::table(&findings),
        PreflightFormat::Json => preflight::json(&findings),
    };
    // Whoever does not want the whole report still wants the exit status.
    let _ = io::stdout().write_all(text.as_bytes());
    if preflight::passes(&findings) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(args: &RunArgs) -> ExitCode {
    let settings = Settings {
        level: args.log,
        format: match args.log_format {
            LogFormat::Human => Format::Human,
            LogFormat::Json => Format::Json,
        },
        service_name: "pagemesh-agent",
        instance: args.name.clone(),
    };
    let _telemetry = match pagemesh_telemetry::start(&settings) {
        Ok(guard) => guard,
        Err(error) => {
            // There is no log to write to.
            eprintln!("pagemesh-agent: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    raise_descriptor_limit();
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &RunArgs) -> Result<()> {
    let begun_nanos = monotonic_nanos();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let result = match args.source() {
        Source::Files { id, objects } => runtime.block_on(on_files::run(args, id, objects, begun_nanos)),
        Source::Kubernetes { identity, advertise } => {
            runtime.block_on(on_kubernetes::run(args, identity, advertise, begun_nanos))
        }
    };
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result
}

/// Every attachment takes some descriptors, and shells and service managers set the soft limit for another age.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!(%error, "cannot raise RLIMIT_NOFILE to its hard limit");
    }
}
