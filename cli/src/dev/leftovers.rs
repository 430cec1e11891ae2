//! What a mesh leaves: its own files when it ends, and agents and files when it was killed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getuid};

use super::sys::PidFd;
use crate::agent_api::AgentInfo;
use crate::mesh;

/// Where regions' pages are: the tmpfs that every Linux has.
pub(super) const TMPFS: &str = "/dev/shm";
/// Agents end when their mesh was killed, but not in that instant.
const END_GRACE: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How the names of all directories on the tmpfs begin that are ours.
pub(super) fn memory_prefix() -> String {
    format!("pagemesh-{}-", getuid())
}

/// Removes what a mesh puts into its directory and the tmpfs, but not its lock.
pub(super) fn remove(dir: &Path, memory: &Path) -> io::Result<()> {
    // The path may come from a file: only what we would have made ourselves is removed.
    let ours = |name: &OsStr| name.as_bytes().starts_with(memory_prefix().as_bytes());
    if memory.parent() == Some(Path::new(TMPFS)) && memory.file_name().is_some_and(ours) {
        missing_is_fine(fs::remove_dir_all(memory))?;
    }
    missing_is_fine(fs::remove_dir_all(dir.join("objects")))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node-"));
        if number.is_some_and(|number| number.parse::<u16>().is_ok()) {
            missing_is_fine(fs::remove_dir_all(entry.path()))?;
        }
    }
    Ok(())
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Waits until the agents of a mesh that was killed are gone. Each removes its socket as its last act, and would
/// remove that of its successor.
pub(super) fn end_agents(dir: &Path, nodes: u16) -> Result<()> {
    for node in 0..nodes {
        let node_dir = mesh::node_dir(dir, node);
        let Ok(Some(agent)) = AgentInfo::read(&node_dir) else { continue };
        let Ok(pid) = i32::try_from(agent.pid).map(Pid::from_raw) else { continue };
        // The descriptor before the look at what it runs: the number may be another process's by now.
        let Ok(process) = PidFd::open(pid) else { continue };
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let deadline = Instant::now() + END_GRACE;
            while serves(pid, &node_dir) && Instant::now() < deadline {
                let _ = process.send(signal);
                std::thread::sleep(LOOK_EVERY);
            }
        }
        if serves(pid, &node_dir) {
            bail!(
                "an agent of a dead mesh still runs (pid {}); end it with `kill -9 {}`",
                agent.pid,
                agent.pid
            );
        }
    }
    Ok(())
}

/// Whether the process is the agent of this node: whether its command line names the node's directory.
fn serves(pid: Pid, node_dir: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|argument| argument == node_dir.as_os_str().as_bytes())
}
