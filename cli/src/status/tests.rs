//! What is shown, to the letter.

use crate::kubernetes::Trouble;
use crate::kubernetes::fixture::{agent, ended, region, snapshot};

use super::*;

fn shown(snapshot: &Snapshot) -> String {
    region::view(snapshot, find(snapshot, "team", "table").expect("there")).render()
}

#[test]
fn a_region_that_is_well() {
    let expected = "\
Region        team/table
State         Ready
Size          32Mi (growing to 64Mi), in pages of 4Ki
Class         standard (the cluster's default)
Pool          default
Consistency   Linearizable
Coherence     WriteInvalidate
Epoch         3
Attachments   3

HOME   SLOTS   CONFIRMED   SETTLED   NOTE
a      0       yes         yes
b      1       yes         yes

NODE   HOME   EPOCH   ATTACHMENTS   RESIDENT   PROBLEM
a      yes    3       2             8Ki
b      yes    3       1             8Ki

CONDITION   STATUS   FOR   REASON      MESSAGE
Ready       True     60m   Confirmed   Epoch 3 is in force on a, b.
Degraded    False    60m   Serving     Nothing is wrong.
";
    assert_eq!(shown(&snapshot()), expected);
}

#[test]
fn homes_that_are_not_there_yet_and_what_to_do() {
    let mut worse = snapshot();
    worse.regions = Ok(vec![region("Ready", "False", "Confirming", "b has not")].into());
    let mut behind = agent("a", 0, 2);
    let held = &mut behind.status.as_mut().expect("there").regions[0];
    (held.epoch, held.settled) = (2, false);
    let mut anew = agent("b", 1, 0);
    anew.status.as_mut().expect("there").incarnation = Some("9".into());
    worse.agents = Ok(vec![behind, anew].into());
    let text = shown(&worse);
    for expected in [
        "State         Confirming\n",
        "a      0       no          no        acts on epoch 2\n",
        "b      1       no          no        has started anew since, and lost the pages\n",
        "What to do: wait a moment; if a home does not confirm, `kubectl pagemesh logs table -n team` says",
    ] {
        assert!(text.contains(expected), "{expected} is in\n{text}");
    }
    let mut cut_off = snapshot();
    let lease = cut_off.leases.as_mut().expect("there").items.last_mut().expect("of b");
    lease.spec.as_mut().expect("there").lease_duration_seconds = Some(1);
    let text = shown(&cut_off);
    assert!(text.contains("b      1       yes         yes       does not renew its Lease"), "{text}");
    worse.agents = Ok(vec![].into());
    assert!(shown(&worse).contains("there is no such agent any more"));
}

#[test]
fn who_may_not_look_at_agents_sees_what_the_operator_has_copied() {
    let mut less = snapshot();
    less.agents = Err(Trouble::Forbidden("agents is forbidden".into()));
    let text = shown(&less);
    assert!(text.contains("a      0       ?           ?\n"), "{text}");
    assert!(text.contains("a      yes    3       2             4Ki\n"), "{text}");
    assert!(text.contains("Not looked at: you may not (agents is forbidden)"), "{text}");
}

#[test]
fn all_of_it_that_is_well() {
    let expected = "\
Operator pagemesh-system/pagemesh-operator: 2/2 ready, image pagemesh/operator:0.1.0, leader pagemesh-operator

POOL      STATE   NODES   READY   UPDATED   MEMORY   SHARDS   AGE
default   Ready   2       2       2         1Gi      2        30d

AGENT   STATE   ID   POOL      VERSION   RESIDENT   LENT   REGIONS   ATTACHMENTS   AGE
a       Ready   0    default   0.1.0     8Ki        1Gi    1         2             120m
b       Ready   1    default   0.1.0     8Ki        1Gi    1         1             120m

REGION       STATE   SIZE   HOMES   EPOCH   ATTACHMENTS   AGE
team/table   Ready   64Mi   a,b     3       3             120m
";
    let overview = overview(&snapshot());
    assert_eq!(overview.render(true), expected);
    assert_eq!(overview.problems, Vec::<String>::new());
}

#[test]
fn what_is_not_well_is_said_below() {
    let mut worse = snapshot();
    worse.operators = Ok(vec![].into());
    worse.regions = Ok(vec![region("Degraded", "True", "HomesLost", "node b is lost")].into());
    worse.leases.as_mut().expect("there").items.truncate(2);
    let last = worse.leases.as_mut().expect("there").items.last_mut().expect("there");
    last.spec.as_mut().expect("there").lease_duration_seconds = Some(1);
    worse.classes = Err(Trouble::Forbidden("regionclasses is forbidden".into()));
    let overview = overview(&worse);
    let text = overview.render(false);
    for expected in [
        "Operator: none that could be seen\n",
        "a       Silent",
        "table    Degraded",
        "\nNot well:\n- no operator is installed",
        "- agent a has not renewed its Lease",
        "- region team/table is not well (Degraded): node b is lost; what to do: accesses to the pages of that home wait",
    ] {
        assert!(text.contains(expected), "{expected} is in\n{text}");
    }
    assert_eq!(overview.problems.len(), 3);
}

#[test]
fn an_agent_that_has_ended_in_good_order_is_well_though_its_lease_has_run_out() {
    let mut after = snapshot();
    after.agents = Ok(vec![agent("a", 0, 2), ended("b", 1)].into());
    let lease = after.leases.as_mut().expect("there").items.last_mut().expect("of b");
    lease.spec.as_mut().expect("there").lease_duration_seconds = Some(1);
    let overview = overview(&after);
    let text = overview.render(true);
    assert!(text.contains("\nb       Stopped   1    default"), "{text}");
    assert_eq!(overview.problems, Vec::<String>::new());
}

#[test]
fn leases_that_may_not_be_looked_at_are_said_to_be_unknown() {
    let mut less = snapshot();
    less.leases = Err(Trouble::Forbidden("leases is forbidden".into()));
    let text = overview(&less).render(true);
    assert!(text.contains("\nNot looked at:\n- you may not (leases is forbidden)"), "{text}");
}

#[test]
fn a_change_that_the_operator_has_not_seen_is_not_ready() {
    let mut changed = snapshot();
    changed.regions.as_mut().expect("there").items[0].metadata.generation = Some(3);
    let text = shown(&changed);
    assert!(text.contains("State         Changed\n") && text.contains("What to do: the operator"), "{text}");
}

#[test]
fn a_degraded_region_is_ready_only_if_all_of_it_can_be_used() {
    use crate::kubernetes::region_state;
    for (reason, ready, advice) in [
        ("CannotMove", true, "do not end the node"),
        ("HomesLost", false, "bring it back"),
        ("AgentProblem", false, "kubectl pagemesh logs table -n team"),
    ] {
        let mut degraded = region("Degraded", "True", reason, "why");
        let conditions = &mut degraded.status.as_mut().expect("there").conditions;
        conditions.extend(region("Ready", "True", "Confirmed", "").status.expect("there").conditions);
        let state = region_state(&degraded);
        assert_eq!((state.ready, state.word.as_str()), (ready, "Degraded"), "{reason}");
        assert!(region_advice(&degraded, &state).is_some_and(|said| said.contains(advice)), "{reason}");
    }
}

#[test]
fn a_region_that_there_is_not() {
    let error = find(&snapshot(), "team", "tabel").expect_err("no such").to_string();
    assert_eq!(
        error,
        "there is no Region `tabel` in namespace `team`: `kubectl get regions -A` lists all that there are"
    );
}
