//! `pagemesh get`: what there is in a mesh, as its agents tell.

mod attachments;
mod histogram;
pub(crate) mod metrics;
mod nodes;
mod regions;
mod stats;

use std::process::ExitCode;

use anyhow::Result;

use crate::agent_api::{AgentInfo, Status};
use crate::mesh::{DirArg, Mesh, node_name};
use crate::output::{self, Format};

/// Show what there is in the mesh.
///
/// nodes: the agents and whether they reach each other. regions: the shared memory. attachments: the programs that
/// use it. stats: page faults by kind with how long they took, and bytes moved, since each agent started.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pagemesh get nodes
  pagemesh get regions -o yaml
  pagemesh get stats --dir /tmp/mesh")]
pub(crate) struct Args {
    /// What to show.
    #[arg(value_name = "WHAT")]
    what: What,
    #[command(flatten)]
    dir: DirArg,
    /// How to print it.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    #[value(alias = "node")]
    Nodes,
    #[value(alias = "region")]
    Regions,
    #[value(alias = "attachment")]
    Attachments,
    Stats,
}

/// A node of the mesh, and what could be learnt of it.
struct Node<T> {
    name: String,
    /// What its agent has said when it started; `None` if it has not yet.
    agent: Option<AgentInfo>,
    /// What it says now.
    answer: Result<T>,
}

impl<T> Node<T> {
    /// Asks all agents.
    fn all(mesh: &Mesh, ask: impl Fn(&AgentInfo) -> Result<T>) -> Result<Vec<Node<T>>> {
        let nodes = (0..mesh.nodes).zip(mesh.agents()?).map(|(k, agent)| {
            let answer = match &agent {
                Some(agent) => ask(agent),
                None => Err(anyhow::anyhow!("{} is not up", node_name(k))),
            };
            Node { name: node_name(k), agent, answer }
        });
        Ok(nodes.collect())
    }
}

/// Prints it.
pub(crate) fn get(args: &Args) -> Result<ExitCode> {
    let mesh = Mesh::find(args.dir.resolve()?)?;
    let statuses = || Node::all(&mesh, AgentInfo::status);
    match args.what {
        // That a node does not answer is itself the answer here.
        What::Nodes => output::print(&nodes::render(&statuses()?, args.output)?).map(|()| ExitCode::SUCCESS),
        What::Regions => show(&statuses()?, |answers| regions::render(answers, args.output)),
        What::Attachments => show(&statuses()?, |answers| attachments::render(answers, args.output)),
        What::Stats => {
            show(&Node::all(&mesh, AgentInfo::metrics)?, |answers| stats::render(answers, args.output))
        }
    }
}

/// Prints what the nodes that answer say, and then which do not.
fn show<T>(nodes: &[Node<T>], render: impl Fn(&[(&str, &T)]) -> Result<String>) -> Result<ExitCode> {
    let answers: Vec<(&str, &T)> =
        nodes.iter().filter_map(|node| Some((node.name.as_str(), node.answer.as_ref().ok()?))).collect();
    output::print(&render(&answers)?)?;
    let mut code = ExitCode::SUCCESS;
    for error in nodes.iter().filter_map(|node| node.answer.as_ref().err()) {
        eprintln!("pagemesh: a part is missing above: {error:#}");
        code = ExitCode::FAILURE;
    }
    Ok(code)
}

/// What nodes with their statuses are called here.
type Answers<'a> = [(&'a str, &'a Status)];
