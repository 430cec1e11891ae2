//! Looks again and again at what this agent holds, for those who report it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::control::{Attached, Control, RegionState, Survey, survey};

/// Between two looks when all is quiet.
const EVERY: Duration = Duration::from_secs(1);
/// Between two looks while something is on its way that others wait for.
const SOON: Duration = Duration::from_millis(100);
/// Between two looks at least.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// What there is, all of it seen within a moment.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The declared regions.
    pub regions: Vec<RegionState>,
    /// Who is attached.
    pub attached: Vec<Attached>,
    /// What the shards say. They had been told before of all that `regions` says.
    pub survey: Survey,
}

impl Observation {
    fn is_quiet(&self) -> bool {
        let settled = |state: &RegionState| {
            let Some(open) = state.open else { return true };
            self.survey.regions.get(&state.id).is_some_and(|s| s.settled && s.epoch >= open.epoch)
        };
        self.regions.iter().all(settled)
    }
}

/// Looks once.
///
/// # Errors
///
/// The numbers of the shards that did not answer in time. What is known without them is no observation: that they did not
/// say what they hold does not mean that they hold nothing.
pub async fn look(control: &Control) -> Result<Observation, Vec<usize>> {
    // In this order: commands are taken up in order, so the shards' answers are of this state or a later one.
    let regions = control.regions();
    let attached = control.attachments().into_iter().map(|(_, attached)| attached).collect();
    let survey = survey(control).await?;
    Ok(Observation { regions, attached, survey })
}

/// Looks for ever, and has closed what nobody needs any more. While a shard does not answer, the last observation stays.
pub async fn observe(control: Arc<Control>, publish: watch::Sender<Observation>) {
    let mut changes = control.changes();
    let mut told = Vec::new();
    loop {
        changes.mark_unchanged();
        control.tidy(Instant::now());
        let (every, silent) = match look(&control).await {
            Ok(observation) => {
                control.note_survey(&observation.survey, Instant::now());
                let every = if observation.is_quiet() && control.leaving() == 0 { EVERY } else { SOON };
                publish.send_replace(observation);
                (every, Vec::new())
            }
            Err(silent) => (EVERY, silent),
        };
        if silent != told {
            warn!(?silent, "shards that do not answer");
        }
        told = silent;
        sleep(PAUSE_MIN).await;
        // Either way it is time to look.
        let _ = timeout(every, changes.changed()).await;
    }
}
