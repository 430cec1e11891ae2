//! Where a mesh of `pagemesh dev` is, and what its directory holds:
//!
//! ```text
//! DIR/mesh.json          who runs it; locked as long as it runs
//! DIR/objects/*.yaml     Agents and Regions
//! DIR/node-K/agent.json  where the agent of node K listens; there once it does
//! DIR/node-K/agent.sock  where programs attach
//! DIR/node-K/names.sock  where it answers what paths stand for
//! DIR/node-K/log         what the agent says
//! ```

use std::env;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_UNLCK, F_WRLCK, SEEK_SET, flock};
use nix::unistd::{Pid, getuid};
use serde::{Deserialize, Serialize};

use crate::agent_api::AgentInfo;

/// The directory of the mesh, as most subcommands take it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DirArg {
    /// Directory of the mesh [default: $XDG_RUNTIME_DIR/pagemesh or /tmp/pagemesh-UID]
    #[arg(long, env = "PAGEMESH_DIR", hide_env_values = true, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl DirArg {
    /// Whether somebody has said which.
    pub(crate) fn is_given(&self) -> bool {
        self.dir.as_ref().is_some_and(|dir| !dir.as_os_str().is_empty())
    }

    /// The directory, absolute.
    pub(crate) fn resolve(&self) -> Result<PathBuf> {
        let dir = self.dir.clone().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(dir_default);
        std::path::absolute(&dir).with_context(|| format!("{} cannot be made absolute", dir.display()))
    }
}

/// Where a mesh is when nobody says where.
pub(crate) fn dir_default() -> PathBuf {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match runtime.filter(|dir| dir.is_absolute() && dir.is_dir()) {
        Some(dir) => dir.join("pagemesh"),
        None => PathBuf::from(format!("/tmp/pagemesh-{}", getuid())),
    }
}

/// Path of the file that says who runs the mesh.
pub(crate) fn file(dir: &Path) -> PathBuf {
    dir.join("mesh.json")
}

/// Directory of node `k`.
pub(crate) fn node_dir(dir: &Path, k: u16) -> PathBuf {
    dir.join(node_name(k))
}

/// Name of node `k`.
pub(crate) fn node_name(k: u16) -> String {
    format!("node-{k}")
}

/// What `mesh.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MeshInfo {
    /// Process that runs it.
    pub(crate) pid: u32,
    /// How many nodes it has.
    pub(crate) nodes: u16,
    /// Where its regions' pages are.
    pub(crate) memory: PathBuf,
}

/// Locks a mesh file, without waiting. Not by flock(2), which cannot tell who holds a lock.
pub(crate) fn lock(file: &File) -> nix::Result<()> {
    fcntl(file, FcntlArg::F_SETLK(&whole_file())).map(drop)
}

/// Who holds the lock of a mesh file; `None` if nobody does.
pub(crate) fn holder(file: &File) -> nix::Result<Option<Pid>> {
    let mut found = whole_file();
    fcntl(file, FcntlArg::F_GETLK(&mut found))?;
    Ok((i32::from(found.l_type) != F_UNLCK).then(|| Pid::from_raw(found.l_pid)))
}

/// The lock of a whole file against all others.
fn whole_file() -> flock {
    flock { l_type: F_WRLCK as i16, l_whence: SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}

/// A mesh that runs.
#[derive(Debug)]
pub(crate) struct Mesh {
    /// Its directory.
    pub(crate) dir: PathBuf,
    /// How many nodes it has.
    pub(crate) nodes: u16,
}

impl Mesh {
    /// The mesh in `dir`.
    pub(crate) fn find(dir: PathBuf) -> Result<Mesh> {
        let shown = dir.display();
        let opened = match File::open(file(&dir)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                bail!(
                    "there is no mesh in {shown}; start one with `pagemesh dev`, or say where it is with --dir"
                );
            }
            other => other.with_context(|| format!("{} cannot be opened", file(&dir).display()))?,
        };
        if holder(&opened)?.is_none() {
            bail!(
                "the mesh in {shown} is dead; start it anew with `pagemesh dev`, which clears what it left"
            );
        }
        let info: MeshInfo = serde_json::from_reader(opened)
            .map_err(|_| anyhow!("the mesh in {shown} is just starting; try again in a moment"))?;
        Ok(Mesh { nodes: info.nodes, dir })
    }

    /// Directory of node `k`.
    pub(crate) fn node(&self, k: u16) -> Result<PathBuf> {
        if k < self.nodes {
            return Ok(node_dir(&self.dir, k));
        }
        let all =
            if self.nodes == 1 { "only node 0".into() } else { format!("nodes 0 to {}", self.nodes - 1) };
        bail!("the mesh in {} has no node {k}, {all}", self.dir.display());
    }

    /// What each node's agent has said of itself; `None` where it does not run yet.
    pub(crate) fn agents(&self) -> Result<Vec<Option<AgentInfo>>> {
        (0..self.nodes).map(|k| AgentInfo::read(&node_dir(&self.dir, k))).collect()
    }
}
