//! Every deliberate mistake in the protocol is caught by the oracle: so it would catch ours.

mod world;

use pagemesh_protocol::Mutation;
use world::World;
use world::simulate::{simulate, simulate_crash};

#[test]
fn every_mutation_is_caught() {
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        let caught = (0..2_000).find_map(|seed| {
            let mutate = |world: &mut World| world.nodes.iter_mut().for_each(|node| node.mutate(mutation));
            // A mistake may also trip one of the protocol's own assertions.
            let run = std::panic::AssertUnwindSafe(|| match seed % 4 {
                0 => simulate_crash(seed, mutate),
                _ => simulate(seed, mutate),
            });
            let objection = std::panic::catch_unwind(run)
                .unwrap_or_else(|_| Err("an assertion failed".to_owned()))
                .err()?;
            Some((seed, objection.lines().next().unwrap_or_default().to_owned()))
        });
        match caught {
            Some((seed, objection)) => println!("{mutation:?}: caught by seed {seed}: {objection}"),
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
