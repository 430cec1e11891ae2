//! Litmus tests on the real kernel: one process a thread, spread over three agents that share nothing but TCP.

mod mesh;

use mesh::worker::Worker;
use mesh::{Mesh, RegionSpec, Wires};

const ROUNDS: u64 = 2_000;
/// Name and number of threads.
const TESTS: [(&str, usize); 6] = [("SB", 2), ("MP", 2), ("LB", 2), ("IRIW", 4), ("CoRR", 3), ("2+2W", 2)];

fn litmus(coherence: &'static str) {
    let regions = [RegionSpec { name: "litmus", size: "1Mi", coherence }];
    let mesh = Mesh::start(3, &regions, Wires::Direct, 1);
    // The second variable on the same page as the first, on the next one, and on one with another home.
    for (layout, second) in [("one page", 64), ("two pages", 512), ("two homes", 64 * 512)] {
        for (test, threads) in TESTS {
            let arena = mesh.file(&format!("{test}-{second}"));
            let arena = arena.to_str().expect("a plain path");
            let start = |thread: usize| {
                let (thread, node) = (thread.to_string(), thread % 3);
                let (rounds, second) = (ROUNDS.to_string(), second.to_string());
                Worker::start(&mesh, node, "litmus", &["litmus", test, &thread, &rounds, &second, arena])
            };
            let workers: Vec<Worker> = (0..threads).map(start).collect();
            workers.into_iter().for_each(Worker::succeed);
            let words = std::fs::read(arena).expect("the workers met there");
            let word = |at: usize| u64::from_le_bytes(words[at * 8..][..8].try_into().expect("eight bytes"));
            let (forbidden, outcomes) = (word(1), word(2));
            println!(
                "{test}, {layout}, {coherence}: {ROUNDS} rounds, {outcomes} outcomes, {forbidden} forbidden"
            );
            assert_eq!(forbidden, 0, "{test}, {layout}, {coherence}");
            assert!(outcomes >= 1, "{test}: nothing was recorded");
        }
    }
}

#[test]
fn sequential_consistency_under_write_invalidate() {
    litmus("WriteInvalidate");
}

#[test]
fn sequential_consistency_under_write_update() {
    litmus("WriteUpdate");
}
