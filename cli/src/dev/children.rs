//! The processes of a mesh: agents, the user's command, and whatever that leaves running.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::prctl::{set_child_subreaper, set_pdeathsig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};

use super::place::Place;
use super::signals::Signals;
use super::sys;
use crate::exit::CommandError;
use crate::{binaries, mesh};

/// Whoever was interrupted gets this long to end.
const INTERRUPT_GRACE: Duration = Duration::from_secs(2);
/// Whoever was asked to terminate gets this long.
const TERMINATE_GRACE: Duration = Duration::from_secs(5);
/// What the user's command has left running gets this long.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);
/// How often processes that end are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// An agent that has ended so often within [`SHORT_LIFE`] of its start is not started again.
const SHORT_LIVES_MAX: u32 = 5;
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// A process that we started.
#[derive(Debug)]
struct Child {
    pid: Pid,
    started: Instant,
    /// How often in a row it has ended at its start.
    short_lives: u32,
    /// How it ended, once it has.
    status: Option<ExitStatus>,
    /// That has been reported.
    reported: bool,
}

/// All our processes. Dropping it ends them all.
#[derive(Debug)]
pub(super) struct Children {
    agents: Vec<Child>,
    command: Option<Child>,
    shards: u16,
    log_level: String,
}

impl Children {
    /// Starts the agents.
    pub(super) fn start(place: &Place, nodes: u16, shards: u16, log_level: &str) -> Result<Children> {
        // What the user's command leaves running becomes our child, and so ends with us.
        set_child_subreaper(true).context("this process cannot adopt orphans")?;
        let log_level = log_level.to_owned();
        let mut children = Children { agents: Vec::new(), command: None, shards, log_level };
        for node in 0..nodes {
            for dir in [mesh::node_dir(&place.dir, node), place.memory.join(mesh::node_name(node))] {
                fs::create_dir(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
            }
            let child = children.start_agent(place, node, None)?;
            children.agents.push(child);
        }
        Ok(children)
    }

    fn start_agent(&self, place: &Place, node: u16, listen: Option<SocketAddr>) -> Result<Child> {
        let program = binaries::agent()?;
        let log = place.open_log(node)?;
        let mut command = Command::new(&program);
        command
            .args(["--name", &mesh::node_name(node), "--id", &node.to_string()])
            .args(["--shards", &self.shards.to_string(), "--log", &self.log_level])
            .arg("--objects")
            .arg(place.objects_dir())
            .arg("--dir")
            .arg(mesh::node_dir(&place.dir, node))
            .arg("--memory-dir")
            .arg(place.memory.join(mesh::node_name(node)))
            .args(listen.iter().flat_map(|listen| ["--listen".to_owned(), listen.to_string()]))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("no descriptor for a log")?)
            .stderr(log)
            // Ctrl-C at the terminal must not reach agents before the programs that they serve have ended.
            .process_group(0);
        spawn(&mut command).with_context(|| format!("{} cannot be started", program.display()))
    }

    /// Starts an agent again that has ended, at the address where its peers know it, unless it ends at its start. It goes on
    /// with the memory of the one before. Returns whether it was.
    pub(super) fn restart_agent(&mut self, place: &Place, node: u16, listen: SocketAddr) -> Result<bool> {
        let before = &self.agents[usize::from(node)];
        let short_lives = if before.started.elapsed() < SHORT_LIFE { before.short_lives + 1 } else { 0 };
        if short_lives == SHORT_LIVES_MAX {
            return Ok(false);
        }
        let agent = self.start_agent(place, node, Some(listen))?;
        self.agents[usize::from(node)] = Child { short_lives, ..agent };
        Ok(true)
    }

    /// Starts the user's command, in our process group: the terminal is its as well.
    pub(super) fn start_command(&mut self, command: &[OsString], dir: &Path) -> Result<()> {
        let (program, arguments) = command.split_first().expect("clap and the caller made sure of a command");
        let ours = binaries::own_dir()?;
        let path = std::env::join_paths(std::iter::once(ours.clone()).chain(binaries::path_dirs()))
            .with_context(|| format!("{} cannot be in PATH", ours.display()))?;
        // std looks a program up in the PATH of the child, as a shell does.
        let mut started = Command::new(program);
        started.args(arguments).env("PATH", path).env("PAGEMESH_DIR", dir);
        let child =
            spawn(&mut started).map_err(|error| CommandError::of_exec(&program.to_string_lossy(), error))?;
        self.command = Some(child);
        Ok(())
    }

    /// Takes note of all processes that have ended.
    pub(super) fn reap(&mut self) {
        loop {
            match sys::reap() {
                Ok(Some((pid, status))) => {
                    let ours = self.agents.iter_mut().chain(&mut self.command).find(|child| child.pid == pid);
                    // Otherwise it was an orphan of the user's command.
                    if let Some(child) = ours {
                        child.status = Some(status);
                    }
                }
                Ok(None) | Err(Errno::ECHILD) => return,
                Err(error) => panic!("waiting for children can only fail for want of them: {error}"),
            }
        }
    }

    /// How many agents were started.
    pub(super) fn agents(&self) -> u16 {
        u16::try_from(self.agents.len()).expect("nodes are counted in 16 bits")
    }

    /// How many agents still run.
    pub(super) fn running_agents(&self) -> usize {
        self.agents.iter().filter(|agent| agent.status.is_none()).count()
    }

    /// An agent that has ended, and how. Each is told of once.
    pub(super) fn ended_agent(&mut self) -> Option<(u16, String)> {
        let mut numbered = (0..).zip(&mut self.agents);
        numbered.find_map(|(node, agent)| {
            let status = agent.status.filter(|_| !agent.reported)?;
            agent.reported = true;
            Some((node, describe(status)))
        })
    }

    /// How the user's command ended, once it has.
    pub(super) fn command_status(&self) -> Option<ExitStatus> {
        self.command.as_ref().and_then(|command| command.status)
    }

    /// Ends the user's command because we got `signal`: politely, then less so.
    pub(super) fn end_command(&mut self, signal: Signal) -> Option<ExitStatus> {
        let first = if signal == Signal::SIGINT { INTERRUPT_GRACE } else { TERMINATE_GRACE };
        for (signal, grace) in
            [(signal, first), (Signal::SIGTERM, TERMINATE_GRACE), (Signal::SIGKILL, TERMINATE_GRACE)]
        {
            let Some(running) = self.command.as_ref().filter(|command| command.status.is_none()) else {
                break;
            };
            send(running.pid, signal);
            self.until(grace, |children| children.command_status().is_some());
        }
        self.command_status()
    }

    /// Waits until `done` or `grace` is over.
    fn until(&mut self, grace: Duration, mut done: impl FnMut(&Children) -> bool) {
        let deadline = Instant::now() + grace;
        loop {
            self.reap();
            if done(self) || Instant::now() > deadline {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Processes that the user's command has left running, and itself.
    fn programs(&self) -> Vec<Pid> {
        let is_agent = |pid: &Pid| self.agents.iter().any(|agent| agent.pid == *pid);
        own_children().into_iter().filter(|pid| !is_agent(pid)).collect()
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        // Programs before agents: no program then waits for an agent that is gone.
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let mut told = BTreeSet::new();
            self.until(LEFTOVER_GRACE, |children| {
                // What an ended program leaves becomes our child only then, so look again until there is none.
                let programs = children.programs();
                programs.iter().filter(|pid| told.insert(**pid)).for_each(|pid| send(*pid, signal));
                programs.is_empty()
            });
        }
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            self.agents
                .iter()
                .filter(|agent| agent.status.is_none())
                .for_each(|agent| send(agent.pid, signal));
            self.until(TERMINATE_GRACE, |children| children.running_agents() == 0);
        }
    }
}

/// Starts a process that gets SIGTERM when we die, however we die.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let parent = getpid();
    let couple = move || {
        set_pdeathsig(Signal::SIGTERM)?;
        // Had we died before that call, the signal would never come.
        if getppid() != parent {
            return Err(Errno::ESRCH.into());
        }
        Ok(Signals::unblock()?)
    };
    // SAFETY: between fork and exec only async-signal-safe functions may be called; `couple` makes three system
    // calls and allocates nothing.
    let command = unsafe { command.pre_exec(couple) };
    let pid = Pid::from_raw(command.spawn()?.id().cast_signed());
    Ok(Child { pid, started: Instant::now(), short_lives: 0, status: None, reported: false })
}

/// Our children, those that we adopted included. This process has one thread, so that they are all its.
fn own_children() -> Vec<Pid> {
    let me = getpid();
    let text = fs::read_to_string(format!("/proc/self/task/{me}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

fn send(pid: Pid, signal: Signal) {
    // It may be dead already; it is our child and not reaped, so the number is still its own.
    let _ = kill(pid, signal);
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "in an unknown way".into(),
    }
}
