//! Agents that hand over to other processes again and again while programs go on: an upgrade.

mod mesh;

use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mesh::worker::Worker;
use mesh::{Mesh, RegionSpec, Wires, until};
use pagemesh::Region;

const COUNTERS: RegionSpec = RegionSpec { name: "counters", size: "4Mi", coherence: "WriteInvalidate" };
const PER_PAGE: usize = 512;
/// How often an agent hands over under each load.
const HAND_OVERS: usize = 100;

fn attach(mesh: &Mesh, node: usize) -> Region {
    Region::attach_to(Path::new(&mesh.socket(node)), "counters").expect("the region is ready")
}

/// Prints what programs had to wait, in one line.
fn print(what: &str, mut pauses: Vec<Duration>) {
    pauses.sort();
    let at = |percent: usize| pauses[(pauses.len() - 1) * percent / 100];
    println!("{what}: {} hand-overs, pause p50 {:?}, p99 {:?}", pauses.len(), at(50), at(99));
}

/// Six programs count on one word and each on one of its own while their agents hand over in turn, and now and then die.
#[test]
fn no_increment_is_lost_or_done_twice() {
    let own = |worker: usize| (worker + 1) * PER_PAGE;
    for coherence in ["WriteInvalidate", "WriteUpdate"] {
        let mut mesh = Mesh::start(3, &[RegionSpec { coherence, ..COUNTERS }], Wires::Direct, 2);
        let start =
            |w: usize| Worker::start(&mesh, w % 3, "count", &["counters", "0", &own(w).to_string(), "0"]);
        let workers: Vec<Worker> = (0..6).map(start).collect();
        let region = attach(&mesh, 0);
        let (mut counted, mut pauses) = (0, Vec::new());
        for time in 0..HAND_OVERS {
            until(&format!("the programs to go on after hand-over {time}"), || {
                let now = region.words()[0].load(SeqCst);
                (now > counted + 50 * (1 + time as u64 % 7)).then(|| counted = now)
            });
            pauses.push(mesh.hand_over(time % 3));
            if time % 10 == 9 {
                mesh.revive((time + 1) % 3);
            }
        }
        (0..6).for_each(|w| region.words()[own(w) + 1].store(1, SeqCst));
        workers.into_iter().for_each(Worker::succeed);
        let counted: u64 = (0..6).map(|w| region.words()[own(w)].load(SeqCst)).sum();
        for node in 0..3 {
            let seen = attach(&mesh, node).words()[0].load(SeqCst);
            assert_eq!(seen, counted, "{coherence}, seen from node {node}");
        }
        print(&format!("{coherence}, {counted} increments exact"), pauses);
    }
}

/// Six programs write to every page of 2 MiB and check what the others write: no page goes back, is torn or is zeros.
#[test]
fn no_page_goes_back() {
    const PAGES: usize = 512;
    const STOP: usize = PAGES * PER_PAGE;
    let mut mesh = Mesh::start(3, &[COUNTERS], Wires::Direct, 2);
    let args = |slot: usize| ["counters".into(), slot.to_string(), PAGES.to_string(), STOP.to_string()];
    let start = |w: usize| Worker::start(&mesh, w % 3, "sweep", &args(w).each_ref().map(String::as_str));
    let workers: Vec<Worker> = (0..6).map(start).collect();
    let region = attach(&mesh, 0);
    let rounds = |region: &Region| (1..=6).map(|w| region.words()[STOP + w].load(SeqCst)).sum::<u64>();
    let (mut seen, mut pauses) = (0, Vec::new());
    for time in 0..HAND_OVERS {
        until(&format!("the programs to go on after hand-over {time}"), || {
            let now = rounds(&region);
            (now > seen).then(|| seen = now)
        });
        pauses.push(mesh.hand_over(time % 3));
    }
    region.words()[STOP].store(1, SeqCst);
    workers.into_iter().for_each(Worker::succeed);
    print(&format!("{seen} rounds over {PAGES} pages"), pauses);
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
