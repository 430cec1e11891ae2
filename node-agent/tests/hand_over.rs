//! Agents that hand over to other processes again and again while programs go on: an upgrade.

mod mesh;

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mesh::load::{COUNTERS, attach, count_while, sweep_while};
use mesh::{Mesh, Wires, say};

/// How often an agent hands over under each load.
const HAND_OVERS: usize = 100;

/// Prints what programs had to wait, in one line.
fn print(what: &str, mut pauses: Vec<Duration>) {
    pauses.sort();
    let at = |percent: usize| pauses[(pauses.len() - 1) * percent / 100];
    let (count, p50, p99) = (pauses.len(), at(50), at(99));
    say(&format!("{what}: {count} hand-overs, pause p50 {p50:?}, p99 {p99:?}"));
}

/// No increment is lost or done twice while agents hand over in turn, and now and then die.
#[test]
fn no_increment_is_lost_or_done_twice() {
    for coherence in ["WriteInvalidate", "WriteUpdate"] {
        let mut pauses = Vec::new();
        let counted = count_while(coherence, HAND_OVERS, |mesh, time| {
            pauses.push(mesh.hand_over(time % 3));
            if time % 10 == 9 {
                mesh.revive((time + 1) % 3);
            }
        });
        print(&format!("{coherence}, {counted} increments exact"), pauses);
    }
}

/// No page goes back, is torn or is zeros while agents hand over in turn.
#[test]
fn no_page_goes_back() {
    let mut pauses = Vec::new();
    let rounds = sweep_while(HAND_OVERS, |mesh, time| pauses.push(mesh.hand_over(time % 3)));
    print(&format!("{rounds} rounds over all pages"), pauses);
}

/// A successor with another number of shards is told why it cannot take over, and the agent that runs serves on.
#[test]
fn who_cannot_take_over_is_refused_and_the_agent_stays() {
    let mesh = Mesh::start(2, &[COUNTERS], Wires::Direct, 2);
    let region = attach(&mesh, 1);
    region.words()[0].store(7, SeqCst);
    let output = mesh.cannot_take_over(1, 3);
    assert!(output.contains("it has 3 shards, and this agent 2"), "{output}");
    region.words()[1].store(8, SeqCst);
    let other = attach(&mesh, 0);
    assert_eq!((other.words()[0].load(SeqCst), other.words()[1].load(SeqCst)), (7, 8));
}
