//! Agents that are killed at any moment and started again while programs go on.

mod mesh;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;

use mesh::load::{COUNTERS, PER_PAGE, attach, count_while, sweep_while};
use mesh::worker::Worker;
use mesh::{Mesh, Wires, say, until};
use pagemesh::Region;

/// How often an agent is killed under each load.
const KILLS: usize = 300;

/// No increment is lost or done twice while agents are killed in turn.
#[test]
fn no_increment_is_lost_or_done_twice() {
    for coherence in ["WriteInvalidate", "WriteUpdate"] {
        let counted = count_while(coherence, KILLS, |mesh, kill| mesh.revive(kill % 3));
        say(&format!("{coherence}: {counted} increments exact while agents were killed {KILLS} times"));
    }
}

/// No page goes back, is torn or is zeros while agents are killed, several of them at a time.
#[test]
fn no_page_goes_back() {
    let rounds = sweep_while(KILLS, |mesh, kill| match kill % 5 {
        0 => mesh.revive_all(&[0, 1]),
        1 => mesh.revive_all(&[0, 1, 2]),
        _ => mesh.revive_all(&[kill % 3]),
    });
    say(&format!("{rounds} rounds over all pages while agents were killed"));
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
    say(&format!("{started} programs came and went while agents were killed {KILLS} times"));
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
