//! Agents that are killed at any moment and started again while programs go on.

mod mesh;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;

use mesh::worker::Worker;
use mesh::{Mesh, RegionSpec, Wires, until};
use pagemesh::Region;

const COUNTERS: RegionSpec = RegionSpec { name: "counters", size: "4Mi", coherence: "WriteInvalidate" };
const PER_PAGE: usize = 512;
/// How often an agent is killed under each load.
const KILLS: usize = 300;

fn attach(mesh: &Mesh, node: usize) -> Region {
    Region::attach_to(Path::new(&mesh.socket(node)), "counters").expect("the region is ready")
}

/// Six programs count on one word and each on one of its own while their agents are killed in turn.
#[test]
fn no_increment_is_lost_or_done_twice() {
    let own = |worker: usize| (worker + 1) * PER_PAGE;
    for coherence in ["WriteInvalidate", "WriteUpdate"] {
        let mut mesh = Mesh::start(3, &[RegionSpec { coherence, ..COUNTERS }], Wires::Direct, 2);
        let start =
            |w: usize| Worker::start(&mesh, w % 3, "count", &["counters", "0", &own(w).to_string(), "0"]);
        let workers: Vec<Worker> = (0..6).map(start).collect();
        let region = attach(&mesh, 0);
        let mut counted = 0;
        for kill in 0..KILLS {
            // Somewhere in the work: another place each time.
            until(&format!("the programs to go on after kill {kill}"), || {
                let now = region.words()[0].load(SeqCst);
                (now > counted + 50 * (1 + kill as u64 % 7)).then(|| counted = now)
            });
            mesh.revive(kill % 3);
        }
        (0..6).for_each(|w| region.words()[own(w) + 1].store(1, SeqCst));
        workers.into_iter().for_each(Worker::succeed);
        let counted: u64 = (0..6).map(|w| region.words()[own(w)].load(SeqCst)).sum();
        for node in 0..3 {
            let seen = attach(&mesh, node).words()[0].load(SeqCst);
            assert_eq!(seen, counted, "{coherence}, seen from node {node}");
        }
        println!("{coherence}: {counted} increments exact while agents were killed {KILLS} times");
    }
}

/// Six programs write to every page of 2 MiB and check what the others write, while their agents are killed, several of
/// them at a time: no page goes back, is torn or is zeros.
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
    let mut seen = 0;
    for kill in 0..KILLS {
        until(&format!("the programs to go on after kill {kill}"), || {
            let now = rounds(&region);
            (now > seen).then(|| seen = now)
        });
        match kill % 5 {
            0 => mesh.revive_all(&[0, 1]),
            1 => mesh.revive_all(&[0, 1, 2]),
            _ => mesh.revive_all(&[kill % 3]),
        }
    }
    region.words()[STOP].store(1, SeqCst);
    workers.into_iter().for_each(Worker::succeed);
    println!("{seen} rounds over {PAGES} pages while agents were killed");
}

/// Programs attach, count and end while their agents are killed.
#[test]
fn programs_that_come_and_go_do_not_notice() {
    let mut mesh = Mesh::start(3, &[COUNTERS], Wires::Direct, 2);
    let region = attach(&mesh, 0);
    let mut workers: Vec<Worker> = Vec::new();
    let mut started = 0;
    for kill in 0..KILLS {
        while workers.len() < 6 {
            let own = ((1 + started % 64) * PER_PAGE).to_string();
            workers.push(Worker::start(&mesh, started % 3, "count", &["counters", "0", &own, "10"]));
            started += 1;
        }
        mesh.revive(kill % 3);
        until(&format!("a program to end after kill {kill}"), || {
            let before = workers.len();
            workers.retain_mut(|worker| {
                let ended = worker.process.try_wait().expect("it is our child");
                ended.is_none_or(|status| {
                    assert!(status.success(), "a program ended with {status} around kill {kill}");
                    false
                })
            });
            (workers.len() < before).then_some(())
        });
    }
    workers.into_iter().for_each(Worker::succeed);
    assert_eq!(region.words()[0].load(SeqCst), 10 * started as u64);
    println!("{started} programs came and went while agents were killed {KILLS} times");
}

/// A file of objects that is bad when a successor starts costs nothing: what the earlier agent served is kept until it is seen.
#[test]
fn bad_objects_cost_no_memory() {
    let mut mesh = Mesh::start(2, &[COUNTERS], Wires::Direct, 1);
    let region = attach(&mesh, 1);
    (0..64).for_each(|page| region.words()[page * PER_PAGE].store(7 + page as u64, SeqCst));
    let objects = mesh.agents[0].dir.join("objects/mesh.yaml");
    let good = fs::read(&objects).expect("it was declared");
    fs::write(&objects, "kind: [").expect("it can be written");
    mesh.revive(0);
    fs::write(objects.with_extension("new"), good).expect("it can be written");
    fs::rename(objects.with_extension("new"), &objects).expect("it can be renamed");
    mesh.await_ready();
    let other = until("the region to be declared again", || {
        Region::attach_to(Path::new(&mesh.socket(0)), "counters").ok()
    });
    for page in 0..64 {
        assert_eq!(other.words()[page * PER_PAGE].load(SeqCst), 7 + page as u64, "page {page}");
    }
}

/// A program that has cut its region file short costs zeros where it did, and no agent.
#[test]
fn a_file_that_was_cut_short_gets_its_length_back() {
    let mut mesh = Mesh::start(2, &[COUNTERS], Wires::Direct, 1);
    let region = attach(&mesh, 1);
    region.words()[0].store(7, SeqCst);
    let path = mesh.agents[1].dir.join("memory/region-default.counters");
    let len = fs::metadata(&path).expect("the region is open").len();
    mesh.agents[1].kill();
    fs::File::options().write(true).open(&path).expect("it is there").set_len(5000).expect("it can be cut");
    mesh.revive(1);
    assert_eq!(fs::metadata(&path).expect("the region is open").len(), len);
    let last = region.words().len() - 1;
    region.words()[last].store(8, SeqCst);
    assert_eq!(attach(&mesh, 0).words()[last].load(SeqCst), 8);
}

/// What an agent has kept and is damaged is refused: it starts as another one, without the memory, and says so.
#[test]
fn what_is_damaged_is_refused() {
    let mut mesh = Mesh::start(2, &[COUNTERS], Wires::Direct, 1);
    attach(&mesh, 0).words()[0].store(1, SeqCst);
    mesh.agents[1].kill();
    let path = mesh.agents[1].dir.join("memory/state/shard-0.state");
    let mut state = fs::read(&path).expect("it was kept");
    let middle = state.len() / 2;
    state[middle] ^= 1;
    fs::write(&path, &state).expect("it can be written");
    let before = mesh.agents[1].log();
    mesh.restart(1);
    let log = mesh.agents[1].log().split_off(before.len());
    assert!(log.contains("cannot be taken up, and so is lost") && log.contains("checksum"), "{log}");
    assert!(!log.contains("took up"), "{log}");
}

/// One of a version that is not known is refused, and stays for whoever knows it.
#[test]
fn another_version_is_refused_and_kept() {
    let mut mesh = Mesh::start(2, &[COUNTERS], Wires::Direct, 1);
    mesh.agents[1].kill();
    let path: PathBuf = mesh.agents[1].dir.join("memory/state/shard-0.state");
    let good = fs::read(&path).expect("it was kept");
    let mut state = good.clone();
    state[8] = 99;
    fs::write(&path, &state).expect("it can be written");
    let output = mesh.fails_to_start(1);
    assert!(output.contains("is of version 99"), "{output}");
    fs::write(&path, &good).expect("it can be written");
    mesh.revive(1);
    attach(&mesh, 1).words()[0].store(1, SeqCst);
}
