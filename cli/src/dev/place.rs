//! The files of a mesh: its directory, and the memory of its regions on a tmpfs.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::unistd::getuid;

use super::leftovers::{self, TMPFS, memory_prefix};
use crate::mesh::{self, MeshInfo};

/// Longest path of a Unix socket, with the zero behind it.
const SOCKET_PATH_BYTES_MAX: usize = 108;
/// How much of a log is shown when an agent fails.
const LOG_TAIL_LINES: usize = 8;
/// How much of a log is read to find them.
const LOG_TAIL_BYTES: usize = 8192;

/// A directory that is ours alone as long as this lives. Dropping it removes all that a mesh puts there.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory.
    pub(super) dir: PathBuf,
    /// Its counterpart on the tmpfs.
    pub(super) memory: PathBuf,
    /// `mesh.json`. Its lock ends with this process, however that ends, and when this file or any other of the same
    /// inode is closed here: nothing else in this process may open it.
    lock: File,
}

impl Place {
    /// Makes `dir` the place of a mesh, and clears what a dead one left there.
    pub(super) fn claim(dir: PathBuf, nodes: u16) -> Result<Place> {
        check_socket_path(&dir, nodes)?;
        make_private(&dir)?;
        if !mesh::file(&dir).exists() && fs::read_dir(&dir)?.next().is_some() {
            bail!(
                "{} is not empty and not of a mesh; name a new or empty directory with --dir",
                dir.display()
            );
        }
        let lock = lock(&dir)?;
        let before: Option<MeshInfo> = serde_json::from_reader(&lock).ok();
        let memory = memory_of(&dir);
        // From here on, whatever goes wrong, all that is in the directory goes as well.
        let place = Place { dir, memory, lock };
        let shown = place.dir.display();
        if let Some(before) = before {
            leftovers::end_agents(&place.dir, before.nodes)?;
            leftovers::remove(&place.dir, &before.memory)
                .with_context(|| format!("what a dead mesh left in {shown} cannot be removed"))?;
        }
        place.say(nodes).with_context(|| format!("{shown} cannot be written to"))?;
        make_private(&place.memory)?;
        fs::create_dir(place.objects_dir()).with_context(|| format!("{shown} cannot be written to"))?;
        Ok(place)
    }

    /// Writes `mesh.json`.
    fn say(&self, nodes: u16) -> io::Result<()> {
        let info = MeshInfo { pid: std::process::id(), nodes, memory: self.memory.clone() };
        self.lock.set_len(0)?;
        self.lock.write_all_at(&serde_json::to_vec(&info)?, 0)
    }

    /// Where agents look for objects.
    pub(super) fn objects_dir(&self) -> PathBuf {
        self.dir.join("objects")
    }

    /// The log of an agent, to be written on.
    pub(super) fn open_log(&self, node: u16) -> Result<File> {
        let path = self.log(node);
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("{} cannot be made", path.display()))
    }

    /// The last lines of an agent's log, indented.
    pub(super) fn log_tail(&self, node: u16) -> String {
        let text = fs::read(self.log(node)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        if last.is_empty() { "nothing".into() } else { format!("\n  {}", last.join("\n  ")) }
    }

    fn log(&self, node: u16) -> PathBuf {
        mesh::node_dir(&self.dir, node).join("log")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let cleared =
            leftovers::remove(&self.dir, &self.memory).and_then(|()| fs::remove_file(mesh::file(&self.dir)));
        if let Err(error) = cleared {
            eprintln!("pagemesh: {} could not be cleared: {error}", self.dir.display());
        }
        // It stays if somebody keeps files of his own there.
        let _ = fs::remove_dir(&self.dir);
    }
}

/// Opens and locks `mesh.json`, or says who has it.
fn lock(dir: &Path) -> Result<File> {
    let path = mesh::file(dir);
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("{} cannot be opened", path.display()))?;
        match mesh::lock(&file) {
            Ok(()) => {}
            Err(Errno::EACCES | Errno::EAGAIN) => {
                let Some(holder) = mesh::holder(&file)? else { continue };
                let shown = dir.display();
                // Processes of another PID namespace, as of another container, have no number here.
                if holder.as_raw() <= 0 {
                    bail!("a mesh of another container runs in {shown} already; give this one another --dir");
                }
                bail!(
                    "a mesh runs in {shown} already (pid {holder}); stop it with `kill {holder}`, or give this one \
                     another --dir"
                );
            }
            Err(error) => return Err(error).with_context(|| format!("{} cannot be locked", path.display())),
        }
        // A mesh that just ended may have removed the file between our opening and our locking it.
        if fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino())) {
            return Ok(file);
        }
    }
}

/// Makes a directory that only its owner may enter, or checks that an existing one is ours: /tmp is everybody's.
fn make_private(dir: &Path) -> Result<()> {
    let shown = dir.display();
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{shown} cannot be made, since the directory above it is not there; make that first")
        }
        other => return other.with_context(|| format!("{shown} cannot be made")),
    }
    let found = fs::symlink_metadata(dir).with_context(|| format!("{shown} cannot be looked at"))?;
    if !found.is_dir() {
        bail!("{shown} is not a directory; name another with --dir");
    }
    if found.uid() != getuid().as_raw() {
        bail!("{shown} belongs to another user; name another directory with --dir");
    }
    Ok(())
}

/// The counterpart of `dir` on the tmpfs: another one for each directory.
fn memory_of(dir: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    Path::new(TMPFS).join(format!("{}{:016x}", memory_prefix(), hasher.finish()))
}

fn check_socket_path(dir: &Path, nodes: u16) -> Result<()> {
    let longest = mesh::node_dir(dir, nodes - 1).join("agent.sock");
    let length = longest.as_os_str().len();
    if length >= SOCKET_PATH_BYTES_MAX {
        let over = length + 1 - SOCKET_PATH_BYTES_MAX;
        bail!(
            "{} is {over} characters too long for sockets in it; name a shorter directory with --dir",
            dir.display()
        );
    }
    Ok(())
}
