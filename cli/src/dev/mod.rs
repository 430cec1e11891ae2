//! `pagemesh dev`: a whole mesh on this machine, each node a process of its own.

mod children;
mod leftovers;
mod objects;
mod place;
mod region_flag;
mod signals;
mod sys;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use pagemesh_crds::AGENTS_MAX;

use self::children::Children;
use self::objects::Objects;
use self::place::Place;
use self::signals::Signals;
use crate::agent_api::AgentInfo;
use crate::exit::{before_command, code_of_signal, code_of_status};
use crate::mesh::{self, DirArg};
use crate::output;

/// Agents start within a fraction of a second; on a machine that is busy they get this long.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a mesh that starts is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often a mesh that runs is looked at if no signal comes. Signals tell all that matters.
const IDLE: Duration = Duration::from_secs(3600);
/// Shards of an agent when the machine has cores enough.
const SHARDS_MAX: usize = 4;

/// Run a mesh of several nodes on this machine.
///
/// Each node is an agent of its own; only TCP joins them. Without CMD the mesh stays up until Ctrl-C. With CMD it
/// stays up while CMD runs, and CMD's exit code is ours; CMD finds the mesh by PAGEMESH_DIR, and this `pagemesh` in PATH.
/// Whatever way it ends, no process and no file stays behind.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pagemesh dev --region table=64Mi
  pagemesh dev --nodes 2 --region t=64Mi,coherence=WriteUpdate,pageSize=64Ki --region u=1Gi
  pagemesh dev --file regions.yaml -- ./test.sh

Exit codes: CMD's own; 125 if pagemesh fails, 126 if CMD cannot be started, 127 if it is not found.
Without CMD: 0 when it was stopped, 1 if it failed")]
pub(crate) struct Args {
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(AGENTS_MAX)))]
    nodes: u16,
    #[command(flatten)]
    dir: DirArg,
    /// A region; FIELD is a field of a Region's spec, NAME may be NAMESPACE/NAME [may be repeated]
    #[arg(long = "region", value_name = "NAME=SIZE[,FIELD=VALUE]...")]
    regions: Vec<String>,
    /// A file of Regions and MountTables in YAML [may be repeated]
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Shards of each agent [default: its share of the cores, at least 1 and at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    shards: Option<u16>,
    /// How much the agents log.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug", "trace"])]
    log: String,
    /// What to run while the mesh is up.
    #[arg(value_name = "CMD", last = true)]
    command: Vec<OsString>,
}

/// Runs the mesh.
pub(crate) fn dev(args: Args) -> Result<ExitCode> {
    let with_command = !args.command.is_empty();
    mesh_while(args).map_err(|error| if with_command { before_command(error) } else { error })
}

fn mesh_while(args: Args) -> Result<ExitCode> {
    let objects = Objects::plan(args.nodes, &args.regions, &args.files)?;
    let mut signals = Signals::install()?;
    // Dropped in the opposite order: first all processes end, then their files go.
    let place = Place::claim(args.dir.resolve()?, args.nodes)?;
    let mut children = Children::start(&place, args.nodes, shards(&args), &args.log)?;

    let Some(agents) = wait_for(&mut signals, &mut children, &place, || announced(&place, args.nodes))?
    else {
        return Ok(stopped(&signals));
    };
    objects.write(&place.objects_dir(), &agents)?;
    if wait_for(&mut signals, &mut children, &place, || joined(&agents, &objects))?.is_none() {
        return Ok(stopped(&signals));
    }

    if args.command.is_empty() {
        output::print(&summary(&place.dir, args.nodes, &objects))?;
        serve(&mut signals, &mut children, &place, &agents)
    } else {
        eprintln!("pagemesh: {} up in {}", count(args.nodes), place.dir.display());
        serve_command(&mut signals, &mut children, &place, &agents, &args.command)
    }
}

/// Shards of each agent, so that all agents together do not have more than there are cores.
fn shards(args: &Args) -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = (cores / usize::from(args.nodes)).clamp(1, SHARDS_MAX);
    args.shards.unwrap_or(share as u16)
}

/// Looks at a starting mesh until `look` has what it wants; `None` if a signal says to stop.
fn wait_for<T>(
    signals: &mut Signals,
    children: &mut Children,
    place: &Place,
    mut look: impl FnMut() -> Result<T>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let found = look();
        children.reap();
        if let Some((node, how)) = children.ended_agent() {
            bail!("the agent of node {node} ended at its start ({how}); it said: {}", place.log_tail(node));
        }
        match found {
            Ok(found) => return Ok(Some(found)),
            Err(reason) if Instant::now() > deadline => {
                let tails = (0..children.agents())
                    .map(|node| format!("\nnode {node} said: {}", place.log_tail(node)));
                bail!("the mesh is not up after {START_TIMEOUT:?}: {reason:#}{}", tails.collect::<String>());
            }
            Err(_) => signals.wait(LOOK_EVERY),
        }
        if signals.stop().is_some() {
            return Ok(None);
        }
    }
}

/// What all agents say of themselves.
fn announced(place: &Place, nodes: u16) -> Result<Vec<AgentInfo>> {
    let read = |node| match AgentInfo::read(&mesh::node_dir(&place.dir, node))? {
        Some(info) => Ok(info),
        None => bail!("the agent of node {node} has not said where it listens"),
    };
    (0..nodes).map(read).collect()
}

/// Whether each agent is connected to all others and has all regions.
fn joined(agents: &[AgentInfo], objects: &Objects) -> Result<()> {
    for agent in agents {
        agent.ready()?;
        let status = agent.status()?;
        if let Some(peer) = status.peers.iter().find(|peer| !peer.connected) {
            bail!("{} is not connected to {}", agent.name, peer.name);
        }
        if status.peers.len() + 1 < agents.len() {
            bail!("{} does not know all its peers", agent.name);
        }
        if let Some(region) = status.regions.iter().find(|region| !region.ready) {
            let reason = region.reason.as_deref().unwrap_or("no reason given");
            bail!("region {}/{} is not ready on {}: {reason}", region.namespace, region.name, agent.name);
        }
        if status.regions.len() < objects.regions() {
            bail!("{} does not know all regions", agent.name);
        }
    }
    Ok(())
}

/// Keeps the mesh up until a signal says to stop, or no agent is left.
fn serve(
    signals: &mut Signals,
    children: &mut Children,
    place: &Place,
    agents: &[AgentInfo],
) -> Result<ExitCode> {
    loop {
        children.reap();
        replace_losses(children, place, agents)?;
        if signals.stop().is_some() {
            return Ok(ExitCode::SUCCESS);
        }
        if children.running_agents() == 0 {
            bail!("no agent is left; look above for what they said, and start the mesh anew");
        }
        signals.wait(IDLE);
    }
}

/// Keeps the mesh up while CMD runs, and ends CMD if a signal says to stop.
fn serve_command(
    signals: &mut Signals,
    children: &mut Children,
    place: &Place,
    agents: &[AgentInfo],
    command: &[OsString],
) -> Result<ExitCode> {
    children.start_command(command, &place.dir)?;
    loop {
        children.reap();
        replace_losses(children, place, agents)?;
        if let Some(status) = children.command_status() {
            return Ok(code_of_status(status));
        }
        match signals.stop() {
            // Ctrl-C at a terminal reaches CMD as well. Whether it ends by that, as most do, is CMD's affair.
            Some(Signal::SIGINT) if io::stdin().is_terminal() => signals.forget(),
            Some(signal) => {
                let ended = children.end_command(signal);
                return Ok(ended.map_or_else(|| stopped(signals), code_of_status));
            }
            None => signals.wait(IDLE),
        }
    }
}

/// Starts agents again that have ended though nobody asked them to, and tells of it.
fn replace_losses(children: &mut Children, place: &Place, agents: &[AgentInfo]) -> Result<()> {
    while let Some((node, how)) = children.ended_agent() {
        let said = place.log_tail(node);
        let what = if children.restart_agent(place, node, agents[usize::from(node)].listen)? {
            "and is started again; its programs wait for it at their next remote access, and go on"
        } else {
            "again and again; programs attached to it wait at their next remote access, and pages that it homes are out of \
             reach until the mesh is started anew"
        };
        eprintln!("pagemesh: the agent of node {node} ended ({how}) {what}; it said: {said}");
    }
    Ok(())
}

fn stopped(signals: &Signals) -> ExitCode {
    signals.stop().map_or(ExitCode::FAILURE, code_of_signal)
}

fn count(nodes: u16) -> String {
    if nodes == 1 { "1 node is".into() } else { format!("{nodes} nodes are") }
}

fn summary(dir: &Path, nodes: u16, objects: &Objects) -> String {
    let dir_flag =
        if dir == mesh::dir_default() { String::new() } else { format!(" --dir {}", dir.display()) };
    format!(
        "{} up in {}\n{}\n\
         attach a program   pagemesh run{dir_flag} --node 0 -- CMD\n\
         look inside        pagemesh get{dir_flag} nodes|regions|attachments|stats\n\
         stop               Ctrl-C\n",
        count(nodes),
        dir.display(),
        objects.describe(),
    )
}
