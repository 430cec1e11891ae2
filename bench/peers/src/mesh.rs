//! A mesh of ours for the run, and a directory that goes with it.

use std::env;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, Result};
use pagemesh_bench::own_mesh::Place;

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
    let place = Place::make("pagemesh-bench-peers")?;
    // Dropped before the place.
    let _tidied = Peers::make(peers_dir(place.path()))?;
    let words = args.iter().map(AsRef::as_ref).chain([place.path().as_os_str()]);
    place.run(&pagemesh, 2, DECLARED, [own.as_os_str()].into_iter().chain(words))
}

/// Where peers of a place have what they need.
pub(crate) fn peers_dir(place: &Path) -> PathBuf {
    place.join("peers")
}

/// The `pagemesh` that was built with this program.
fn beside() -> Option<PathBuf> {
    env::current_exe().ok().map(|own| own.with_file_name("pagemesh")).filter(|file| file.is_file())
}

/// A directory in which peers have what they need. What they leave there is ended and unmounted when this is dropped.
struct Peers(PathBuf);

impl Peers {
    fn make(dir: PathBuf) -> Result<Peers> {
        let made = DirBuilder::new().mode(0o700).create(&dir);
        made.with_context(|| format!("{} cannot be made", dir.display()))?;
        Ok(Peers(dir))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        side::tidy(&self.0);
    }
}
