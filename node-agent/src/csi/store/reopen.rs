//! Volumes of an earlier process of the agent, opened again.
//!
//! Their pods live, and get no other ones. So nothing of them is removed because something does not work at the moment: it is
//! tried again until it does.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::{
    Known, NOTE, Note, PublishError, SOCKET_MODE, Store, Trying, VOLUMES_MODE, make_dir, remove_dir,
    remove_note,
};
use crate::attach;
use crate::csi::library::Library;
use crate::kept::note;
use crate::volume::{OpenVolume, SOCKET};

/// How often is tried again what could not be opened.
const AGAIN_EVERY: Duration = Duration::from_secs(1);

impl Store {
    /// Opens the volumes that an earlier process of the agent has made, as far as their pods are still there, in `dir`, which
    /// no other agent uses. Some may have to [wait](open_the_rest).
    pub(in crate::csi) fn open(dir: &Path, library: Library, pods_dir: &Path) -> io::Result<Store> {
        make_dir(dir, VOLUMES_MODE)?;
        let store = Store {
            dir: dir.into(),
            library,
            pods_dir: pods_dir.into(),
            known: Mutex::default(),
            open: watch::Sender::new(Arc::default()),
        };
        let mut known = Known::default();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != NOTE) {
                continue;
            }
            if let Err(error) = store.reopen(&path, &mut known) {
                // The pod's programs cannot attach until then; those that are attached go on.
                warn!(note = %path.display(), "cannot open a pod's volume again, and will try to: {error}");
                known.waiting.insert(path);
            }
        }
        store.remove_leftovers(&known)?;
        *store.known() = Some(known);
        Ok(store)
    }

    /// Opens the volume again that this note is of, or removes what is left of it if it is over.
    pub(super) fn reopen(&self, note: &Path, known: &mut Known) -> Result<(), PublishError> {
        let Some(Note { volume, target }) = self.read(note)? else {
            let dir = note.with_extension("");
            remove_note(note).trying("remove", note)?;
            remove_dir(&dir).trying("remove", &dir)?;
            known.waiting.remove(note);
            return Ok(());
        };
        if let Err(error) = self.library.link(&volume.dir) {
            warn!(dir = %volume.dir.display(), %error, "a pod keeps the library that it has, of an earlier release");
        }
        let listener = Arc::new(attach::listen(&volume.dir.join(SOCKET), SOCKET_MODE)?);
        known.waiting.remove(note);
        known.targets.insert(volume.id.clone(), target);
        self.insert(OpenVolume { volume: Arc::new(volume), listener });
        Ok(())
    }

    /// Reads the note of a volume that is there still; `None` if it is not.
    fn read(&self, path: &Path) -> Result<Option<Note>, PublishError> {
        let over = |why: &str| {
            warn!(note = %path.display(), why, "a volume is lost, and is dropped: its pod's programs cannot attach any more");
            Ok(None)
        };
        let found = match note::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return over("its note is gone"),
            read => read.trying("read", path)?,
        };
        let note: Note = match found {
            note::Found::Value(note) => note,
            note::Found::Foreign => {
                let why = "it is of a version that this agent does not know: run the version that wrote it";
                return Err(io::Error::other(why)).trying("use", path);
            }
            note::Found::Damaged => return over("its note is not what was written"),
        };
        let Note { volume, .. } = &note;
        let (expected, dir) = self.paths(&volume.id);
        if expected != path || volume.dir != dir {
            return over("its note is of another place");
        }
        let pod_dir = self.pods_dir.join(&volume.pod.uid);
        if !is_there(&pod_dir)? {
            info!(volume = volume.id, "a volume's pod is gone, and so it goes");
            return Ok(None);
        }
        if !is_there(&dir)? {
            return over("its directory is gone");
        }
        Ok(Some(note))
    }

    /// Removes what is no volume: one that was being made or taken away.
    fn remove_leftovers(&self, known: &Known) -> io::Result<()> {
        let open = self.open.borrow().clone();
        let notes = open.values().map(|open| open.volume.dir.with_extension(NOTE));
        let volumes: BTreeSet<PathBuf> = notes
            .chain(known.waiting.iter().cloned())
            .flat_map(|note| [note.with_extension(""), note])
            .collect();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let path = entry.path();
            if volumes.contains(&path) {
                continue;
            }
            if entry.file_type()?.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        Ok(())
    }

    /// Tries again what could not be opened. Returns whether nothing of that is left.
    fn try_again(&self) -> bool {
        let mut known = self.known();
        // Else another process of the agent has it.
        let Some(known) = &mut *known else { return true };
        for note in known.waiting.clone() {
            match self.reopen(&note, known) {
                Ok(()) => info!(note = %note.display(), "a volume waits no longer"),
                Err(error) => debug!(note = %note.display(), "cannot open a pod's volume again yet: {error}"),
            }
        }
        known.waiting.is_empty()
    }
}

fn is_there(path: &Path) -> Result<bool, PublishError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).trying("look at", path),
    }
}

/// Tries now and then to open what could not be opened at first. Does not end.
pub(in crate::csi) async fn open_the_rest(store: Weak<Store>) -> Infallible {
    let mut again = interval(AGAIN_EVERY);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        again.tick().await;
        let Some(store) = store.upgrade() else { break };
        if matches!(tokio::task::spawn_blocking(move || store.try_again()).await, Ok(true)) {
            break;
        }
    }
    std::future::pending().await
}
