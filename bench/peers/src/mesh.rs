//! A mesh of ours for the run, and a directory that goes with it.

use std::env;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use crate::{process, side};

/// The region of the run.
pub(crate) const REGION: &str = "bench-peers";

/// Its object: the second node is its one home.
const DECLARED: &str = "\
apiVersion: pagemesh.io/v1alpha1
kind: Region
metadata: {name: bench-peers, namespace: default}
spec: {size: 4Mi}
status: {placement: {epoch: 1, homes: [{agent: node-1}]}}
";

/// Runs this program with `args` once more, in a mesh of two nodes. It finds the mesh's directory, and one for peers, in the place
/// whose path comes last.
pub(crate) fn run_in(pagemesh: Option<&Path>, args: &[String]) -> Result<ExitStatus> {
    let pagemesh = match pagemesh {
        Some(file) => file.to_owned(),
        None => beside().map_or_else(|| process::find("pagemesh"), Ok)?,
    };
    let own = env::current_exe().context("this program does not find itself")?;
    let place = Place::make()?;
    let regions = place.0.join("regions.yaml");
    fs::write(&regions, DECLARED).with_context(|| format!("{} cannot be written", regions.display()))?;
    // Blocked first: a signal that comes before the place is tidied would leave it. A child starts with none blocked.
    let signals: SigSet =
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect();
    signals.thread_block()?;
    let mut command = Command::new(&pagemesh);
    command.args(["dev", "--log", "warn", "--nodes", "2", "--dir"]).arg(mesh_dir(&place.0));
    command.arg("--file").arg(&regions).arg("--").arg(own).args(args).arg(&place.0);
    let child = command.spawn().with_context(|| format!("{} cannot be started", pagemesh.display()))?;
    wait(child, &signals)
}

/// Where the mesh of a place is.
pub(crate) fn mesh_dir(place: &Path) -> PathBuf {
    place.join("mesh")
}

/// Where peers of a place have what they need.
pub(crate) fn peers_dir(place: &Path) -> PathBuf {
    place.join("peers")
}

/// The `pagemesh` that was built with this program.
fn beside() -> Option<PathBuf> {
    env::current_exe().ok().map(|own| own.with_file_name("pagemesh")).filter(|file| file.is_file())
}

/// Waits for the mesh to end, and has it end when this program is to.
fn wait(mut mesh: Child, signals: &SigSet) -> Result<ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(mesh.id())?);
    loop {
        if let Some(status) = mesh.try_wait()? {
            return Ok(status);
        }
        if signals.wait()? != Signal::SIGCHLD {
            kill(pid, Signal::SIGTERM)?;
        }
    }
}

/// A directory that goes when this is dropped.
struct Place(PathBuf);

impl Place {
    fn make() -> Result<Place> {
        let dir = env::temp_dir().join(format!("pagemesh-bench-peers-{}", std::process::id()));
        let make = |dir: &Path| DirBuilder::new().mode(0o700).create(dir);
        make(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        let place = Place(dir);
        make(&peers_dir(&place.0))?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        side::tidy(&peers_dir(&self.0));
        let _ = fs::remove_dir_all(&self.0);
    }
}
