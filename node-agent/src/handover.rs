//! The end of an agent that others take over from: when it may go. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Life, Objects};

/// How long nobody may be ready to take over before there is nobody: in an update the next agent starts while this one ends,
/// and its pod is ready a moment before its object says so.
const ALONE_MAX: Duration = Duration::from_secs(15);

/// From when this agent's object says that it stops until nobody makes it a home any more: what the operator has planned
/// just before is published by then.
const HEARD_MIN: Duration = Duration::from_secs(2);

/// How long it is awaited that the object says so. While the API server takes nothing from this agent, it tells it of no new
/// homes either.
const UNHEARD_MAX: Duration = Duration::from_secs(30);

/// How far the hand-over is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// No placement names this agent any more.
    Done,
    /// These regions, at most a few of them, still name it, and so many more.
    Waiting {
        /// As `namespace/name`.
        regions: Vec<String>,
        /// How many others there are.
        more: usize,
    },
    /// Regions still name it, and there is no other agent that could take over.
    NobodyLeft,
}

/// Names that are told.
const NAMES_MAX: usize = 5;

/// How far the hand-over of `me`, an agent of this pool, is.
#[must_use]
pub fn hand_over(objects: &Objects, me: &Life, pool: &str) -> HandOver {
    let named =
        objects.regions().filter(|(_, region)| region.placement.as_ref().is_some_and(|p| me.is_named_by(p)));
    let mut regions: Vec<String> =
        named.map(|(_, region)| format!("{}/{}", region.namespace, region.name)).collect();
    if regions.is_empty() {
        return HandOver::Done;
    }
    // Homes are agents of one pool.
    let mut others = objects.agents().filter(|agent| agent.name != me.name);
    if !others.any(|agent| agent.ready && agent.pool.as_deref() == Some(pool)) {
        return HandOver::NobodyLeft;
    }
    let more = regions.len().saturating_sub(NAMES_MAX);
    regions.truncate(NAMES_MAX);
    HandOver::Waiting { regions, more }
}

/// What an agent does next that hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It leaves: nobody counts on it any more.
    Leave,
    /// It goes as it is: nobody can take over.
    GoAlone,
    /// It goes, since the time is over.
    GoLate,
    /// It looks again when something has changed, or at this time.
    Wait(Instant),
}

/// How long an agent waits for what while it hands over.
#[derive(Clone, Debug)]
pub struct Patience {
    began: Instant,
    deadline: Instant,
    /// Since when its object is known to say that it stops.
    heard: Option<Instant>,
    /// Since when nobody could take over.
    alone: Option<Instant>,
}

impl Patience {
    /// Begins to wait, at most until the deadline.
    #[must_use]
    pub fn new(now: Instant, deadline: Instant) -> Patience {
        Patience { began: now, deadline, heard: None, alone: None }
    }

    /// What to do when the hand-over is so far. `heard` says whether the API server has told this agent that its object says
    /// that it stops: before that, the operator may still make it a home.
    pub fn next(&mut self, now: Instant, how_far: &HandOver, heard: bool) -> Next {
        if heard {
            self.heard.get_or_insert(now);
        }
        if matches!(how_far, HandOver::Waiting { .. }) {
            self.alone = None;
        }
        let (next, due) = match how_far {
            HandOver::Done => {
                let told = self.heard.map(|heard| heard + HEARD_MIN);
                (Next::Leave, told.unwrap_or(self.began + UNHEARD_MAX))
            }
            HandOver::NobodyLeft => (Next::GoAlone, *self.alone.get_or_insert(now) + ALONE_MAX),
            HandOver::Waiting { .. } => (Next::GoLate, self.deadline),
        };
        if now >= due {
            next
        } else if now >= self.deadline {
            Next::GoLate
        } else {
            Next::Wait(due.min(self.deadline))
        }
    }
}

#[cfg(test)]
mod tests {
    use pagemesh_crds::{
        Agent, AgentSpec, AgentStatus, Home, Placement, Quantity, Region, RegionSpec, RegionStatus,
    };
    use pagemesh_protocol::AgentId;

    use super::*;
    use crate::config::{Me, accept, of_api};

    fn region(name: &str, homes: &[(&str, &str)], previous: &[(&str, &str)]) -> Region {
        let home =
            |(agent, life): &(&str, &str)| Home { agent: (*agent).into(), incarnation: Some((*life).into()) };
        let placement = Placement {
            epoch: 1,
            homes: homes.iter().map(home).collect(),
            previous: previous.iter().map(home).collect(),
            size: None,
            coherence: None,
        };
        let mut region = Region::new(name, RegionSpec::sized(Quantity::from("4Ki")));
        region.metadata.namespace = Some("default".into());
        region.status = Some(RegionStatus { placement: Some(placement), ..RegionStatus::default() });
        region
    }

    fn agent(name: &str, id: u16, pool: &str, ready: bool) -> Agent {
        let mut agent =
            Agent::new(name, AgentSpec { id: Some(id), agent_pool_name: Some(pool.into()), ending: None });
        let status = if ready { "True" } else { "False" };
        let condition = serde_json::json!({
            "type": "Ready", "status": status, "reason": "Serving", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let condition = serde_json::from_value(condition).unwrap();
        agent.status = Some(AgentStatus { conditions: vec![condition], ..AgentStatus::default() });
        agent
    }

    #[test]
    fn an_agent_goes_when_nothing_names_it() {
        let me = Life { name: "a".into(), incarnation: "1".into() };
        let how_far = |regions: &[Region], b_ready: bool| {
            let agents =
                [agent("a", 0, "p", true), agent("b", 1, "p", b_ready), agent("c", 2, "other", true)];
            let me_as_object = Me { name: "a".into(), id: AgentId(0) };
            let (objects, refusals) = accept(
                &Objects::default(),
                &of_api(regions.iter(), agents.iter(), std::iter::empty()),
                &me_as_object,
            );
            assert_eq!(refusals, []);
            hand_over(&objects, &me, "p")
        };
        let waiting = HandOver::Waiting { regions: vec!["default/t".into()], more: 0 };
        assert_eq!(how_far(&[], false), HandOver::Done);
        assert_eq!(how_far(&[region("t", &[("b", "7")], &[])], false), HandOver::Done);
        assert_eq!(how_far(&[region("t", &[("a", "1")], &[])], true), waiting);
        assert_eq!(how_far(&[region("t", &[("b", "7")], &[("a", "1")])], true), waiting);
        assert_eq!(how_far(&[region("t", &[("a", "1")], &[])], false), HandOver::NobodyLeft);
        // An earlier life's homes are nothing that this one could hand over.
        assert_eq!(how_far(&[region("t", &[("a", "0")], &[])], true), HandOver::Done);
        let many: Vec<Region> =
            (0..8).map(|n| region(&format!("t{n}"), &[("a", "1"), ("b", "7")], &[])).collect();
        let HandOver::Waiting { regions, more } = how_far(&many, true) else { panic!("it waits") };
        assert_eq!((regions.len(), more), (5, 3));
    }

    #[test]
    fn nobody_counts_on_an_agent_that_is_known_to_stop() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut patience = Patience::new(start, at(300));
        let waiting = HandOver::Waiting { regions: vec![], more: 0 };
        for (seconds, how_far, heard, next) in [
            (0, &HandOver::Done, false, Next::Wait(at(30))),
            (4, &HandOver::Done, true, Next::Wait(at(6))),
            // What was on its way.
            (5, &waiting, true, Next::Wait(at(300))),
            (9, &HandOver::NobodyLeft, true, Next::Wait(at(24))),
            (23, &waiting, true, Next::Wait(at(300))),
            (24, &HandOver::NobodyLeft, true, Next::Wait(at(39))),
            (38, &HandOver::Done, true, Next::Leave),
            (39, &HandOver::NobodyLeft, true, Next::GoAlone),
            (299, &HandOver::Done, true, Next::Leave),
            (300, &waiting, true, Next::GoLate),
        ] {
            assert_eq!(
                patience.next(at(seconds), how_far, heard),
                next,
                "{how_far:?} after {seconds} seconds"
            );
        }
        let mut unheard = Patience::new(start, at(300));
        assert_eq!(unheard.next(at(29), &HandOver::Done, false), Next::Wait(at(30)));
        assert_eq!(unheard.next(at(30), &HandOver::Done, false), Next::Leave);
        let mut hasty = Patience::new(start, at(1));
        assert_eq!(hasty.next(at(0), &HandOver::Done, true), Next::Wait(at(1)));
        assert_eq!(hasty.next(at(1), &HandOver::Done, true), Next::GoLate);
    }
}
