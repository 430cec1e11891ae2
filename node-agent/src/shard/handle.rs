//! A shard as the control path sees it: started, told, joined.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::eventfd::{EfdFlags, EventFd};
use pagemesh_protocol::{AgentId, Incarnation, Tuning};
use tokio::sync::mpsc::UnboundedSender;

use super::worker::Worker;
use super::{Command, Event};
use crate::journal::Recovered;
use crate::metrics::Metrics;

/// What a shard has to know from the start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This agent.
    pub me: AgentId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Number of shards of every agent in the mesh.
    pub shards: u16,
    /// Times and counts of the protocol.
    pub tuning: Tuning,
    /// Bytes that are asked for ahead of each of a program's streams of faults at most. 0: nothing is.
    pub ahead_bytes: u64,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// Directory, in a tmpfs, for what is to outlive this process. Without it, nothing does.
    pub state_dir: Option<PathBuf>,
}

/// A part of the data path, running as a thread.
#[derive(Debug)]
pub enum Shard {}

impl Shard {
    /// Starts a shard. One that takes over from an earlier process does nothing before [`Command::TakeOver`].
    ///
    /// # Errors
    /// The system has no more threads or descriptors, or there is no room for what is to outlive this process.
    pub fn spawn(
        index: u16,
        setup: Setup,
        recovered: Option<Recovered>,
        events: UnboundedSender<Event>,
    ) -> io::Result<ShardHandle> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (commands, inbox) = mpsc::channel();
        let (started, outcome) = mpsc::sync_channel(1);
        let bell = wake.clone();
        let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
            let _guard = AbortOnPanic;
            match Worker::new(index, setup, recovered, events, inbox, bell) {
                Ok(worker) => {
                    let _ = started.send(Ok(()));
                    worker.run();
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        })?;
        outcome.recv().map_err(io::Error::other)??;
        Ok(ShardHandle { commands, wake, thread: Arc::new(Mutex::new(Some(thread))) })
    }
}

/// Talks to a shard. Clones talk to the same one.
#[derive(Clone, Debug)]
pub struct ShardHandle {
    commands: mpsc::Sender<Command>,
    wake: Arc<EventFd>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl ShardHandle {
    /// Tells the shard to do something. A shard that has ended drops the command, and with it whatever would have
    /// been answered.
    pub fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            // It can only fail when the counter is full, and then the shard has been woken very often already.
            let _ = self.wake.write(1);
        }
    }

    /// Waits until the shard has ended, for which it needs [`Command::Stop`]. May be called once; later calls return
    /// at once.
    pub fn join(&self) {
        let thread = self.thread.lock().map_or(None, |mut thread| thread.take());
        if let Some(thread) = thread {
            // A panic would have ended the process.
            let _ = thread.join();
        }
    }
}

/// A shard that has panicked may have left a page half moved. Nobody must see it: the process ends, and the programs
/// wait in their faults. Release builds abort anyway; this is for the others.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
