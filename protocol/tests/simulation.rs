//! Seeded simulation: larger worlds, thousands of accesses, and everything that can go wrong at random. A seed says
//! all, so that a failure is replayed by its seed: `SEED=n cargo test --test simulation one_seed -- --nocapture`.
//!
//! `SEEDS=n` sets how many seeds are run (2,000 unless told).

mod world;

use world::Judged;
use world::simulate::{simulate, simulate_crash, simulate_recovery};

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

type Simulate = fn(u64) -> Result<Judged, String>;

/// Runs all seeds and says what has been judged.
fn run_all(what: &str, simulate: Simulate) {
    let seeds = number("SEEDS").unwrap_or(2_000);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let run = |worker: u64| {
        let mut sum = Judged::default();
        for seed in (worker..seeds).step_by(workers as usize) {
            sum += simulate(seed).unwrap_or_else(|objection| panic!("{what}, SEED={seed}: {objection}"));
        }
        sum
    };
    let mut sum = Judged::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(move || run(worker))).collect();
        for thread in threads {
            sum += thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    println!("{what}, {seeds} seeds: {sum:?}");
}

#[test]
fn every_seed_holds() {
    run_all("all goes on", |seed| simulate(seed, |_| {}));
}

#[test]
fn every_seed_holds_when_an_agent_crashes() {
    run_all("an agent crashes", |seed| simulate_crash(seed, |_| {}));
}

#[test]
fn every_seed_holds_when_processes_die_and_what_they_keep_does_not() {
    run_all("processes die", |seed| simulate_recovery(seed, |_| {}));
}

#[test]
fn one_seed() {
    let seed = number("SEED").unwrap_or(0);
    for (what, simulate) in [
        ("all goes on", (|seed| simulate(seed, |_| {})) as Simulate),
        ("an agent crashes", |seed| simulate_crash(seed, |_| {})),
        ("processes die", |seed| simulate_recovery(seed, |_| {})),
    ] {
        let judged = simulate(seed).unwrap_or_else(|objection| panic!("{what}, SEED={seed}: {objection}"));
        println!("{what}, SEED={seed}: {judged:?}");
    }
}
