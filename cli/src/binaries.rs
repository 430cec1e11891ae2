//! Finds what belongs to this `pagemesh`: what else is of the same build.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

const AGENT: &str = "pagemesh-agent";
const APPS: &str = "pagemesh-apps";
const PRELOAD: &str = "libpagemesh_preload.so";

/// The directory of our own executable.
pub(crate) fn own_dir() -> Result<PathBuf> {
    let own = env::current_exe().context("the path of this program cannot be read; is /proc mounted?")?;
    own.parent().map(Path::to_owned).ok_or_else(|| anyhow!("{} has no directory", own.display()))
}

/// The directories of PATH that do not depend on where we are.
pub(crate) fn path_dirs() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).filter(|dir| dir.is_absolute()).collect()
}

/// The agent: beside us, else in PATH.
pub(crate) fn agent() -> Result<PathBuf> {
    program(AGENT)
}

/// The programs of `pagemesh bench apps`: beside us, else in PATH.
pub(crate) fn apps() -> Result<PathBuf> {
    program(APPS)
}

fn program(name: &str) -> Result<PathBuf> {
    let beside = own_dir()?.join(name);
    let places = std::iter::once(beside.clone()).chain(path_dirs().into_iter().map(|dir| dir.join(name)));
    places.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        anyhow!("{name} is neither {} nor in PATH; build it with `cargo build -p {name}`", beside.display())
    })
}

/// The preload library: beside us, as cargo builds it, or in ../lib/pagemesh, as it is installed.
pub(crate) fn preload() -> Result<PathBuf> {
    let dir = own_dir()?;
    let beside = dir.join(PRELOAD);
    let installed = dir.join("../lib/pagemesh").join(PRELOAD);
    let found = [&beside, &installed].into_iter().find(|path| path.is_file()).ok_or_else(|| {
        anyhow!(
            "{PRELOAD} is neither {} nor in ../lib/pagemesh; build it with `cargo build -p pagemesh-preload`",
            beside.display()
        )
    })?;
    found.canonicalize().with_context(|| format!("{} cannot be resolved", found.display()))
}
