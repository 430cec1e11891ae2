//! Everything that can happen in a small world, one after the other.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use pagemesh_protocol::Coherence;

use super::{Action, Setup, World};

pub const BOTH: [Coherence; 2] = [Coherence::WriteInvalidate, Coherence::WriteUpdate];

/// Explores everything that can happen and returns how many different states there are; `prepare` may change the world
/// before.
///
/// # Panics
/// If the oracle objects to any of them; with the actions that led there.
pub fn explore(
    setup: &Setup,
    (cuts, hasty, restarts): (u32, u32, u32),
    prepare: impl Fn(&mut World),
) -> Result<usize, String> {
    let mut setup = setup.clone();
    setup.tuning.retry_nanos = 0;
    let mut start = World::new(&setup);
    (start.cuts_left, start.hasty_left, start.restarts_left) = (cuts, hasty, restarts);
    prepare(&mut start);
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

pub fn holds(name: &str, setup: &Setup, cuts: u32, hasty: u32) {
    holds_with_restarts(name, setup, cuts, hasty, 0);
}

pub fn holds_with_restarts(name: &str, setup: &Setup, cuts: u32, hasty: u32, restarts: u32) {
    let coherence = setup.config.coherence;
    match explore(setup, (cuts, hasty, restarts), |_| {}) {
        Ok(states) => println!("{name}, {coherence:?}, {cuts} cut(s): {states} states"),
        Err(objection) => panic!("{name}, {coherence:?}, {cuts} cut(s): {objection}"),
    }
}
