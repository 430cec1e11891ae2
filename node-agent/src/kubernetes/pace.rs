//! When a status is worth a write: at once if somebody acts on what has changed, else now and then.

use std::time::{Duration, Instant};

use pagemesh_crds::AgentStatus;

/// Between two writes of numbers that nobody acts on.
const NUMBERS_EVERY: Duration = Duration::from_secs(10);

/// Between two writes at least, so that programs that come and go do not make one each.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// What was written last, and when.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<(AgentStatus, Instant)>,
}

impl Pace {
    /// When `status` is to be written: at that time or, if it has passed, at once; `None` if it is what was written.
    #[must_use]
    pub fn due(&self, status: &AgentStatus, now: Instant) -> Option<Instant> {
        let Some((last, when)) = &self.last else { return Some(now) };
        if last == status {
            return None;
        }
        let pause = if without_numbers(last) == without_numbers(status) { NUMBERS_EVERY } else { PAUSE_MIN };
        Some(*when + pause)
    }

    /// Takes note of a write.
    pub fn wrote(&mut self, status: AgentStatus, now: Instant) {
        self.last = Some((status, now));
    }

    /// What was written is not there any more.
    pub fn forget(&mut self) {
        self.last = None;
    }
}

/// What somebody acts on. How many are attached matters only where nobody is left: then a region can be deleted.
fn without_numbers(status: &AgentStatus) -> AgentStatus {
    let mut status = status.clone();
    if let Some(memory) = &mut status.memory {
        memory.resident_bytes = 0;
    }
    for region in &mut status.regions {
        region.resident_bytes = 0;
        region.attachments = region.attachments.min(1);
    }
    status
}

#[cfg(test)]
mod tests {
    use pagemesh_crds::{AgentMemory, HeldRegion, Quantity};

    use super::*;

    fn status(change: impl FnOnce(&mut HeldRegion)) -> AgentStatus {
        let mut region = HeldRegion { name: "table".into(), epoch: 3, ..HeldRegion::default() };
        change(&mut region);
        let memory = AgentMemory { lent: Quantity::from("1Gi"), resident_bytes: region.resident_bytes };
        AgentStatus { regions: vec![region], memory: Some(memory), ..AgentStatus::default() }
    }

    #[test]
    fn what_others_act_on_is_written_at_once_and_numbers_now_and_then() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.due(&status(|_| ()), start), Some(start), "nothing was written yet");
        pace.wrote(status(|r| r.attachments = 2), start);
        type Change = fn(&mut HeldRegion);
        let changes: [(Change, Option<Duration>); 8] = [
            (|r| r.attachments = 2, None),
            (|r| r.attachments = 3, Some(NUMBERS_EVERY)),
            (|r| (r.attachments, r.resident_bytes) = (2, 7), Some(NUMBERS_EVERY)),
            (|r| r.attachments = 0, Some(PAUSE_MIN)),
            (|r| (r.attachments, r.epoch) = (2, 4), Some(PAUSE_MIN)),
            (|r| (r.attachments, r.settled) = (2, true), Some(PAUSE_MIN)),
            (|r| (r.attachments, r.pods) = (2, vec!["u".into()]), Some(PAUSE_MIN)),
            (|r| (r.attachments, r.problem) = (2, Some("why".into())), Some(PAUSE_MIN)),
        ];
        for (at, (change, pause)) in changes.into_iter().enumerate() {
            assert_eq!(pace.due(&status(change), start), pause.map(|pause| start + pause), "change {at}");
        }
        pace.forget();
        let later = start + PAUSE_MIN / 2;
        assert_eq!(pace.due(&status(|r| r.attachments = 2), later), Some(later));
    }
}
