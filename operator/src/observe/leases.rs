//! Until when each agent's Lease holds.
//!
//! Clocks of nodes differ, so a Lease holds for its duration from when a renewal was *seen*, not from the time that is written
//! in it. One that is seen for the first time holds as long; but if that time is long past, nothing new is trusted to
//! the agent. And when no renewal was seen it may be us who are cut off; so silence is believed only after asking.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::plan::LeaseView;

/// An agent's Lease is called this and the agent's name.
const PREFIX: &str = "agent.";
/// Duration of a Lease that states none.
const DURATION_SECONDS_DEFAULT: i64 = 40;

#[derive(Debug)]
struct Seen {
    /// The renewal that is written in it.
    renewed: Option<Timestamp>,
    view: LeaseView,
    /// Whether the API server was asked since it has run out.
    asked: bool,
}

/// The Leases of all agents.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    seen: BTreeMap<String, Seen>,
    listing: Option<Vec<String>>,
    complete: bool,
}

/// The agent that a Lease belongs to.
pub(crate) fn agent(lease: &Lease) -> Option<&str> {
    lease.metadata.name.as_deref()?.strip_prefix(PREFIX)
}

/// Name of an agent's Lease.
pub(crate) fn name(agent: &str) -> String {
    format!("{PREFIX}{agent}")
}

impl Leases {
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(crate) fn begin_list(&mut self) {
        self.listing = Some(Vec::new());
    }

    pub(crate) fn end_list(&mut self) {
        if let Some(listed) = self.listing.take() {
            self.seen.retain(|agent, _| listed.contains(agent));
        }
        self.complete = true;
    }

    /// Takes a Lease as it is now. Returns whether an agent has come to life.
    pub(crate) fn observe(&mut self, lease: &Lease, now: Timestamp) -> bool {
        let Some(agent) = agent(lease) else { return false };
        if let Some(listing) = &mut self.listing {
            listing.push(agent.to_owned());
        }
        let spec = lease.spec.as_ref();
        let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
        let seconds =
            spec.and_then(|spec| spec.lease_duration_seconds).map_or(DURATION_SECONDS_DEFAULT, i64::from);
        let before = self.seen.get(agent);
        if before.is_some_and(|before| before.renewed == renewed) {
            return false;
        }
        let fresh_before = before.is_some_and(|before| before.view.fresh_until > now);
        let lasts =
            |from: Timestamp| from.checked_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(from);
        let holds_until = lasts(now);
        let fresh_until = match (before, renewed) {
            (None, Some(renewed)) => lasts(renewed.min(now)),
            (None, None) | (Some(_), _) => holds_until,
        };
        let view = LeaseView { holds_until, fresh_until };
        self.seen.insert(agent.to_owned(), Seen { renewed, view, asked: false });
        !fresh_before
    }

    /// Returns whether an agent's Lease was there.
    pub(crate) fn remove(&mut self, lease: &Lease) -> bool {
        agent(lease).is_some_and(|agent| self.seen.remove(agent).is_some())
    }

    /// Agents whose Leases have run out as far as was seen.
    pub(crate) fn doubtful(&self, now: Timestamp) -> Vec<String> {
        let doubtful = self.seen.iter().filter(|(_, seen)| seen.view.holds_until <= now && !seen.asked);
        doubtful.map(|(agent, _)| agent.clone()).collect()
    }

    /// Takes the API server's answer about a doubtful Lease; `None` if there is none.
    pub(crate) fn answer(&mut self, agent: &str, lease: Option<&Lease>, now: Timestamp) {
        match lease {
            None => _ = self.seen.remove(agent),
            Some(lease) => {
                self.observe(lease, now);
                if let Some(seen) = self.seen.get_mut(agent) {
                    seen.asked = seen.view.holds_until <= now;
                }
            }
        }
    }

    pub(crate) fn all(&self) -> BTreeMap<String, LeaseView> {
        self.seen.iter().map(|(agent, seen)| (agent.clone(), seen.view)).collect()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn lease(agent: &str, renewed: i64) -> Lease {
        Lease {
            metadata: ObjectMeta { name: Some(name(agent)), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                renew_time: Some(MicroTime(at(renewed))),
                lease_duration_seconds: Some(40),
                ..LeaseSpec::default()
            }),
        }
    }

    fn until(leases: &Leases, agent: &str) -> (Timestamp, Timestamp) {
        let LeaseView { holds_until, fresh_until } = leases.all()[agent];
        (holds_until, fresh_until)
    }

    #[test]
    fn a_lease_holds_from_when_its_renewal_was_seen() {
        let mut leases = Leases::default();
        assert!(leases.observe(&lease("a", 1000), at(1000)));
        // A node whose clock is far behind.
        assert!(!leases.observe(&lease("a", 500), at(1020)));
        assert_eq!(until(&leases, "a"), (at(1060), at(1060)));
        // The same renewal again is none.
        assert!(!leases.observe(&lease("a", 500), at(1050)));
        assert_eq!(until(&leases, "a"), (at(1060), at(1060)));
        // A clock that is ahead does not stretch it.
        assert!(leases.observe(&lease("b", 9999), at(1000)));
        assert_eq!(until(&leases, "b"), (at(1040), at(1040)));
    }

    #[test]
    fn an_old_lease_that_was_never_seen_renewed_holds_and_is_not_fresh() {
        let mut leases = Leases::default();
        // The API server was away for a minute, and so nobody could renew.
        assert!(leases.observe(&lease("a", 1000), at(1060)));
        assert_eq!(until(&leases, "a"), (at(1100), at(1040)));
        assert!(leases.observe(&lease("a", 1065), at(1065)), "from now on it can take pages");
        assert_eq!(until(&leases, "a"), (at(1105), at(1105)));
    }

    #[test]
    fn silence_is_believed_only_after_asking() {
        let mut leases = Leases::default();
        leases.observe(&lease("a", 1000), at(1000));
        assert!(leases.doubtful(at(1039)).is_empty());
        assert_eq!(leases.doubtful(at(1041)), ["a"]);
        // It was renewed, only the watch has not told.
        leases.answer("a", Some(&lease("a", 1030)), at(1041));
        assert!(leases.doubtful(at(1041)).is_empty());
        assert_eq!(until(&leases, "a").0, at(1081));
        // It was not.
        leases.answer("a", Some(&lease("a", 1030)), at(1090));
        assert!(leases.doubtful(at(1090)).is_empty());
        assert_eq!(until(&leases, "a").0, at(1081));
        // Back again.
        assert!(leases.observe(&lease("a", 1100), at(1100)));
        assert_eq!(leases.doubtful(at(1141)), ["a"]);
        leases.answer("a", None, at(1141));
        assert!(leases.all().is_empty());
    }

    #[test]
    fn other_leases_are_nobodys() {
        let mut leases = Leases::default();
        let mut other = lease("a", 1);
        other.metadata.name = Some("pagemesh-operator".into());
        assert!(!leases.observe(&other, at(1)));
        assert!(leases.all().is_empty());
    }

    #[test]
    fn a_list_takes_away_what_is_gone() {
        let mut leases = Leases::default();
        leases.observe(&lease("a", 1), at(1));
        leases.observe(&lease("b", 1), at(1));
        leases.begin_list();
        leases.observe(&lease("b", 1), at(2));
        leases.end_list();
        assert!(leases.is_complete());
        assert_eq!(leases.all().into_keys().collect::<Vec<_>>(), ["b"]);
    }
}
