//! Waiting for a condition, never for a time.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// For what takes an API call and a reaction to it.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// For what takes pods to start or end on a busy machine.
pub(crate) const EVENTUALLY: Duration = Duration::from_secs(240);

/// Looks again and again until `look` has an answer.
///
/// # Errors
///
/// With what `look` said last, once the deadline has passed. An error of `look` itself is such a saying: what is asked may
/// be away for a moment.
pub(crate) async fn until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        let last = match look().await {
            Ok(Seen::Yes(answer)) => return Ok(answer),
            Ok(Seen::NotYet(last)) => last,
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() >= end {
            bail!("waited {} s for {what}; at last: {last}", deadline.as_secs());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// What a look showed.
pub(crate) enum Seen<T> {
    /// It has come.
    Yes(T),
    /// Not yet, but this.
    NotYet(String),
}

impl Seen<()> {
    /// It has come if `condition` holds; otherwise there was `what`.
    pub(crate) fn when(condition: bool, what: impl FnOnce() -> String) -> Seen<()> {
        if condition { Seen::Yes(()) } else { Seen::NotYet(what()) }
    }
}
