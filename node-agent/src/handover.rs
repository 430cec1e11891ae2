//! The end of an agent that others take over from: when it may go. Pure.

use crate::config::{Life, Objects};

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

/// How far the hand-over of `me` is.
#[must_use]
pub fn hand_over(objects: &Objects, me: &Life) -> HandOver {
    let named =
        objects.regions().filter(|(_, region)| region.placement.as_ref().is_some_and(|p| me.is_named_by(p)));
    let mut regions: Vec<String> =
        named.map(|(_, region)| format!("{}/{}", region.namespace, region.name)).collect();
    if regions.is_empty() {
        return HandOver::Done;
    }
    if !objects.agents().any(|agent| agent.name != me.name && agent.ready) {
        return HandOver::NobodyLeft;
    }
    let more = regions.len().saturating_sub(NAMES_MAX);
    regions.truncate(NAMES_MAX);
    HandOver::Waiting { regions, more }
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

    fn agent(name: &str, id: u16, ready: bool) -> Agent {
        let mut agent = Agent::new(name, AgentSpec { id: Some(id), agent_pool_name: None });
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
            let agents = [agent("a", 0, true), agent("b", 1, b_ready)];
            let me_as_object = Me { name: "a".into(), id: AgentId(0) };
            let (objects, refusals) =
                accept(&Objects::default(), &of_api(regions.iter(), agents.iter()), &me_as_object);
            assert_eq!(refusals, []);
            hand_over(&objects, &me)
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
}
