//! When each object may be written again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::plan::{Action, Subject};

/// After the first failure; twice as long after each further one.
const BACK_OFF_MIN: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// How long to wait for the watch to tell what has changed.
const CONFLICT_WAIT: Duration = Duration::from_millis(100);
/// How often mere numbers are written. Every write of a Region goes to every agent.
const NUMBERS_INTERVAL: Duration = Duration::from_secs(5);
/// What is remembered of objects that nothing happened to for so long is forgotten.
const MEMORY: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Record {
    failures: u32,
    /// Nothing is done before.
    rests_until: Instant,
    /// Nothing that can wait is done before.
    numbers_from: Instant,
}

/// When each object may be written again.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    records: BTreeMap<Subject, Record>,
    next: Option<Instant>,
}

impl Pacing {
    /// Picks what is due, by object, in the order of the plan. The rest is found again by a later plan.
    pub(crate) fn due(&mut self, actions: Vec<Action>, now: Instant) -> Vec<(Subject, Vec<Action>)> {
        self.records
            .retain(|_, record| record.rests_until + MEMORY > now || record.numbers_from + MEMORY > now);
        self.next = None;
        let mut order: Vec<(Subject, Vec<Action>)> = Vec::new();
        let mut places: BTreeMap<Subject, usize> = BTreeMap::new();
        for action in actions {
            let subject = action.subject();
            match places.get(&subject) {
                Some(place) => order[*place].1.push(action),
                None => {
                    places.insert(subject.clone(), order.len());
                    order.push((subject, vec![action]));
                }
            }
        }
        order.retain(|(subject, actions)| {
            let Some(record) = self.records.get(subject) else { return true };
            let can_wait = actions.iter().all(Action::can_wait);
            let from =
                if can_wait { record.rests_until.max(record.numbers_from) } else { record.rests_until };
            if from > now {
                self.next = Some(self.next.map_or(from, |next| next.min(from)));
            }
            from <= now
        });
        order
    }

    /// When something that was not due will be.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    pub(crate) fn succeeded(&mut self, subject: &Subject, now: Instant) {
        self.record(subject, Record { failures: 0, rests_until: now, numbers_from: now + NUMBERS_INTERVAL });
    }

    pub(crate) fn conflicted(&mut self, subject: &Subject, now: Instant) {
        let failures = self.failures(subject);
        self.rest(subject, failures, CONFLICT_WAIT, now);
    }

    /// Returns how long the object is left alone.
    pub(crate) fn failed(&mut self, subject: &Subject, now: Instant) -> Duration {
        let failures = self.failures(subject).saturating_add(1);
        let rest = BACK_OFF_MIN.saturating_mul(1 << (failures - 1).min(16)).min(BACK_OFF_MAX);
        self.rest(subject, failures, rest, now);
        rest
    }

    fn failures(&self, subject: &Subject) -> u32 {
        self.records.get(subject).map_or(0, |record| record.failures)
    }

    fn rest(&mut self, subject: &Subject, failures: u32, rest: Duration, now: Instant) {
        let rests_until = now + rest;
        self.next = Some(self.next.map_or(rests_until, |next| next.min(rests_until)));
        self.record(subject, Record { failures, rests_until, numbers_from: rests_until });
    }

    fn record(&mut self, subject: &Subject, record: Record) {
        self.records.insert(subject.clone(), record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Precondition, RegionKey};

    fn action(name: &str, can_wait: bool) -> Action {
        let region = RegionKey { namespace: "default".into(), name: name.into() };
        let on = Precondition::default();
        let status = Box::default();
        Action::SetRegionStatus { region, on, status, publishes: false, can_wait, notes: Vec::new() }
    }

    fn due(pacing: &mut Pacing, actions: Vec<Action>, now: Instant) -> Vec<String> {
        pacing.due(actions, now).iter().map(|(subject, _)| subject.to_string()).collect()
    }

    #[test]
    fn failures_rest_longer_and_longer_and_only_their_own_object() {
        let (mut pacing, start) = (Pacing::default(), Instant::now());
        let a = action("a", false).subject();
        let rests: Vec<Duration> = (0..10).map(|_| pacing.failed(&a, start)).collect();
        assert_eq!(rests[..3], [500, 1000, 2000].map(Duration::from_millis));
        assert_eq!(rests[9], BACK_OFF_MAX);
        let both = || vec![action("a", false), action("b", false)];
        assert_eq!(due(&mut pacing, both(), start), ["default/b"]);
        assert_eq!(pacing.next(), Some(start + BACK_OFF_MAX));
        assert_eq!(due(&mut pacing, both(), start + BACK_OFF_MAX), ["default/a", "default/b"]);
        pacing.succeeded(&a, start);
        assert_eq!(pacing.failed(&a, start), BACK_OFF_MIN);
    }

    #[test]
    fn numbers_wait_and_the_rest_does_not() {
        let (mut pacing, start) = (Pacing::default(), Instant::now());
        pacing.succeeded(&action("a", true).subject(), start);
        assert_eq!(due(&mut pacing, vec![action("a", true)], start), Vec::<String>::new());
        assert_eq!(pacing.next(), Some(start + NUMBERS_INTERVAL));
        assert_eq!(due(&mut pacing, vec![action("a", false)], start), ["default/a"]);
        assert_eq!(due(&mut pacing, vec![action("a", true)], start + NUMBERS_INTERVAL), ["default/a"]);
    }

    #[test]
    fn actions_on_one_object_stay_together_and_in_order() {
        let mut pacing = Pacing::default();
        let actions = vec![action("a", true), action("b", true), action("a", false)];
        let due = pacing.due(actions.clone(), Instant::now());
        assert_eq!(due[0].1, [actions[0].clone(), actions[2].clone()]);
        assert_eq!(due[1].1, [actions[1].clone()]);
    }

    #[test]
    fn who_is_long_gone_is_forgotten() {
        let (mut pacing, start) = (Pacing::default(), Instant::now());
        pacing.succeeded(&action("a", true).subject(), start);
        pacing.due(Vec::new(), start + MEMORY + NUMBERS_INTERVAL);
        assert!(pacing.records.is_empty());
    }
}
