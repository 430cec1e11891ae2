//! Recorded histories of loads, stores, compare-and-swaps and fetch-and-adds by six processes on three nodes.

mod checker;
mod mesh;

use std::collections::BTreeMap;

use checker::{Kind, Operation, linearizable};
use mesh::worker::Worker;
use mesh::{Mesh, RegionSpec, Wires, until};

const WORKERS: usize = 6;
const ROUNDS: u64 = 400;
/// By each worker in each round, on four words.
const OPERATIONS: u64 = 12;

/// Histories by (round, word).
type Histories = BTreeMap<(u64, u64), Vec<Operation>>;

fn parse(line: &str, histories: &mut Histories) -> Option<()> {
    let mut words = line.split(' ');
    let number = |words: &mut std::str::Split<'_, char>| words.next()?.parse::<u64>().ok();
    let (round, word) = (number(&mut words)?, number(&mut words)?);
    let (begin, end, kind) = (number(&mut words)?, number(&mut words)?, words.next()?);
    let (a, b, result) = (number(&mut words)?, number(&mut words)?, number(&mut words)?);
    let kind = match kind {
        "load" => Kind::Load { result },
        "store" => Kind::Store { value: a },
        "cas" => Kind::Cas { old: a, new: b, result },
        "add" => Kind::Add { by: a, result },
        _ => return None,
    };
    histories.entry((round, word)).or_default().push(Operation { begin, end, kind });
    Some(())
}

/// Runs the workers on words `stride` words apart; `meanwhile` is called again and again until they are done.
fn record(mesh: &mut Mesh, stride: usize, mut meanwhile: impl FnMut(&mut Mesh)) -> Histories {
    let (rounds, operations, stride) = (ROUNDS.to_string(), OPERATIONS.to_string(), stride.to_string());
    let arena = mesh.file(&format!("arena-{stride}"));
    let outputs: Vec<_> = (0..WORKERS).map(|w| mesh.file(&format!("history-{stride}-{w}"))).collect();
    let at = &*mesh;
    let start = |worker: usize| {
        let (id, workers) = (worker.to_string(), WORKERS.to_string());
        let (arena, output) = (arena.to_str().unwrap(), outputs[worker].to_str().unwrap());
        let args = ["histories", &id, &workers, &rounds, &operations, &stride, arena, output];
        Worker::start(at, worker % 3, "history", &args)
    };
    let mut workers: Vec<Worker> = (0..WORKERS).map(start).collect();
    until("the workers to end", || {
        meanwhile(mesh);
        workers.iter_mut().all(|w| w.process.try_wait().expect("our child").is_some()).then_some(())
    });
    workers.into_iter().for_each(Worker::succeed);
    let mut histories = Histories::new();
    for output in &outputs {
        for line in std::fs::read_to_string(output).expect("every worker wrote its history").lines() {
            parse(line, &mut histories).unwrap_or_else(|| panic!("not a line of a history: {line}"));
        }
    }
    histories
}

fn check(histories: &Histories, what: &str) {
    let operations: usize = histories.values().map(Vec::len).sum();
    assert_eq!(operations as u64, ROUNDS * OPERATIONS * WORKERS as u64, "every operation is in a history");
    for ((round, word), history) in histories {
        assert!(
            linearizable(history),
            "{what}: word {word} in round {round} is not linearizable: {history:?}"
        );
    }
    println!("{what}: {operations} operations in {} histories are linearizable", histories.len());
}

const REGION: RegionSpec = RegionSpec { name: "histories", size: "16Mi", coherence: "WriteInvalidate" };
/// Words between words: all on one page, and each on a page, over several homes.
const STRIDES: [usize; 2] = [1, 512 * 8];

#[test]
fn write_invalidate_is_linearizable() {
    let mut mesh = Mesh::start(3, &[REGION], Wires::Direct, 2);
    STRIDES
        .iter()
        .for_each(|&s| check(&record(&mut mesh, s, |_| {}), &format!("WriteInvalidate, stride {s}")));
}

#[test]
fn write_update_is_linearizable() {
    let mut mesh = Mesh::start(3, &[RegionSpec { coherence: "WriteUpdate", ..REGION }], Wires::Direct, 1);
    STRIDES.iter().for_each(|&s| check(&record(&mut mesh, s, |_| {}), &format!("WriteUpdate, stride {s}")));
}

#[test]
fn linearizable_while_connections_break() {
    for coherence in ["WriteInvalidate", "WriteUpdate"] {
        let mut mesh = Mesh::start(3, &[RegionSpec { coherence, ..REGION }], Wires::Cuttable, 1);
        let (mut turn, mut cut) = (0, 0);
        let break_one = |mesh: &mut Mesh| {
            turn += 1;
            // One connection after the other, each as soon as it has been made again.
            if turn % 10 == 0 {
                cut += mesh.proxies[turn / 10 % mesh.proxies.len()].cut();
            }
        };
        let histories = record(&mut mesh, 1, break_one);
        check(&histories, &format!("{coherence}, connections cut"));
        println!("{coherence}: {cut} connections cut");
        assert!(cut >= 10, "only {cut} connections were cut: nothing was shown");
    }
}

#[test]
fn linearizable_while_agents_are_killed_and_hand_over() {
    for coherence in ["WriteInvalidate", "WriteUpdate"] {
        let mut mesh = Mesh::start(3, &[RegionSpec { coherence, ..REGION }], Wires::Direct, 2);
        let (mut turn, mut kills) = (0, 0);
        let kill_one = |mesh: &mut Mesh| {
            turn += 1;
            // Then they have peace to end.
            if turn % 20 == 0 && kills < 100 {
                match kills % 2 {
                    0 => mesh.revive(turn / 20 % 3),
                    _ => drop(mesh.hand_over(turn / 20 % 3)),
                }
                kills += 1;
            }
        };
        let histories = record(&mut mesh, 512 * 8, kill_one);
        check(&histories, &format!("{coherence}, agents killed and handing over"));
        println!("{coherence}: agents killed or handing over {kills} times");
        assert!(kills >= 10, "only {kills} times: nothing was shown");
    }
}

/// The checker can say no.
#[test]
fn the_checker_rejects_bad_histories() {
    let operation = |begin, end, kind| Operation { begin, end, kind };
    let store = operation(1, 2, Kind::Store { value: 7 });
    assert!(linearizable(&[store, operation(3, 4, Kind::Load { result: 7 })]));
    assert!(!linearizable(&[store, operation(3, 4, Kind::Load { result: 0 })]), "a stale load");
    assert!(
        linearizable(&[store, operation(1, 4, Kind::Load { result: 0 })]),
        "at the same time either is right"
    );
    let add = |begin, end, result| operation(begin, end, Kind::Add { by: 1, result });
    assert!(linearizable(&[add(1, 9, 1), add(1, 9, 0), add(1, 9, 2)]));
    assert!(!linearizable(&[add(1, 9, 0), add(1, 9, 0)]), "a lost update");
    let cas = operation(3, 4, Kind::Cas { old: 0, new: 1, result: 0 });
    assert!(!linearizable(&[store, cas]), "a swap that worked against a value that was gone");
    let loads = [operation(3, 4, Kind::Load { result: 7 }), operation(5, 6, Kind::Load { result: 0 })];
    assert!(!linearizable(&[operation(1, 9, Kind::Store { value: 7 }), loads[0], loads[1]]), "back in time");
}
