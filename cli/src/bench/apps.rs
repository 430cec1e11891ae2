//! `pagemesh bench apps`: what programs cost whose processes are on different nodes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use pagemesh_bench::apps::{self, AppsReport, Choice, MeasuredMesh, Traffic};

use super::{NODES, declaration, in_mesh_of};
use crate::get::metrics::samples;
use crate::mesh::{DirArg, Mesh};
use crate::output::{self, Table};
use crate::{binaries, run};

/// Measure what whole programs cost when each of their processes is on another node.
///
/// The programs are written for processes that share memory on one machine, and know nothing of pagemesh. Each runs with two and
/// with three processes, on one node without pagemesh and then one on each node of a mesh that is started for it. All results must
/// be the same, and that of one process that shares nothing. RATIO is the time on several nodes by that on one. MESSAGES, BYTES and
/// FAULTS are by iteration: of all agents together, while the programs run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Programs:
  jacobi   Jacobi's iteration on a grid; SIZE cells a side, ITERATIONS sweeps
  matrix   multiplication of matrices; SIZE rows, ITERATIONS products
  tsp      shortest round trip by branch and bound; SIZE cities, ITERATIONS searches
  sort     bucket sort of integers; SIZE keys, ITERATIONS sorts
  index    hash index, 95 % look-ups; SIZE keys, ITERATIONS operations

Examples:
  pagemesh bench apps
  pagemesh bench apps jacobi tsp=12
  pagemesh bench apps sort=1000000,3 --json result.json")]
pub(super) struct Args {
    /// Programs [default: all of them].
    #[arg(value_name = "APP[=SIZE[,ITERATIONS]]")]
    apps: Vec<Choice>,
    /// Rounds of each; medians are shown.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Write the result to a file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    dir: DirArg,
}

/// Measures.
pub(super) fn apps(args: &Args) -> Result<ExitCode> {
    let program = binaries::apps()?;
    let choices = if args.apps.is_empty() { Choice::all().collect() } else { args.apps.clone() };
    if !args.dir.is_given() {
        return in_own_mesh(args, &program, &choices);
    }
    let mesh = Mesh::find(args.dir.resolve()?)?;
    if mesh.nodes < NODES {
        bail!(
            "the mesh has {} nodes, and {NODES} are needed; run `pagemesh bench apps` without --dir",
            mesh.nodes
        );
    }
    let report = apps::run(&program, &choices, usize::from(args.rounds), &Measured(mesh))?;
    if let Some(file) = &args.json {
        fs::write(file, output::json(&report)?)
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    print(&report)
}

/// In a mesh that is there for this.
fn in_own_mesh(args: &Args, program: &Path, choices: &[Choice]) -> Result<ExitCode> {
    let regions = apps::regions(program, choices)?;
    let declared: String = regions
        .iter()
        .map(|region| declaration(&region.name, &region.bytes.to_string(), "WriteInvalidate", &region.homes))
        .collect();
    let mut arguments: Vec<OsString> = vec!["apps".into(), "--rounds".into(), args.rounds.to_string().into()];
    arguments.extend(choices.iter().map(|choice| choice.to_string().into()));
    if let Some(json) = &args.json {
        arguments.extend(["--json".into(), json.into()]);
    }
    in_mesh_of(&declared, &arguments)
}

fn print(report: &AppsReport) -> Result<ExitCode> {
    let mut table = Table::new(&[
        "APP",
        "ITERATIONS",
        "NODES",
        "PROCESSES",
        "SECONDS",
        "RATIO",
        "MESSAGES",
        "BYTES",
        "FAULTS",
    ]);
    report.cells().for_each(|cells| table.row(cells));
    output::print(&table.render())?;
    output::print(&format!(
        "{} rounds, and all results are the same; others took {:.1} % of the processors\n",
        report.rounds, report.steal_percent
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// A mesh of `pagemesh dev`.
struct Measured(Mesh);

impl MeasuredMesh for Measured {
    fn attached(&self, node: u16, program: &Path) -> Result<Command> {
        run::attached(&self.0, node, program.as_os_str())
    }

    fn traffic(&self) -> Result<Traffic> {
        let mut all = Traffic::default();
        for agent in self.0.agents()? {
            let agent = agent.context("an agent of the mesh is not up")?;
            add(&mut all, &agent.metrics()?)
                .with_context(|| format!("the metrics of {} are not readable", agent.name))?;
        }
        Ok(all)
    }
}

/// Adds what an agent has counted. What one agent sent another received, so only the sent messages count.
fn add(all: &mut Traffic, metrics: &str) -> Result<()> {
    for sample in samples(metrics)? {
        match (sample.name, sample.label("direction")) {
            ("pagemesh_messages_total", "sent") => all.messages += sample.count(),
            ("pagemesh_message_bytes_total", "sent") => all.bytes += sample.count(),
            ("pagemesh_faults_total", _) => all.faults += sample.count(),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_add_up() {
        let metrics = r#"
pagemesh_faults_total{kind="read",served="home"} 4
pagemesh_faults_total{kind="upgrade",served="local"} 2
pagemesh_messages_total{direction="sent",type="get"} 3
pagemesh_messages_total{direction="received",type="get"} 5
pagemesh_message_bytes_total{direction="sent",type="get"} 192
pagemesh_message_bytes_total{direction="received",type="get"} 320
"#;
        let mut all = Traffic::default();
        add(&mut all, metrics).expect("metrics");
        add(&mut all, metrics).expect("metrics");
        assert_eq!(all, Traffic { messages: 6, bytes: 384, faults: 12 });
        assert!(add(&mut all, "what is that").is_err());
    }
}
