//! All interleavings of small worlds: every order of messages, accesses, deadlines and one loss of a connection.

mod world;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use pagemesh_protocol::{CHUNK_PAGES, Coherence};
use world::machine::{load, store};
use world::{Action, Setup, World};

/// Explores everything that can happen and returns how many different states there are.
///
/// # Panics
/// If the oracle objects to any of them; with the actions that led there.
fn explore(setup: &Setup, cuts: u32, hasty: u32) -> Result<usize, String> {
    let mut start = World::new(setup);
    (start.cuts_left, start.hasty_left) = (cuts, hasty);
    let mut seen = BTreeSet::from([fingerprint(&start)]);
    // Depth first, with only the worlds on the way here in memory.
    let mut path = vec![Visit::new(start, None)];
    while let Some(visit) = path.last_mut() {
        let Some(action) = visit.actions.pop() else {
            path.pop();
            continue;
        };
        let mut next = visit.world.clone();
        let judged = next
            .act(action)
            .and_then(|()| if next.progress().is_empty() { next.judge_rest() } else { Ok(()) });
        if let Err(objection) = judged {
            let actions: Vec<_> = path.iter().filter_map(|v| v.reached_by).chain([action]).collect();
            let before = path.last().map(|v| v.world.print()).unwrap_or_default();
            return Err(format!("{objection}\nbefore the last action:\n{before}actions: {actions:?}"));
        }
        if seen.insert(fingerprint(&next)) {
            path.push(Visit::new(next, Some(action)));
        }
    }
    Ok(seen.len())
}

struct Visit {
    world: World,
    reached_by: Option<Action>,
    /// What has not been tried from here.
    actions: Vec<Action>,
}

impl Visit {
    fn new(world: World, reached_by: Option<Action>) -> Visit {
        Visit { actions: world.actions(), world, reached_by }
    }
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

fn holds(name: &str, setup: &Setup, cuts: u32, hasty: u32) {
    let coherence = setup.config.coherence;
    match explore(setup, cuts, hasty) {
        Ok(states) => println!("{name}, {coherence:?}, {cuts} cut(s): {states} states"),
        Err(objection) => panic!("{name}, {coherence:?}, {cuts} cut(s): {objection}"),
    }
}

const BOTH: [Coherence; 2] = [Coherence::WriteInvalidate, Coherence::WriteUpdate];

#[test]
fn three_agents_one_page() {
    for coherence in BOTH {
        let world = || Setup::new(3, 1, coherence, 1);
        let writers =
            world().program(0, &[store(0)]).program(1, &[load(0), store(0)]).program(2, &[store(0), load(0)]);
        holds("3 agents, 1 page, writers", &writers, 0, 0);
        let hasty = world().program(0, &[store(0)]).program(1, &[store(0)]).program(2, &[load(0)]);
        holds("3 agents, 1 page, a turn that ends too early", &hasty, 0, 1);
    }
}

#[test]
fn three_agents_one_page_and_a_lost_connection() {
    for coherence in BOTH {
        let world = || Setup::new(3, 1, coherence, 1);
        let away = world().program(1, &[load(0), store(0)]).program(2, &[store(0)]);
        holds("3 agents, 1 page, home only orders", &away, 1, 0);
        let all = world().program(0, &[load(0)]).program(1, &[store(0)]).program(2, &[load(0)]);
        holds("3 agents, 1 page, one writer", &all, 1, 0);
        let home = world().program(0, &[store(0)]).program(1, &[store(0)]).program(2, &[load(0)]);
        holds("3 agents, 1 page, home writes", &home, 1, 0);
        let twice = world().program(1, &[load(0)]).program(2, &[store(0)]);
        holds("3 agents, 1 page, home only orders", &twice, 2, 0);
        let writers =
            world().program(0, &[store(0)]).program(1, &[load(0), store(0)]).program(2, &[store(0)]);
        holds("3 agents, 1 page, writers", &writers, 1, 0);
    }
}

#[test]
fn two_agents_two_pages_and_a_lost_connection() {
    for coherence in BOTH {
        // Pages of different chunks, so that each agent is the home of one.
        let (here, there) = (0, CHUNK_PAGES);
        let setup = Setup::new(2, 2 * CHUNK_PAGES, coherence, 1)
            .program(0, &[store(here), load(there)])
            .program(1, &[store(there), load(here)]);
        holds("2 agents, 2 pages", &setup, 1, 0);
        let setup = Setup::new(2, 2 * CHUNK_PAGES, coherence, 1)
            .program(0, &[store(there), store(here)])
            .program(1, &[load(here), store(there)]);
        holds("2 agents, 2 pages, crossed", &setup, 1, 0);
    }
}
