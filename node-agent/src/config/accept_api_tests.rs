use pagemesh_crds::{
    Agent, AgentSpec, Coherence, Home, Placement, Quantity, Region, RegionSpec, RegionStatus,
};
use pagemesh_protocol::AgentId;

use super::tests::{life, me, names};
use super::*;
use crate::config::{Part, changes, of_api};

/// What is in force after the API server has had each of `states` in turn, and what the last was refused for.
fn follow_api(states: &[&[Region]]) -> (Objects, Vec<String>) {
    let agents: Vec<_> = (0..3)
        .map(|id| Agent::new(&format!("node-{id}"), AgentSpec { id: Some(id), ..AgentSpec::default() }))
        .collect();
    let waiting = Agent::new("node-9", AgentSpec::default());
    let mut objects = Objects::default();
    let mut refusals = Vec::new();
    for state in states {
        let sources = of_api(state.iter(), agents.iter().chain([&waiting]), std::iter::empty());
        (objects, refusals) = accept(&objects, &sources, &me());
    }
    (objects, refusals.iter().map(ToString::to_string).collect())
}

/// A Region as the API server has it; homes and previous homes are `AGENT/INCARNATION`.
fn live(name: &str, uid: &str, epoch: u64, homes: &[&str], previous: &[&str]) -> Region {
    let home = |text: &&str| {
        let (agent, incarnation) = text.split_once('/').unwrap();
        Home { agent: agent.into(), incarnation: Some(incarnation.into()) }
    };
    let mut region = Region::new(name, RegionSpec::sized(Quantity::from("64Mi")));
    (region.metadata.namespace, region.metadata.uid) = (Some("team".into()), Some(uid.into()));
    region.metadata.generation = Some(4);
    let placement = Placement {
        epoch,
        homes: homes.iter().map(home).collect(),
        previous: previous.iter().map(home).collect(),
        size: Some(Quantity::from("32Mi")),
        coherence: Some(Coherence::WriteUpdate),
    };
    region.status = Some(RegionStatus { placement: Some(placement), ..RegionStatus::default() });
    region
}

#[test]
fn what_is_in_force_is_what_the_placement_says() {
    let (objects, refusals) = follow_api(&[&[live("t", "u1", 3, &["node-1/7", "node-0/11"], &["node-2/5"])]]);
    assert_eq!(refusals, Vec::<String>::new());
    assert_eq!(
        names(&objects),
        ["node-0", "node-1", "node-2", "team/t"],
        "an agent without a number is passed over"
    );
    let (id, region) = objects.named("team", "t").unwrap();
    assert_eq!(id, RegionId(pagemesh_crds::region_id("team", "t", Some("u1"))));
    assert_eq!(
        (region.size_bytes, region.coherence, region.generation),
        (32 << 20, Coherence::WriteUpdate, 4)
    );
    let Part { placement, home } = objects.part(region, &life()).unwrap();
    assert_eq!((placement.homes, placement.previous), (vec![AgentId(1), AgentId(0)], vec![AgentId(2)]));
    assert!(home);
}

#[test]
fn a_placement_that_means_an_earlier_life_makes_no_home() {
    for (homes, previous) in [(&["node-0/10", "node-1/7"][..], &[][..]), (&["node-1/7"], &["node-0/10"])] {
        let (objects, _) = follow_api(&[&[live("t", "u1", 1, homes, previous)]]);
        let (_, region) = objects.named("team", "t").unwrap();
        let error = objects.part(region, &life()).unwrap_err();
        assert!(error.to_string().contains("earlier life of this agent (10)"), "{error}");
    }
    // Another agent's life is its own business.
    let (objects, _) = follow_api(&[&[live("t", "u1", 1, &["node-1/anything"], &[])]]);
    let (_, region) = objects.named("team", "t").unwrap();
    assert!(!objects.part(region, &life()).unwrap().home);
}

#[test]
fn previous_homes_may_go_under_the_same_epoch_and_nothing_else_may_change() {
    let first = live("t", "u1", 2, &["node-0/11"], &["node-1/7"]);
    for (homes, previous, field) in [
        (&["node-0/11"][..], &["node-1/7"][..], None),
        (&["node-0/11"], &[], None),
        (&["node-0/11"], &["node-2/5"], Some("status.placement.previous")),
        (&["node-0/12"], &["node-1/7"], Some("status.placement.homes")),
    ] {
        let next = live("t", "u1", 2, homes, previous);
        let (_, refusals) = follow_api(&[std::slice::from_ref(&first), &[next]]);
        match field {
            None => assert_eq!(refusals, Vec::<String>::new()),
            Some(field) => {
                assert!(refusals[0].starts_with(&format!("Region team/t, field {field}: ")), "{refusals:?}")
            }
        }
    }
}

/// Who deletes a region waits until every agent that has it knows.
#[test]
fn that_a_region_is_deleted_comes_into_force_even_if_the_rest_is_refused() {
    let deleted = |mut region: Region| {
        region.metadata.deletion_timestamp =
            Some(serde_json::from_value("2026-01-01T00:00:00Z".into()).unwrap());
        region.metadata.generation = Some(5);
        region
    };
    let first = live("t", "u1", 2, &["node-0/11"], &[]);
    let back = || live("t", "u1", 1, &["node-1/7"], &[]);
    let state = |region: Region| {
        let (objects, refusals) = follow_api(&[std::slice::from_ref(&first), &[region]]);
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        let (_, region) = objects.named("team", "t").unwrap();
        (region.deleting, region.generation, region.placement.as_ref().unwrap().epoch)
    };
    assert_eq!(state(back()), (false, 4, 2));
    assert_eq!(state(deleted(back())), (true, 5, 2));

    // One that cannot even be read.
    let (objects, _) = follow_api(&[std::slice::from_ref(&first)]);
    for (uid, expected) in [("u1", (true, 5)), ("u2", (false, 4))] {
        let deleting = Some(Deleting { uid: uid.into(), generation: 5 });
        let unreadable = Unreadable { reason: "strange".into(), deleting, ..Unreadable::default() };
        let source = Source { objects: Err(unreadable), version: 0 };
        let (next, _) = accept(&objects, &Sources::from([("Region team/t".into(), source)]), &me());
        let (_, region) = next.named("team", "t").unwrap();
        assert_eq!((region.deleting, region.generation), expected);
    }
}

#[test]
fn a_region_that_is_gone_is_forgotten_and_does_not_come_back() {
    let one = || live("t", "u1", 5, &["node-0/11"], &[]);
    let two = || live("t", "u2", 1, &["node-1/7"], &[]);
    let (before, _) = follow_api(&[&[one()]]);
    let (gone, _) = follow_api(&[&[one()], &[]]);
    assert!(gone.regions.is_empty() && gone.named("team", "t").is_none());
    let log: Vec<_> = changes(&before, &gone).iter().map(ToString::to_string).collect();
    assert_eq!(log, ["Region team/t removed"]);

    // One of the same name is another region, whether or not its absence was seen in between.
    for states in [&[&[one()][..], &[], &[two()]][..], &[&[one()], &[two()]]] {
        let (objects, refusals) = follow_api(states);
        assert_eq!(refusals, Vec::<String>::new());
        let (id, region) = objects.named("team", "t").unwrap();
        assert_eq!((objects.regions.len(), region.uid.as_deref()), (1, Some("u2")));
        assert_eq!(id, RegionId(pagemesh_crds::region_id("team", "t", Some("u2"))));
    }
    let (objects, refusals) = follow_api(&[&[one()], &[], &[one()]]);
    assert!(refusals[0].starts_with("Region team/t, field metadata.uid: "), "{refusals:?}");
    assert!(objects.regions.is_empty());
}
