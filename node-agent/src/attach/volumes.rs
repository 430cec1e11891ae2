//! The doors of pods: the sockets of their volumes, which come and go.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use tokio::io::Interest;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tracing::warn;

use super::socket;
use crate::control::Control;
use crate::volume::{OpenVolume, Volume, Volumes};

/// One pod has at most this part of a node's attachments.
const SHARE: usize = 4;

/// How many attachments one pod has at most, on a node that has so many.
pub(super) fn of_one_pod(attachments_max: usize) -> usize {
    (attachments_max / SHARE).max(1)
}

/// A volume, and how many more programs of its pod may connect.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) volume: Arc<Volume>,
    pub(super) places: Arc<Semaphore>,
}

/// What was accepted, or why nothing was, and where.
type Accepted = (io::Result<OwnedFd>, Door);

/// All of them.
#[derive(Debug)]
pub(super) struct Doors {
    volumes: Volumes,
    control: Arc<Control>,
    attachments_max: usize,
    open: BTreeMap<String, (Arc<OwnedFd>, AbortHandle)>,
    /// What programs of each pod may connect yet, by its UID, as long as it has a door or a connection. All its volumes share it.
    places: BTreeMap<String, Weak<Semaphore>>,
    tasks: JoinSet<()>,
    sender: mpsc::Sender<Accepted>,
    accepted: mpsc::Receiver<Accepted>,
}

impl Doors {
    pub(super) fn new(volumes: Volumes, control: Arc<Control>, attachments_max: usize) -> Doors {
        // One at a time: whoever else wants to connect waits in the kernel.
        let (sender, accepted) = mpsc::channel(1);
        let (open, places, tasks) = (BTreeMap::new(), BTreeMap::new(), JoinSet::new());
        let mut doors = Doors { volumes, control, attachments_max, open, places, tasks, sender, accepted };
        doors.follow();
        doors
    }

    /// Awaits the next program of any pod. Nothing is lost when this is cancelled.
    pub(super) async fn next(&mut self) -> Accepted {
        loop {
            tokio::select! {
                Some(accepted) = self.accepted.recv() => return accepted,
                Ok(()) = self.volumes.changed() => self.follow(),
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended && !error.is_cancelled() {
                        warn!(%error, "the door of a pod failed");
                    }
                }
            }
        }
    }

    /// Opens the doors of the volumes that are new, and closes those of the volumes that are gone.
    fn follow(&mut self) {
        let volumes = Arc::clone(&self.volumes.borrow_and_update());
        let same = |listener: &Arc<OwnedFd>, volume: Option<&OpenVolume>| {
            volume.is_some_and(|volume| Arc::ptr_eq(listener, &volume.listener))
        };
        self.open.retain(|id, (listener, task)| {
            let stays = same(listener, volumes.get(id));
            if !stays {
                task.abort();
            }
            // Its socket may just be another one.
            if !volumes.contains_key(id) {
                self.control.end_volume(id);
            }
            stays
        });
        self.places.retain(|_, places| places.strong_count() > 0);
        for (id, volume) in volumes.iter() {
            if !self.open.contains_key(id)
                && let Err(error) = self.open(id, volume)
            {
                warn!(volume = id, %error, "cannot serve the socket of a pod's volume");
            }
        }
    }

    fn open(&mut self, id: &str, volume: &OpenVolume) -> io::Result<()> {
        let listener = socket::watch(volume.listener.try_clone()?, Interest::READABLE)?;
        let places = self.places(&volume.volume.pod.uid);
        let door = Door { volume: Arc::clone(&volume.volume), places };
        self.control.begin_volume(id);
        let sender = self.sender.clone();
        let task = self.tasks.spawn(async move {
            loop {
                let accepted = listener.async_io(Interest::READABLE, socket::accept).await;
                let failed = accepted.is_err();
                if sender.send((accepted, door.clone())).await.is_err() {
                    return;
                }
                if failed {
                    tokio::time::sleep(super::ACCEPT_PAUSE).await;
                }
            }
        });
        self.open.insert(id.to_owned(), (Arc::clone(&volume.listener), task));
        Ok(())
    }
    fn places(&mut self, pod: &str) -> Arc<Semaphore> {
        let known = self.places.get(pod).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let places = Arc::new(Semaphore::new(of_one_pod(self.attachments_max)));
            self.places.insert(pod.to_owned(), Arc::downgrade(&places));
            places
        })
    }
}
