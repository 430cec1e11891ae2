//! The two directories of a running agent: its own for the time that it runs, and clean when it ends.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tracing::warn;

use crate::kept::{self, CannotTakeUp, Kept};
use crate::{memory, names, succession};

/// Name of the attach socket in the runtime directory.
const SOCKET: &str = "agent.sock";
/// Name of the file that says that the agent is up.
const INFO: &str = "agent.json";

/// Why an agent cannot have a directory.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Another agent has it.
    #[error(
        "{0} belongs to an agent that is running: end that one, or give each agent directories of its own"
    )]
    Taken(PathBuf),
    /// No tmpfs of the size that is to be lent can be mounted.
    #[error(
        "cannot mount a tmpfs on {dir}: {source}; run the agent privileged, or mount one there and leave --memory out"
    )]
    Mount {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Less is to be lent than what programs hold of an earlier life.
    #[error(
        "programs that attached to an earlier agent of this node still hold {held_bytes} bytes of the memory in {dir}, more \
         than the {lent_bytes} that are to be lent now: end these programs, or lend more"
    )]
    TooFull {
        /// The directory.
        dir: PathBuf,
        /// What they hold.
        held_bytes: u64,
        /// What is to be lent.
        lent_bytes: u64,
    },
    /// Another version of the agent has kept what is there.
    #[error(
        "what an earlier agent of this node has kept cannot be taken up: {0}, or, if it may be lost, remove `state` in --memory-dir"
    )]
    Kept(CannotTakeUp),
    /// It cannot be made or used.
    #[error("cannot use the directory {dir}: {source}")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What `agent.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Info {
    /// Its process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u16,
    /// Where peers reach it.
    pub listen: SocketAddr,
    /// Where it answers HTTP.
    pub http: SocketAddr,
    /// Where it answers what paths stand for.
    pub names: SocketAddr,
    /// Where programs attach.
    pub socket: PathBuf,
}

/// The directories of an agent, held until this is dropped.
#[derive(Debug)]
pub struct Dirs {
    dir: PathBuf,
    memory_dir: PathBuf,
    lent_bytes: Option<u64>,
    held_bytes: u64,
    /// They go with the descriptors, however the agent ends. None once they are a successor's.
    locks: Option<[File; 2]>,
}

impl Dirs {
    /// Takes the runtime directory and the one for region files, and makes them if they are missing. With `lent_bytes`, a
    /// tmpfs is mounted on the directory for region files, or the one that is there gets that size. What an agent that was
    /// killed has left there stays if it can be taken up, and else is removed.
    ///
    /// # Errors
    ///
    /// When one of them belongs to a running agent or cannot be used.
    pub fn take(dir: &Path, memory_dir: &Path, lent_bytes: Option<u64>) -> Result<Dirs, DirError> {
        let (dir, memory_dir) = (absolute(dir)?, absolute(memory_dir)?);
        let lock = make_and_lock(&dir)?;
        let mounting = |source| DirError::Mount { dir: memory_dir.clone(), source };
        if let Some(bytes) = lent_bytes {
            make(&memory_dir)?;
            memory::mount_on(&memory_dir, bytes).map_err(mounting)?;
        }
        // One directory may serve as both; a second lock on it would be refused.
        let memory_lock = if same(&lock, &memory_dir) {
            lock.try_clone().map_err(|source| DirError::Io { dir: dir.clone(), source })?
        } else {
            make_and_lock(&memory_dir)?
        };
        Dirs::enter(dir, memory_dir, lent_bytes, [lock, memory_lock])
    }

    /// Takes them over from the agent that has had them, with its locks. The memory has the size that it has.
    ///
    /// # Errors
    ///
    /// What was kept in them cannot be taken up.
    pub fn inherit(
        dir: &Path,
        memory_dir: &Path,
        lent_bytes: Option<u64>,
        locks: [File; 2],
    ) -> Result<Dirs, DirError> {
        let (dir, memory_dir) = (absolute(dir)?, absolute(memory_dir)?);
        Dirs::enter(dir, memory_dir, lent_bytes, locks)
    }

    fn enter(
        dir: PathBuf,
        memory_dir: PathBuf,
        lent_bytes: Option<u64>,
        locks: [File; 2],
    ) -> Result<Dirs, DirError> {
        let mut dirs = Dirs { dir, memory_dir, lent_bytes, held_bytes: 0, locks: Some(locks) };
        // The socket stays until there is another one: programs that find it wait for a successor.
        let _ = fs::remove_file(dirs.dir.join(INFO));
        match kept::look(&dirs.memory_dir) {
            // What is there is in use: to lend less has to wait until it is not.
            Ok(true) => match dirs.resize() {
                Ok(()) => {}
                Err(DirError::TooFull { lent_bytes, .. }) => warn!(
                    lent_bytes,
                    "more memory is in use than is to be lent from now on: it keeps the size that it has until the agent starts anew"
                ),
                Err(error) => return Err(error),
            },
            Ok(false) => dirs.clear_memory()?,
            Err(error) if error.is_of_another_version() => return Err(DirError::Kept(error)),
            Err(error) => {
                warn!(
                    "what an earlier agent of this node has kept cannot be taken up, and so is lost: {error}"
                );
                dirs.clear_memory()?;
            }
        }
        Ok(dirs)
    }

    /// Removes what an earlier process has left in memory: nobody serves the faults on such region files any more.
    fn clear_memory(&mut self) -> Result<(), DirError> {
        let using = |source| DirError::Io { dir: self.memory_dir.clone(), source };
        Kept::of(&self.memory_dir).remove().map_err(using)?;
        memory::remove_region_files(&self.memory_dir, &[]).map_err(using)?;
        // Files without a name that programs still have mapped.
        self.held_bytes = memory::used_bytes(&self.memory_dir).map_err(using)?;
        self.resize()
    }

    /// What was left there could have been more than is lent now.
    fn resize(&self) -> Result<(), DirError> {
        let Some(lent_bytes) = self.lent_bytes else { return Ok(()) };
        memory::resize(&self.memory_dir, lent_bytes).map_err(|error| match error.raw_os_error() {
            // What the kernel says of a tmpfs that is fuller than that.
            Some(libc::EINVAL) => {
                DirError::TooFull { dir: self.memory_dir.clone(), held_bytes: self.held_bytes, lent_bytes }
            }
            Some(_) | None => DirError::Mount { dir: self.memory_dir.clone(), source: error },
        })
    }

    /// Bytes of the memory that were in use when the directories were taken, and so are not free for regions: most often
    /// programs hold them that attached to an earlier agent.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Where programs attach.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET)
    }

    /// Says that the agent is up. Whoever sees the file sees all of it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn announce(&self, info: &Info) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(info)?;
        let new = self.dir.join(".agent.json.new");
        fs::write(&new, text)?;
        fs::rename(&new, self.dir.join(INFO))
    }

    /// The runtime directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The locks, for a successor: whoever has them has the directories.
    #[must_use]
    pub fn into_locks(mut self) -> [File; 2] {
        self.locks.take().expect("only this takes them, and this is over then")
    }

    /// The agent has ended in good order: nobody need wait for a successor.
    pub fn end(&self) {
        // Most often they are there, and else they are in nobody's way.
        for socket in [SOCKET, succession::SOCKET, names::SOCKET] {
            let _ = fs::remove_file(self.dir.join(socket));
        }
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        if self.locks.is_some() {
            let _ = fs::remove_file(self.dir.join(INFO));
        }
    }
}

fn absolute(dir: &Path) -> Result<PathBuf, DirError> {
    std::path::absolute(dir).map_err(|source| DirError::Io { dir: dir.into(), source })
}

fn make(dir: &Path) -> Result<(), DirError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(DirError::Io { dir: dir.into(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn make_and_lock(dir: &Path) -> Result<File, DirError> {
    let io = |source| DirError::Io { dir: dir.into(), source };
    make(dir)?;
    let file = File::open(dir).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DirError::Taken(dir.into())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

fn same(dir: &File, other: &Path) -> bool {
    let (Ok(a), Ok(b)) = (dir.metadata(), fs::metadata(other)) else { return false };
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(test)]
#[path = "instance_tests.rs"]
mod tests;
