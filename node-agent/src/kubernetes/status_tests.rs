use pagemesh_crds::{Consistency, ValidRegion};
use pagemesh_protocol::RegionId;

use super::*;
use crate::control::{OpenRegion, RegionSurvey, Survey};

fn maker() -> StatusMaker {
    StatusMaker::new("[fd00::1]:7400".parse().unwrap(), "00000000000000ff".into(), "agent-x".into(), 2)
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn region(id: u64, open: Option<OpenRegion>, problem: Option<&str>) -> RegionState {
    let region = ValidRegion {
        namespace: "team".into(),
        name: format!("t{id}"),
        uid: Some(format!("u{id}")),
        generation: 9,
        deleting: false,
        size_bytes: 4096,
        page_size_bytes: 4096,
        consistency: Consistency::Linearizable,
        coherence: pagemesh_crds::Coherence::WriteInvalidate,
        placement: None,
        access: pagemesh_crds::Access::of_namespace("team"),
        traceparent: None,
    };
    let problem = problem.map(Into::into);
    RegionState { id: RegionId(id), region, not_ready: None, problem, away: None, open }
}

fn open(epoch: u64, home: bool) -> Option<OpenRegion> {
    Some(OpenRegion { epoch, home, resident_bytes: 8192 })
}

fn attached(id: u64, pod: Option<&str>) -> Attached {
    let (region, command) = (String::new(), String::new());
    Attached {
        id: RegionId(id),
        region,
        pid: 1,
        uid: 0,
        command,
        pod: pod.map(Into::into),
        by_volume: None,
        read_only: false,
        revoked: None,
        mapped_bytes: 0,
    }
}

fn survey(regions: &[(u64, u64, bool)]) -> Survey {
    let region = |(id, epoch, settled): &(u64, u64, bool)| {
        let survey = RegionSurvey { shared: 0, exclusive: 0, epoch: *epoch, settled: *settled };
        (RegionId(*id), survey)
    };
    Survey { regions: regions.iter().map(region).collect(), ..Survey::default() }
}

fn status(observation: &Observation) -> AgentStatus {
    maker().status(time(1), Stage::Serving, &[], None, observation)
}

#[test]
fn what_is_held_is_told_homes_first() {
    let observation = Observation {
        regions: vec![
            region(1, open(3, false), None),
            region(2, open(5, true), None),
            region(3, None, None),
            region(4, None, Some("its pages are gone")),
        ],
        attached: vec![
            attached(1, Some("p2")),
            attached(1, Some("p1")),
            attached(1, Some("p2")),
            attached(1, None),
            attached(9, Some("p9")),
        ],
        survey: survey(&[(1, 3, true), (2, 5, false)]),
    };
    let regions = status(&observation).regions;
    let names: Vec<_> = regions.iter().map(|region| region.name.as_str()).collect();
    assert_eq!(names, ["t2", "t1", "t4"], "what is neither open nor wrong is not held");
    let [home, other, lost] = &regions[..] else { panic!() };
    assert_eq!((home.epoch, home.settled, home.attachments, home.observed_generation), (5, false, 0, 9));
    assert_eq!((home.uid.as_str(), home.resident_bytes), ("u2", 8192));
    assert_eq!((other.epoch, other.settled, other.attachments), (3, true, 4));
    assert_eq!(other.pods, ["p1", "p2"]);
    assert_eq!((lost.epoch, lost.settled, lost.problem.as_deref()), (0, false, Some("its pages are gone")));
}

#[test]
fn an_epoch_is_confirmed_when_every_shard_acts_on_it() {
    let of = |survey: Survey| {
        let observation =
            Observation { regions: vec![region(1, open(6, true), None)], attached: vec![], survey };
        status(&observation).regions.pop()
    };
    let confirmed = of(survey(&[(1, 6, true)])).unwrap();
    assert_eq!((confirmed.epoch, confirmed.settled, confirmed.problem), (6, true, None));
    // The shards refused the placement.
    let refused = of(survey(&[(1, 5, true)])).unwrap();
    assert_eq!((refused.epoch, refused.settled), (5, false));
    assert!(refused.problem.unwrap().contains("epoch 6 does not follow from that of epoch 5"));
    // Closed when the shards were asked, which is not the same as an epoch that is taken back.
    assert_eq!(of(survey(&[])), None);
}

#[test]
fn that_a_home_is_away_takes_no_confirmation_back() {
    let away = RegionState { away: Some("no connection".into()), ..region(1, open(6, true), None) };
    let closed = RegionState { away: Some("no connection".into()), ..region(2, None, None) };
    let regions = vec![away, closed];
    let observation = Observation { regions, attached: vec![], survey: survey(&[(1, 6, true)]) };
    let regions = status(&observation).regions;
    assert_eq!(regions.len(), 1);
    assert_eq!((regions[0].epoch, regions[0].settled), (6, true));
    assert_eq!(regions[0].problem.as_deref(), Some("no connection"));
}

#[test]
fn ready_tells_since_when() {
    let mut maker = maker();
    let mut ready = |seconds, stage| {
        let status = maker.status(time(seconds), stage, &[], None, &Observation::default());
        let [condition] = &status.conditions[..] else { panic!("one condition") };
        let since = condition.last_transition_time.0;
        (condition.status.clone(), condition.reason.clone(), since)
    };
    for (seconds, stage, expected) in [
        (10, Stage::PreflightFailed, ("False", "PreflightFailed", 10)),
        (20, Stage::WaitingForId, ("False", "WaitingForId", 10)),
        (30, Stage::Serving, ("True", "Serving", 30)),
        (40, Stage::Serving, ("True", "Serving", 30)),
        (45, Stage::Ending, ("True", "Ending", 30)),
        (50, Stage::Stopping, ("False", "Stopping", 50)),
    ] {
        let (status, reason, since) = expected;
        assert_eq!(ready(seconds, stage), (status.into(), reason.into(), time(since)));
    }
}

#[test]
fn the_agent_is_described() {
    let finding = |level, check: &str, advice: Option<&str>| Finding {
        level,
        check: check.into(),
        found: "is missing".into(),
        advice: advice.map(Into::into),
    };
    let findings = [
        finding(Level::Ok, "kernel", None),
        finding(Level::Warn, "memory", Some("add some")),
        finding(Level::Fail, "device", None),
    ];
    let lent = Some(Lent { bytes: 3 << 30, resident_bytes: 4096 });
    let status = maker().status(time(1), Stage::PreflightFailed, &findings, lent, &Observation::default());
    let status = serde_json::to_value(status).unwrap();
    assert_eq!(status["address"], "[fd00::1]:7400");
    assert_eq!(status["incarnation"], "00000000000000ff");
    assert_eq!((&status["podName"], &status["shards"]), (&"agent-x".into(), &2.into()));
    assert_eq!(status["memory"], serde_json::json!({"lent": "3Gi", "residentBytes": 4096}));
    let expected = serde_json::json!([
        {"name": "memory", "severity": "Warning", "message": "is missing: add some"},
        {"name": "device", "severity": "Failure", "message": "is missing"},
    ]);
    assert_eq!(status["preflight"], expected);
}

#[test]
fn no_more_is_told_than_the_object_takes() {
    let regions = (0..REGIONS_MAX as u64 + 5).map(|id| region(id, None, Some(&"ä".repeat(2000)))).collect();
    let observation = Observation { regions, attached: vec![], survey: Survey::default() };
    let status = status(&observation);
    assert_eq!(status.regions.len(), REGIONS_MAX);
    assert_eq!(status.regions[0].problem.as_ref().unwrap().chars().count(), PROBLEM_MAX);
}
