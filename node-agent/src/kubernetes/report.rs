//! Writes the status of this agent's object.

use std::time::{Duration, Instant};

use kube::api::Patch;
use kube::{Api, Client, Resource};
use pagemesh_crds::{Agent, AgentStatus};
use serde_json::json;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{AgentIdentity, Pace, RETRY_MAX, RETRY_MIN, WriteError, apply, declare, written};
use crate::config::OwnAgent;
use crate::pause::jittered;

/// After so long without a right to write, there will be none any more. A token or a role that is being changed may be
/// missing for a moment.
const OUTCAST_AFTER: Duration = Duration::from_secs(10);

/// Writes every status that comes after the first, as soon as it is due, until none comes any more; the last one at once,
/// however often that has to be tried. An object that somebody has deleted is made again, and `uid` told which it is.
/// `outcast` is told when the API server has refused for a while to hear this agent.
pub async fn report(
    client: Client,
    identity: AgentIdentity,
    mut status: watch::Receiver<AgentStatus>,
    mut own: watch::Receiver<OwnAgent>,
    outcast: watch::Sender<bool>,
    uid: watch::Sender<String>,
) {
    let api: Api<Agent> = Api::all(client.clone());
    let mut pace = Pace::default();
    let mut pause = RETRY_MIN;
    let mut failing = false;
    let mut refused_since = None;
    let mut open = status.changed().await.is_ok();
    if !open {
        return;
    }
    loop {
        if open {
            let due = pace.due(&status.borrow_and_update(), Instant::now());
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                changed = status.changed() => {
                    open = changed.is_ok();
                    // It may put off what was due, or make it due at once.
                    if open { continue }
                }
                Ok(()) = own.changed() => {
                    if !own.borrow_and_update().present {
                        warn!("the Agent object is gone; making it again");
                        declare(&client, &identity, &uid).await;
                        pace.forget();
                    }
                    continue;
                }
            }
        }
        let wanted = status.borrow().clone();
        if pace.due(&wanted, Instant::now()).is_none() {
            if open {
                continue;
            }
            return;
        }
        match written(write(&api, &identity.name, &wanted)).await {
            Ok(_) => {
                if std::mem::take(&mut failing) {
                    info!("the status of the Agent object is written again");
                }
                (pause, refused_since) = (RETRY_MIN, None);
                outcast.send_if_modified(std::mem::take);
                pace.wrote(wanted, Instant::now());
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "cannot write the status of the Agent object; trying on");
                }
                refused_since =
                    refused_since.or(Some(Instant::now())).filter(|_| error.is_about_who_we_are());
                if refused_since.is_some_and(|since| since.elapsed() >= OUTCAST_AFTER) {
                    outcast.send_replace(true);
                }
                if let WriteError::Refused { code: 404, .. } = error {
                    declare(&client, &identity, &uid).await;
                }
                let pause_now = tokio::time::sleep(if open { jittered(pause) } else { RETRY_MIN / 4 });
                tokio::select! {
                    () = pause_now => {}
                    () = closed(&mut status), if open => open = false,
                }
                pause = (2 * pause).min(RETRY_MAX);
            }
        }
    }
}

/// Returns when no other status comes any more.
async fn closed(status: &mut watch::Receiver<AgentStatus>) {
    while status.changed().await.is_ok() {}
}

async fn write(api: &Api<Agent>, name: &str, status: &AgentStatus) -> kube::Result<Agent> {
    let patch = json!({
        "apiVersion": Agent::api_version(&()), "kind": Agent::kind(&()), "metadata": {"name": name}, "status": status,
    });
    api.patch_status(name, &apply(), &Patch::Apply(&patch)).await
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
