//! Follows the objects directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tracing::error;

use super::{InForce, Me, Objects, of_files, read};

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
            unreadable: false,
            changed,
            _watcher: watcher?,
        };
        this.in_force.take(&of_files(&files));
        Ok(this)
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
                    if self.in_force.take(&of_files(&files)) {
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
