//! Follows the objects directory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use pagemesh_crds::FieldError;
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

use super::{Files, InForce, Me, Objects, Sources, of_files, read};

/// Writers often take several steps (write, close, rename; one file, then the next): wait until they have paused.
const PAUSE: Duration = Duration::from_millis(20);
/// Pauses that are awaited at most, so that one who writes for ever does not keep everything else from taking effect.
const PAUSES_MAX: u32 = 25;

/// Why the objects directory cannot be followed. Only at the start: later trouble is logged and what was last good
/// stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the objects directory {dir}: {source}; make it, or name another with --objects")]
    Read {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be watched.
    #[error(
        "cannot watch the objects directory {dir}: {source}; if they are used up, raise fs.inotify.max_user_instances \
         and max_user_watches"
    )]
    Watch {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: notify::Error,
    },
}

/// The directory, and what of it is in force.
#[derive(Debug)]
pub struct Watch {
    dir: PathBuf,
    in_force: InForce,
    /// Files of which it was said what is ignored of them.
    ignored: Ignored,
    /// The directory could not be read the last time.
    unreadable: bool,
    changed: mpsc::Receiver<()>,
    /// Ends the watch when dropped.
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Begins to watch `dir` and reads it for the first time.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read or watched. Bad files are logged and are no error.
    pub fn start(dir: &Path, me: Me) -> Result<Watch, ConfigError> {
        // A full channel says already that something has changed.
        let (sender, changed) = mpsc::channel(1);
        let told = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_change(event.kind)) {
                let _ = sender.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
            watcher.watch(dir, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        // Watch first and read then, so that no change falls between.
        let watcher = watcher.map_err(|source| ConfigError::Watch { dir: dir.into(), source });
        let files = read(dir).map_err(|source| ConfigError::Read { dir: dir.into(), source })?;
        let mut this = Watch {
            dir: dir.into(),
            in_force: InForce::new(me),
            ignored: Ignored::default(),
            unreadable: false,
            changed,
            _watcher: watcher?,
        };
        this.take(&files);
        Ok(this)
    }

    /// Takes all files; whether anything is in force then that was not.
    fn take(&mut self, files: &Files) -> bool {
        let sources = of_files(files);
        for Ignoring { source, object, field, reason } in self.ignored.news(&sources) {
            warn!(source, object, field, reason, "what is declared there does nothing");
        }
        self.in_force.take(&sources)
    }

    /// What is in force.
    #[must_use]
    pub fn in_force(&self) -> Arc<Objects> {
        self.in_force.objects()
    }

    /// Publishes every new state, until nobody listens.
    pub async fn run(mut self, publish: watch::Sender<Arc<Objects>>) {
        loop {
            tokio::select! {
                () = publish.closed() => return,
                told = self.changed.recv() => if told.is_none() { return },
            }
            for _ in 0..PAUSES_MAX {
                if tokio::time::timeout(PAUSE, self.changed.recv()).await.is_err() {
                    break;
                }
            }
            let dir = self.dir.clone();
            let files = tokio::task::spawn_blocking(move || read(&dir)).await;
            match files.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(files) => {
                    self.unreadable = false;
                    if self.take(&files) {
                        publish.send_replace(self.in_force());
                    }
                }
                Err(error) if !self.unreadable => {
                    self.unreadable = true;
                    // A directory that is made again is another one, and nobody watches that.
                    error!(
                        dir = %self.dir.display(),
                        %error,
                        "cannot read the objects directory; what was last good stays in force: mend it and restart"
                    );
                }
                Err(_) => {}
            }
        }
    }
}

/// What of a file does nothing where there is no Kubernetes.
#[derive(Debug, PartialEq, Eq)]
struct Ignoring {
    source: String,
    object: String,
    field: String,
    reason: String,
}

/// The files of which that has been said, by their versions.
#[derive(Debug, Default)]
struct Ignored(BTreeMap<String, u64>);

impl Ignored {
    /// What is to be said now: once for each change of a file.
    fn news(&mut self, sources: &Sources) -> Vec<Ignoring> {
        let before = std::mem::take(&mut self.0);
        self.0 = sources.iter().map(|(name, source)| (name.clone(), source.version)).collect();
        let mut news = Vec::new();
        for (name, source) in sources.iter().filter(|(name, s)| before.get(*name) != Some(&s.version)) {
            for object in source.objects.iter().flatten() {
                let ignored = object.ignored_without_kubernetes();
                news.extend(ignored.into_iter().map(|FieldError { field, reason }| Ignoring {
                    source: name.clone(),
                    object: object.describe(),
                    field,
                    reason,
                }));
            }
        }
        news
    }
}

/// Reading a file is also reported; to react to our own reading would never end.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
