//! The side of the agent that takes over.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::SOCKET;
use super::packet::{Answer, Ask};
use crate::attach::{Connection, connect};

/// What a predecessor has handed over.
#[derive(Debug)]
pub struct Inheritance {
    /// The locks of the runtime directory and of that of region memory.
    pub locks: [File; 2],
    /// When the predecessor began to end, on the clock that all processes of the machine share, in nanoseconds.
    pub stopped_nanos: u64,
}

/// Why an agent cannot take over from the one that runs.
#[derive(Debug, thiserror::Error)]
pub enum CannotSucceed {
    /// There is nobody to ask.
    #[error("the agent that runs here takes no successor: {0}")]
    Unreachable(io::Error),
    /// It was asked, and is gone.
    #[error("the agent that ran here ended while it was asked: {0}")]
    Gone(io::Error),
    /// It stays.
    #[error("the agent that runs here stays: {0}")]
    Refused(String),
    /// What it says makes no sense.
    #[error("the agent that runs here answers what this release does not know: {0}")]
    Strange(String),
}

/// Asks the agent that runs in this directory for everything. When this returns, that one serves no more.
///
/// # Errors
/// It stays, or there is none.
pub async fn ask(dir: &Path, shards: u16) -> Result<Inheritance, CannotSucceed> {
    let connection = connect(&dir.join(SOCKET)).map_err(CannotSucceed::Unreachable)?;
    let (bytes, descriptors) = exchange(&connection, shards).await.map_err(CannotSucceed::Gone)?;
    let strange = |what: String| CannotSucceed::Strange(what);
    match serde_json::from_slice(&bytes).map_err(|error| strange(error.to_string()))? {
        Answer::Refused(reason) => Err(CannotSucceed::Refused(reason)),
        Answer::Yours { stopped_nanos } => {
            let locks: Result<[OwnedFd; 2], _> = descriptors.try_into();
            let locks = locks.map_err(|all| strange(format!("{} locks in place of two", all.len())))?;
            Ok(Inheritance { locks: locks.map(File::from), stopped_nanos })
        }
    }
}

async fn exchange(connection: &Connection, shards: u16) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    connection.send(&serde_json::to_vec(&Ask::of_this_agent(shards))?, &[]).await?;
    let received = connection.receive().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((received.bytes, received.descriptors))
}
