//! Programs that die at any moment, agents that go away, connections that break under load.

mod mesh;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

use mesh::worker::Worker;
use mesh::{Mesh, RegionSpec, Wires, until};
use pagemesh::Region;

const COUNTERS: RegionSpec = RegionSpec { name: "counters", size: "1Mi", coherence: "WriteInvalidate" };

fn attach(mesh: &Mesh, node: usize) -> Region {
    Region::attach_to(Path::new(&mesh.socket(node)), "counters").expect("the region is ready")
}

/// Six programs count on one word while every connection breaks again and again.
#[test]
fn no_increment_is_lost_or_done_twice_when_connections_break() {
    const CUTS: usize = 60;
    let own = |worker: usize| (worker + 1) * 512;
    for coherence in ["WriteInvalidate", "WriteUpdate"] {
        let mesh = Mesh::start(3, &[RegionSpec { coherence, ..COUNTERS }], Wires::Cuttable, 1);
        let start =
            |w: usize| Worker::start(&mesh, w % 3, "count", &["counters", "0", &own(w).to_string(), "0"]);
        let workers: Vec<Worker> = (0..6).map(start).collect();
        let (mut turn, mut cut) = (0, 0);
        until("the connections to be cut", || {
            turn += 1;
            cut += if turn % 5 == 0 { mesh.proxies[turn / 5 % mesh.proxies.len()].cut() } else { 0 };
            (cut >= CUTS).then_some(())
        });
        let region = attach(&mesh, 0);
        (0..6).for_each(|w| region.words()[own(w) + 1].store(1, SeqCst));
        workers.into_iter().for_each(Worker::succeed);
        let counted: u64 = (0..6).map(|w| region.words()[own(w)].load(SeqCst)).sum();
        for node in 0..3 {
            assert_eq!(
                attach(&mesh, node).words()[0].load(SeqCst),
                counted,
                "{coherence}, seen from node {node}"
            );
        }
        assert!(counted > 600, "hardly anything was counted");
        println!("{coherence}: {counted} increments exact while {cut} connections were cut");
    }
}

/// kill -9 at any moment costs that attachment; what it wrote stays readable elsewhere, and others go on.
#[test]
fn a_killed_program_costs_only_its_attachment() {
    let mesh = Mesh::start(3, &[COUNTERS], Wires::Direct, 1);
    let watcher = attach(&mesh, 0);
    let survivor = Worker::start(&mesh, 1, "count", &["counters", "0", "1024", "3000"]);
    let mut told = 0;
    for round in 0..60_u64 {
        let node = (round % 3) as usize;
        let mut victim = Worker::start(&mesh, node, "count", &["counters", "1", "512", "0"]);
        // Dead in the middle of its work, at another point of it every time.
        until("the victim to have counted", || {
            (watcher.words()[512].load(SeqCst) > told + round).then_some(())
        });
        victim.kill();
        let (counted, says) = (watcher.words()[1].load(SeqCst), watcher.words()[512].load(SeqCst));
        assert!(says > told, "round {round}: the victim had counted");
        assert!(
            counted >= says && counted <= says + round + 1,
            "round {round}: {counted} counted, {says} told"
        );
        told = says;
    }
    survivor.succeed();
    assert_eq!(watcher.words()[0].load(SeqCst), 3_000, "the survivor was not disturbed");
    until("the dead to be noticed", || (mesh.metric(1, "pagemesh_attachments") == 0.0).then_some(()));
}

/// When its agent is gone a program waits at its next remote access. It reads no zeros and nothing stale.
#[test]
fn a_program_without_its_agent_waits() {
    let mut mesh = Mesh::start(3, &[COUNTERS], Wires::Direct, 1);
    let writer = attach(&mesh, 0);
    (0..8).for_each(|page| writer.words()[page * 512].store(42, SeqCst));
    let other = attach(&mesh, 2);
    assert_eq!(other.words()[512].load(SeqCst), 42);
    let arena = mesh.file("arena");
    let mut program = Worker::start(&mesh, 1, "hold", &["counters", arena.to_str().unwrap(), "512"]);
    let word = |at: usize| {
        let words = std::fs::read(&arena).ok()?;
        Some(u64::from_le_bytes(words.get(at * 8..at * 8 + 8)?.try_into().ok()?))
    };
    until("the program to have read its first page", || (word(1) == Some(42)).then_some(()));
    mesh.agents[1].kill();
    let go = std::fs::OpenOptions::new().write(true).open(&arena).expect("the arena");
    go.write_all_at(&1_u64.to_le_bytes(), 16).expect("the arena can be written");
    let place = format!("/proc/{}/wchan", program.process.id());
    until("the program to wait in its fault", || {
        let waits = std::fs::read_to_string(&place).is_ok_and(|place| place == "handle_userfault");
        assert_eq!(word(3), Some(0), "an access to what is not here must wait, not read something");
        waits.then_some(())
    });
    // What it had it could still read: nobody can have written that, for its agent did not give it up.
    assert_eq!(word(2), Some(42));
    program.kill();
    // And so can the others.
    assert_eq!(other.words()[512].load(SeqCst), 42);
}
