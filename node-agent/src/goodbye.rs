//! The end of an agent on Kubernetes: it waits until others have taken over, then it leaves.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use pagemesh_agent::config::{Life, Objects, OwnAgent};
use pagemesh_agent::handover::{HandOver, Next, Patience, hand_over};
use pagemesh_agent::kubernetes::Stage;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::agent::{Agent, Signals};
use crate::cluster::Cluster;

/// What leaving takes at least, however late the hand-over was done.
const LEAVE_MIN: Duration = Duration::from_secs(5);

/// Who takes leave.
pub(crate) struct Leaver {
    pub(crate) life: Life,
    pub(crate) pool: String,
}

/// How the wait for others ends.
enum End {
    /// It leaves, and looks again after that: others may have counted on it in the meantime.
    Leave,
    /// It leaves as long as that takes at least, and goes.
    LeaveLate,
    /// It goes as it is.
    GoNow,
}

/// Hands over and leaves, which takes so long at most. The cluster must know already that the agent stops.
pub(crate) async fn say_goodbye(
    agent: &mut Agent,
    cluster: &mut Cluster,
    signals: &mut Signals,
    leaver: &Leaver,
    at_most: Duration,
) -> Result<()> {
    let now = Instant::now();
    let deadline = now + at_most;
    let mut patience = Patience::new(now, deadline);
    let (mut objects, mut own, mut outcast) =
        (agent.objects(), cluster.own.subscribe(), cluster.outcast.clone());
    let mut observed = agent.observed.clone();
    loop {
        let end = async {
            tokio::select! {
                end = handed_over(&mut objects, &mut own, leaver, &mut patience) => end,
                () = cast_out(&mut outcast) => {
                    warn!("the API server does not hear this agent any more, so nobody will take over: the agent goes");
                    End::LeaveLate
                }
                signal = signals.next() => at_once(signal),
                never = cluster.follow(&mut observed) => match never {},
            }
        };
        let end = agent.serve_until(end).await?;
        let earliest = Instant::now() + LEAVE_MIN;
        let leave_until = match end {
            End::Leave => deadline.max(earliest),
            End::LeaveLate => earliest,
            End::GoNow => return Ok(()),
        };
        let left = tokio::select! {
            left = agent.leave(leave_until) => left,
            signal = signals.next() => { at_once(signal); false }
            never = cluster.follow(&mut observed) => match never {},
        };
        if !left || matches!(end, End::LeaveLate) || is_free(agent, leaver) {
            return Ok(());
        }
        info!("others have counted on the agent while it left: it hands over again");
    }
}

fn at_once(signal: &str) -> End {
    warn!("the agent goes at once, since it got {signal} again: pages that it homes go with it");
    End::GoNow
}

/// Whether nobody counts on the agent, and nothing of anybody is here.
fn is_free(agent: &Agent, Leaver { life, pool }: &Leaver) -> bool {
    agent.control.has_left() && hand_over(&agent.control.objects(), life, pool) == HandOver::Done
}

/// Returns when the API server refuses to hear this agent, as when its pool was deleted and its rights with it.
async fn cast_out(outcast: &mut watch::Receiver<bool>) {
    if outcast.wait_for(|outcast| *outcast).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until nobody counts on the agent any more, or there is nothing to wait for.
async fn handed_over(
    objects: &mut watch::Receiver<Arc<Objects>>,
    own: &mut watch::Receiver<OwnAgent>,
    Leaver { life, pool }: &Leaver,
    patience: &mut Patience,
) -> End {
    let mut told = HandOver::Done;
    loop {
        let how_far = hand_over(&objects.borrow_and_update(), life, pool);
        let heard = says_that_it_stops(&own.borrow_and_update(), life);
        if let HandOver::Waiting { regions, more } = &how_far
            && how_far != told
        {
            info!(?regions, more, "waiting for others to take over");
        }
        match patience.next(Instant::now(), &how_far, heard) {
            Next::Leave => return End::Leave,
            Next::GoAlone => {
                warn!("nobody is ready to take over: the agent goes, and the pages that it homes go with it");
                return End::GoNow;
            }
            Next::GoLate => {
                error!(
                    ?how_far,
                    "the time to hand over is over: the agent goes, and the pages that it homes go with it"
                );
                return End::LeaveLate;
            }
            Next::Wait(until) => tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                Ok(()) = objects.changed() => {}
                Ok(()) = own.changed() => {}
            },
        }
        told = how_far;
    }
}

fn says_that_it_stops(own: &OwnAgent, life: &Life) -> bool {
    own.incarnation.as_ref() == Some(&life.incarnation)
        && own.reason.as_deref() == Some(Stage::Stopping.reason())
}
