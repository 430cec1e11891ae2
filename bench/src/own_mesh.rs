//! A mesh that is there for one run, and a directory that goes with it.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

/// A directory of this user alone. It goes when this is dropped.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Place {
    /// Makes one, whose name begins so.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(name: &str) -> Result<Place> {
        let dir = env::temp_dir().join(format!("{name}-{}", std::process::id()));
        let made = DirBuilder::new().mode(0o700).create(&dir);
        made.with_context(|| format!("{} cannot be made", dir.display()))?;
        Ok(Place(dir))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the mesh of [`Place::run`] is, as long as it runs.
    #[must_use]
    pub fn mesh(&self) -> PathBuf {
        mesh_dir(&self.0)
    }

    /// Runs a command in a mesh of so many nodes with the regions that are `declared`, which ends with it. If this process is to
    /// end, the mesh ends first.
    ///
    /// # Errors
    /// `pagemesh` cannot be started.
    pub fn run(
        &self,
        pagemesh: &Path,
        nodes: u16,
        declared: &str,
        command: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<ExitStatus> {
        let regions = self.0.join("regions.yaml");
        fs::write(&regions, declared).with_context(|| format!("{} cannot be written", regions.display()))?;
        // Blocked first: a signal that comes before the place is tidied would leave it. A child starts with none blocked.
        let signals: SigSet =
            [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect();
        signals.thread_block()?;
        let mut dev = Command::new(pagemesh);
        dev.args(["dev", "--log", "warn", "--nodes", &nodes.to_string(), "--dir"]).arg(self.mesh());
        dev.arg("--file").arg(&regions).arg("--").args(command);
        wait(dev.spawn().with_context(|| format!("{} cannot be started", pagemesh.display()))?, &signals)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where the mesh of a place is.
#[must_use]
pub fn mesh_dir(place: &Path) -> PathBuf {
    place.join("mesh")
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
