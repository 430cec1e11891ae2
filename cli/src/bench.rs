//! `pagemesh bench`: what sharing memory costs here.

mod apps;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use pagemesh_bench::own_mesh::Place;
use pagemesh_bench::{Needed, Options, REGIONS, Report};
use pagemesh_crds::NAMESPACE_DEFAULT;

use crate::mesh::{DirArg, Mesh, node_name};
use crate::output::{self, Table};

/// Nodes that take part.
const NODES: u16 = 3;

/// Measure what remote loads, stores and hand-overs cost here, beside what the bare kernel and network cost.
///
/// Starts a mesh of three nodes of its own. Every workload is done in many short rounds, each right after a round of what it is
/// compared with, and the ratio is the median over rounds. RATIO is ours by the floor's; of a stream, the floor's time by ours.
/// Fails if a ratio misses its limit, unless others took so much of the machine that nothing can be said.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  pagemesh bench
  pagemesh bench remote-read hand-over --rounds 50
  pagemesh bench --json result.json
  pagemesh bench apps"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    of: Option<Of>,
    /// Workloads [default: all of them].
    #[arg(value_name = "WORKLOAD", value_parser = clap::builder::PossibleValuesParser::new(pagemesh_bench::NAMES))]
    workloads: Vec<String>,
    /// Rounds of each.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Write the result to a file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Another program that measures the same floor, and prints `{"setups": {"free_block": {"remote_fault_us": ..,
    /// "remote_upgrade_us": ..}}}` when it is called with `1 256`: say whether the two agree.
    #[arg(long, value_name = "PROGRAM")]
    limits: Option<PathBuf>,
    #[command(flatten)]
    dir: DirArg,
}

#[derive(Debug, clap::Subcommand)]
enum Of {
    Apps(apps::Args),
}

/// Measures.
pub(crate) fn bench(args: &Args) -> Result<ExitCode> {
    if let Some(Of::Apps(args)) = &args.of {
        return apps::apps(args);
    }
    if !args.dir.is_given() {
        return in_own_mesh(args);
    }
    let mesh = Mesh::find(args.dir.resolve()?)?;
    if mesh.nodes < NODES {
        bail!(
            "the mesh has {} nodes, and {NODES} are needed; run `pagemesh bench` without --dir",
            mesh.nodes
        );
    }
    let sockets = (0..NODES).map(|node| mesh.node(node).map(|dir| dir.join("agent.sock")));
    let options = Options {
        sockets: sockets.collect::<Result<_>>()?,
        rounds: args.rounds as usize,
        limits: args.limits.clone(),
        workloads: args.workloads.clone(),
    };
    let report = pagemesh_bench::run(&options)
        .context("the mesh cannot be measured; `pagemesh bench` without --dir starts one that can")?;
    if let Some(file) = &args.json {
        fs::write(file, output::json(&report)?)
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    print(&report)
}

fn print(report: &Report) -> Result<ExitCode> {
    let mut floor = Table::new(&[
        "FLOOR",
        "TCP 64 µs",
        "TCP 4K µs",
        "LOCAL µs",
        "REMOTE µs",
        "UPGRADE µs",
        "STREAM GB/s",
    ]);
    report.floor_cells().for_each(|cells| floor.row(cells));
    output::print(&floor.render())?;
    for limits in &report.limits {
        let verdict = if limits.agrees { "they agree" } else { "they do NOT agree" };
        output::print(&format!(
            "{}: {:.1} µs here, {:.1} µs by the other program, {:+.0} %: {verdict}\n",
            limits.what, limits.here_us, limits.there_us, limits.apart_percent
        ))?;
    }
    output::print("\n")?;
    let mut table = Table::new(&["WORKLOAD", "UNIT", "OURS", "P99", "BESIDE", "RATIO", "LIMIT", ""]);
    report.cells().for_each(|cells| table.row(cells));
    output::print(&table.render())?;
    output::print(&format!(
        "{} rounds; others took {:.1} % of the processors\n",
        report.rounds, report.steal_percent
    ))?;
    if report.disturbed {
        eprintln!("pagemesh: that is too much to say anything; try again when the machine is quieter");
        return Ok(ExitCode::SUCCESS);
    }
    let missed = report.rows.iter().any(|row| row.good == Some(false));
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// In a mesh that is there for this.
fn in_own_mesh(args: &Args) -> Result<ExitCode> {
    let mut arguments: Vec<OsString> = vec!["--rounds".into(), args.rounds.to_string().into()];
    arguments.extend(args.workloads.iter().map(OsString::from));
    if let Some(json) = &args.json {
        arguments.extend(["--json".into(), json.into()]);
    }
    if let Some(limits) = &args.limits {
        arguments.extend(["--limits".into(), limits.into()]);
    }
    let declared: String = REGIONS.iter().map(of_needed).collect();
    in_mesh_of(&declared, &arguments)
}

/// Runs `bench` with these arguments once more, in a mesh that has these regions and ends with it.
fn in_mesh_of(declared: &str, arguments: &[OsString]) -> Result<ExitCode> {
    let own = std::env::current_exe().context("this program does not find itself")?;
    let place = Place::make("pagemesh-bench")?;
    let mut command: Vec<OsString> = vec![own.clone().into(), "bench".into()];
    command.extend_from_slice(arguments);
    command.extend(["--dir".into(), place.mesh().into()]);
    let status = place.run(&own, NODES, declared, command)?;
    Ok(crate::exit::code_of_status(status))
}

fn of_needed(needed: &Needed) -> String {
    let Needed { name, size, coherence, home } = needed;
    declaration(name, size, coherence, &[*home])
}

/// A region that is measured in.
fn declaration(name: &str, size: &str, coherence: &str, homes: &[u16]) -> String {
    let homes: Vec<String> = homes.iter().map(|node| format!("{{agent: {}}}", node_name(*node))).collect();
    format!(
        "---\napiVersion: pagemesh.io/v1alpha1\nkind: Region\nmetadata: {{name: {name}, namespace: {NAMESPACE_DEFAULT}}}\n\
         spec: {{size: {size}, coherence: {coherence}}}\nstatus: {{placement: {{epoch: 1, homes: [{}]}}}}\n",
        homes.join(", ")
    )
}
