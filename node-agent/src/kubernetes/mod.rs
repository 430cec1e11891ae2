//! An agent as an object of Kubernetes: its `Agent` object, which it writes and from which it learns its number, and its
//! Lease. Nothing here is waited for by anything that serves programs.
//!
//! `identity` makes the object, `status` says (purely) what is true of the agent, `pace` when that is worth a write,
//! `report` writes it, `lease` says all the time that the agent lives, `pod_events` tells people of their pods.

mod identity;
mod lease;
mod pace;
mod pod_events;
mod report;
mod status;

pub use identity::{AgentIdentity, declare};
pub use lease::renew;
pub use pace::Pace;
pub use pod_events::{ACCESS_REVOKED, PodEvent, PodEvents};
pub use report::report;
pub use status::{Lent, Stage, StatusMaker};

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use kube::api::PatchParams;

/// Field manager of all that an agent writes.
const FIELD_MANAGER: &str = "pagemesh-agent";

/// For how long one write is awaited.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two tries of a write, at first and at most.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How all writes are done. What is ours is ours: nobody else has a reason to write it.
fn apply() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

/// Why a write has not succeeded, in a few words.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    /// The API server did not answer.
    #[error("it does not answer")]
    Timeout,
    /// It said no: what, and how.
    #[error("{message} ({code})")]
    Refused {
        /// In its words.
        message: String,
        /// As an HTTP status.
        code: u16,
    },
    /// It could not be asked.
    #[error("{0}")]
    Other(String),
}

impl WriteError {
    /// Whether the API server does not know this agent any more, or lets it do nothing.
    fn is_about_who_we_are(&self) -> bool {
        matches!(self, WriteError::Refused { code: 401 | 403, .. })
    }
}

async fn written<T>(write: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
    match tokio::time::timeout(WRITE_TIMEOUT, write).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(kube::Error::Api(status))) => {
            Err(WriteError::Refused { message: status.message.clone(), code: status.code })
        }
        Ok(Err(error)) => Err(WriteError::Other(error.to_string())),
        Err(_elapsed) => Err(WriteError::Timeout),
    }
}

/// Labels of what an agent makes.
fn labels(pool: &str) -> BTreeMap<String, String> {
    let labels = [
        ("app.kubernetes.io/name", "pagemesh"),
        ("app.kubernetes.io/component", "agent"),
        ("app.kubernetes.io/part-of", "pagemesh"),
        ("app.kubernetes.io/managed-by", FIELD_MANAGER),
        ("pagemesh.io/agent-pool", pool),
    ];
    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
