//! Every deliberate mistake in the protocol is caught by the oracle: so it would catch ours. First by random worlds; what
//! they meet too seldom, by all that can happen in a few small ones.

mod world;

use std::panic::AssertUnwindSafe;

use pagemesh_protocol::Mutation;
use world::explore::{BOTH, explore};
use world::machine::{load, store};
use world::simulate::{simulate, simulate_crash};
use world::{Setup, World};

const SEEDS: u64 = 1_000;

/// What the oracle says of a mistake, and where.
fn objection(mutation: Mutation) -> Option<String> {
    let mutate = |world: &mut World| world.nodes.iter_mut().for_each(|node| node.mutate(mutation));
    (0..SEEDS)
        .find_map(|seed| {
            caught(|| simulate(seed, mutate)).map(|o| format!("seed {seed}: {o}")).or_else(|| {
                let crashes = seed % 4 == 0;
                crashes
                    .then(|| caught(|| simulate_crash(seed, mutate)))?
                    .map(|o| format!("crash {seed}: {o}"))
            })
        })
        .or_else(|| {
            small_worlds().into_iter().find_map(|(name, setup)| {
                caught(|| explore(&setup, (2, 0, 0), mutate)).map(|o| format!("{name}: {o}"))
            })
        })
}

fn caught<T>(run: impl FnOnce() -> Result<T, String>) -> Option<String> {
    // A mistake may also trip one of the protocol's own assertions.
    let judged = std::panic::catch_unwind(AssertUnwindSafe(run));
    let objection = judged.unwrap_or_else(|_| Err("an assertion failed".to_owned())).err()?;
    Some(objection.lines().next().unwrap_or_default().to_owned())
}

/// Worlds that are small enough for two lost connections.
fn small_worlds() -> Vec<(&'static str, Setup)> {
    let worlds = |coherence| {
        let world = |agents| Setup::new(agents, 1, coherence, 1).homes(&[0]);
        let leaver = world(2).program(0, &[store(0)]).program(1, &[load(0)]).leaver(1, &[load(0)]);
        [
            ("a reader and a writer", world(3).program(1, &[load(0)]).program(2, &[store(0)])),
            ("an agent leaves and is used again", leaver),
        ]
    };
    BOTH.into_iter().flat_map(worlds).collect()
}

#[test]
fn every_mutation_is_caught() {
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        match objection(mutation) {
            Some(objection) => println!("{mutation:?}: caught by {objection}"),
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
