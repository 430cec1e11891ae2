//! Volumes on the node's disk: made, taken away, and found again by the next process of the agent.
//!
//! | in `--dir` | what |
//! |---|---|
//! | `volumes/<hash of the id>/` | what the pod sees: its socket, the library |
//! | `volumes/<hash of the id>.json` | what the volume is, and where it is mounted; pods do not see it |
//! | `library/<hash of the library>.so` | the library |

mod reopen;

pub(super) use reopen::open_the_rest;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

use super::library::Library;
use super::request::Request;
use super::{hash, mounts};
use crate::attach::{self, ListenError};
use crate::kept::note;
use crate::volume::{OpenVolume, SOCKET, Volume, Volumes};

/// Permissions of a volume's socket: everybody in the pod may knock, whatever user it runs as.
const SOCKET_MODE: u32 = 0o666;
/// Permissions of a volume's own directory: its pod sees nothing but it, whatever user its programs run as.
const VOLUME_MODE: u32 = 0o755;
/// Permissions of the directory of all volumes: by it others of the node would get at the sockets of pods. Those that look at a
/// volume where it is mounted do not pass here.
const VOLUMES_MODE: u32 = 0o700;
const NOTE: &str = "json";

/// What is noted of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    volume: Volume,
    target: PathBuf,
}

/// Why a volume cannot be published.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    /// Another request has made one of this id.
    #[error("the volume {id} is there already, {difference}: unpublish it first")]
    Other {
        /// The volume.
        id: String,
        /// In which way it is another one.
        difference: String,
    },
    /// Another process of the agent has the volumes by now.
    #[error("this agent hands over to another one: ask that one in a moment")]
    Closed,
    /// A socket cannot be made.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Anything else.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// As a verb.
        what: &'static str,
        /// What it is about.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Gives an error what was tried, and with what.
trait Trying<T> {
    fn trying(self, what: &'static str, path: &Path) -> Result<T, PublishError>;
}

impl<T> Trying<T> for io::Result<T> {
    fn trying(self, what: &'static str, path: &Path) -> Result<T, PublishError> {
        self.map_err(|source| PublishError::Io { what, path: path.into(), source })
    }
}

/// All volumes of the node.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    library: Library,
    /// Where the kubelet has its pods' directories.
    pods_dir: PathBuf,
    /// None once the store is closed. Who works on a volume has the lock: that is quick.
    known: Mutex<Option<Known>>,
    open: watch::Sender<Arc<BTreeMap<String, OpenVolume>>>,
}

/// What is known of volumes besides what all may see of them.
#[derive(Debug, Default)]
struct Known {
    /// Where those that are open are mounted.
    targets: BTreeMap<String, PathBuf>,
    /// Notes of those of an earlier process that cannot be opened yet.
    waiting: BTreeSet<PathBuf>,
}

impl Store {
    /// All volumes, as they come and go.
    pub(super) fn volumes(&self) -> Volumes {
        self.open.subscribe()
    }

    /// Leaves all volumes to another process of the agent. What is being done is done when this returns, and nothing follows.
    pub(super) fn close(&self) {
        *self.known() = None;
    }

    /// Makes a volume, unless it is there, and mounts it, unless it is.
    pub(super) fn publish(&self, request: Request) -> Result<(), PublishError> {
        let mut known = self.known();
        let known = known.as_mut().ok_or(PublishError::Closed)?;
        let Request { id, target, pod, regions, table } = request;
        let (note, dir) = self.paths(&id);
        if known.waiting.contains(&note) {
            self.reopen(&note, known)?;
        }
        let wanted = Note { volume: Volume { id, dir, pod, regions, table }, target };
        if let Some(open) = self.open.borrow().get(&wanted.volume.id) {
            let target = known.targets[&wanted.volume.id].clone();
            let there = Note { volume: Volume::clone(&open.volume), target };
            if let Some(difference) = difference(&there, &wanted) {
                return Err(PublishError::Other { id: wanted.volume.id, difference });
            }
            return mount(&wanted);
        }
        let draft = Draft { note: &note, dir: &wanted.volume.dir, target: &wanted.target };
        let listener = self.make(&wanted, &note)?;
        draft.keep();
        info!(
            volume = wanted.volume.id,
            namespace = wanted.volume.pod.namespace,
            pod = wanted.volume.pod.name,
            "a pod has a volume"
        );
        known.targets.insert(wanted.volume.id.clone(), wanted.target);
        self.insert(OpenVolume { volume: Arc::new(wanted.volume), listener });
        Ok(())
    }

    fn make(&self, wanted: &Note, note: &Path) -> Result<Arc<std::os::fd::OwnedFd>, PublishError> {
        let dir = &wanted.volume.dir;
        make_dir(dir, VOLUME_MODE).trying("make", dir)?;
        self.library.link(dir).trying("put the library into", dir)?;
        let listener = attach::listen(&dir.join(SOCKET), SOCKET_MODE)?;
        note::write(note, wanted).trying("write", note)?;
        mount(wanted)?;
        Ok(Arc::new(listener))
    }

    /// Takes a volume away, as far as it is there. One that is published somewhere else stays.
    pub(super) fn unpublish(&self, id: &str, target: &Path) -> Result<(), PublishError> {
        let mut known = self.known();
        let known = known.as_mut().ok_or(PublishError::Closed)?;
        remove_target(target).trying("unmount", target)?;
        let (note, dir) = self.paths(id);
        let elsewhere = match known.targets.get(id) {
            Some(there) => there != target,
            None if !known.waiting.contains(&note) => return Ok(()),
            // If its note cannot be read, the kubelet knows best.
            None => {
                matches!(note::read(&note), Ok(note::Found::Value(Note { target: there, .. })) if there != target)
            }
        };
        if elsewhere {
            return Ok(());
        }
        // First nobody attaches by it any more.
        self.open.send_modify(|open| drop(Arc::make_mut(open).remove(id)));
        known.targets.remove(id);
        known.waiting.remove(&note);
        info!(volume = id, "a pod's volume goes");
        // What cannot be removed now, the next process of the agent removes.
        remove_note(&note).trying("remove", &note)?;
        remove_dir(&dir).trying("remove", &dir)
    }

    fn insert(&self, open: OpenVolume) {
        self.open.send_modify(|all| drop(Arc::make_mut(all).insert(open.volume.id.clone(), open)));
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a volume's note and its directory are. The kubelet's ids are too long for a socket's path, and those of others
    /// may be anything.
    fn paths(&self, id: &str) -> (PathBuf, PathBuf) {
        let dir = self.dir.join(hash(id.as_bytes()));
        (dir.with_extension(NOTE), dir)
    }
}

/// A volume that is being made. Dropped, it leaves nothing behind.
struct Draft<'a> {
    note: &'a Path,
    dir: &'a Path,
    target: &'a Path,
}

impl Draft<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // Each by itself: what is in the way of the mount may be what is wrong.
        for undone in [remove_target(self.target), remove_note(self.note), remove_dir(self.dir)] {
            if let Err(error) = undone {
                warn!(target = %self.target.display(), %error, "of a volume that could not be made, something is left");
            }
        }
    }
}

/// In which way a volume is not the one that is there.
fn difference(there: &Note, wanted: &Note) -> Option<String> {
    if there.target != wanted.target {
        return Some(format!("at {}", there.target.display()));
    }
    if there.volume.pod != wanted.volume.pod {
        let pod = &there.volume.pod;
        return Some(format!("of the pod {}/{} with the UID {}", pod.namespace, pod.name, pod.uid));
    }
    if there.volume.regions != wanted.volume.regions {
        let regions: Vec<_> = there.volume.regions.iter().map(|region| region.name.as_str()).collect();
        return Some(format!("with the regions {}", regions.join(", ")));
    }
    if there.volume.table != wanted.volume.table {
        return Some(match &there.volume.table {
            Some(table) => format!("with the MountTable {table}"),
            None => "with the default MountTable".into(),
        });
    }
    None
}

fn mount(Note { volume, target }: &Note) -> Result<(), PublishError> {
    if mounts::is_bound(&volume.dir, target) {
        return Ok(());
    }
    // What was mounted there, and may be gone, is nothing that a directory can be made of.
    mounts::unmount(target).trying("unmount", target)?;
    match fs::create_dir(target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.trying("make", target)?,
    }
    if !fs::symlink_metadata(target).trying("look at", target)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into()).trying("mount on", target);
    }
    mounts::bind(&volume.dir, target).trying("mount on", target)
}

fn remove_target(target: &Path) -> io::Result<()> {
    mounts::unmount(target)?;
    // Never with what is in it: that would be somebody else's.
    gone(fs::remove_dir(target))
}

fn remove_note(note: &Path) -> io::Result<()> {
    gone(fs::remove_file(note))
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    gone(fs::remove_dir_all(dir))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A directory with these permissions, whatever the umask, and whatever it had if it is there.
fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(mode))
}
