//! The side of the agent that runs.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;
use tracing::{info, warn};

use super::SOCKET;
use super::packet::{Answer, Ask};
use crate::attach::{self, Connection, ListenError};
use crate::shard::monotonic_nanos;

/// For how long one may take to ask.
const ASK_WAIT: Duration = Duration::from_secs(1);

/// Where a successor asks.
#[derive(Debug)]
pub struct Door {
    listener: AsyncFd<OwnedFd>,
    shards: u16,
}

/// A successor that can take over.
#[derive(Debug)]
pub struct Heir {
    connection: Connection,
    release: String,
}

impl Door {
    /// Opens it in an agent's runtime directory, for this user alone.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn open(dir: &Path, shards: u16) -> Result<Door, ListenError> {
        let path = dir.join(SOCKET);
        let listener = attach::listen(&path, 0o600)?;
        let listener =
            attach::watch(listener, Interest::READABLE).map_err(|source| ListenError::Io { path, source })?;
        Ok(Door { listener, shards })
    }

    /// Awaits a successor. Those that could not go on with what is kept here are told so.
    pub async fn heir(&self) -> Heir {
        loop {
            match self.next().await {
                Ok(Ok(heir)) => return heir,
                Ok(Err(reason)) => warn!("stays, since its successor cannot take over: {reason}"),
                Err(error) => info!(%error, "a successor was gone before it had asked"),
            }
        }
    }

    async fn next(&self) -> io::Result<Result<Heir, String>> {
        let accepted = self.listener.async_io(Interest::READABLE, attach::accept).await?;
        let connection = Connection::new(accepted)?;
        let received =
            timeout(ASK_WAIT, connection.receive()).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let received = received.ok_or(io::ErrorKind::UnexpectedEof)?;
        let refusal = match serde_json::from_slice::<Ask>(&received.bytes) {
            Ok(ask) => match ask.misfit(self.shards) {
                None => {
                    let heir = Heir { connection, release: ask.release };
                    return if heir.waits() { Ok(Ok(heir)) } else { Err(io::ErrorKind::BrokenPipe.into()) };
                }
                Some(misfit) => misfit,
            },
            Err(_) => "it asks for what this release does not know".into(),
        };
        connection.send(&serde_json::to_vec(&Answer::Refused(refusal.clone()))?, &[]).await?;
        Ok(Err(refusal))
    }
}

impl Heir {
    /// Its release.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Whether it is still there: nobody ends for one that is gone.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.connection.is_open()
    }

    /// Gives it the locks of the directories, once nobody serves any more what is in them.
    ///
    /// # Errors
    /// It is gone. What was kept waits for the next one.
    pub async fn give(self, locks: [File; 2], stopped_nanos: u64) -> io::Result<()> {
        let answer = serde_json::to_vec(&Answer::Yours { stopped_nanos })?;
        self.connection.send(&answer, &locks.each_ref().map(AsFd::as_fd)).await?;
        info!(
            release = self.release,
            after_us = (monotonic_nanos() - stopped_nanos) / 1000,
            "handed everything over to a successor"
        );
        Ok(())
    }
}
