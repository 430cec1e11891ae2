//! Seeded simulation: larger worlds, thousands of accesses, and everything that can go wrong at random. A seed says
//! all, so that a failure is replayed by its seed: `SEED=n cargo test --test simulation one_seed -- --nocapture`.
//!
//! `SEEDS=n` sets how many seeds are run (2,000 unless told).

mod world;

use world::Judged;
use world::simulate::simulate;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn every_seed_holds() {
    let seeds = number("SEEDS").unwrap_or(2_000);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let run = |worker: u64| {
        let mut sum = Judged::default();
        for seed in (worker..seeds).step_by(workers as usize) {
            let judged =
                simulate(seed, |_| {}).unwrap_or_else(|objection| panic!("SEED={seed}: {objection}"));
            sum.loads += judged.loads;
            sum.stores += judged.stores;
            sum.messages += judged.messages;
            sum.faults += judged.faults;
        }
        sum
    };
    let sums: Vec<Judged> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(move || run(worker))).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let total = |f: fn(&Judged) -> u64| sums.iter().map(f).sum::<u64>();
    println!(
        "{seeds} seeds: {} loads and {} stores judged, {} faults, {} messages",
        total(|j| j.loads),
        total(|j| j.stores),
        total(|j| j.faults),
        total(|j| j.messages),
    );
}

#[test]
fn one_seed() {
    let seed = number("SEED").unwrap_or(0);
    let judged = simulate(seed, |_| {}).unwrap_or_else(|objection| panic!("SEED={seed}: {objection}"));
    println!("SEED={seed}: {judged:?}");
}
