//! Shared memory of ours beside what else programs share data by, in the rounds of one run: MPI, Redis, memcached and NFS.
//!
//! [`work`] is what is done, [`side`] with whom, `client` by whom; [`rounds`] is the run.

mod client;
mod mesh;
mod order;
mod process;
mod report;
mod rounds;
mod side;
mod work;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use nix::sys::signal::Signal;

/// Do the same work with pagemesh, MPI, Redis, memcached and NFS, on this machine, and print how long it takes.
///
/// Starts a mesh of two nodes of its own, and each of the others without what costs it time. Every work is done in many
/// short rounds, in each by all of them; what is compared is the median over rounds of the ratio within a round.
#[derive(Debug, Parser)]
#[command(name = "pagemesh-bench-peers", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    run: Run,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Rounds of each work.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Write the result to a file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The `pagemesh` to run [default: the one beside this program, else that in PATH]
    #[arg(long, value_name = "FILE")]
    pagemesh: Option<PathBuf>,
}

/// A process of a run.
#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Measure, in a mesh that is there.
    #[command(hide = true)]
    Measure {
        #[command(flatten)]
        run: Run,
        place: PathBuf,
    },
    /// A client.
    #[command(hide = true)]
    Client { by: String },
    /// Become a server.
    #[command(hide = true)]
    Become {
        #[arg(last = true)]
        words: Vec<OsString>,
    },
    /// A process of the floor.
    #[command(hide = true)]
    BenchProcess { role: String },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pagemesh-bench-peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<ExitCode> {
    match args.part {
        None => in_own_mesh(&args.run),
        Some(Part::Measure { run, place }) => measure(&run, &place),
        Some(Part::Client { by }) => {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            client::run(serde_json::from_str(&by).context("the harness starts this by itself")?)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Part::Become { words }) => process::become_other(&words).map(|()| ExitCode::SUCCESS),
        Some(Part::BenchProcess { role }) => pagemesh_bench::play(&role).map(|()| ExitCode::SUCCESS),
    }
}

fn in_own_mesh(run: &Run) -> Result<ExitCode> {
    let mut args = vec!["measure".to_owned(), format!("--rounds={}", run.rounds)];
    if let Some(json) = &run.json {
        args.push(format!("--json={}", json.display()));
    }
    let status = mesh::run_in(run.pagemesh.as_deref(), &args)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(run: &Run, place: &Path) -> Result<ExitCode> {
    let report = rounds::measure(
        &pagemesh_bench::own_mesh::mesh_dir(place),
        &mesh::peers_dir(place),
        run.rounds as usize,
    )?;
    if let Some(file) = &run.json {
        let text = format!("{}\n", serde_json::to_string_pretty(&report)?);
        fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    std::io::stdout().write_all(report.table().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
