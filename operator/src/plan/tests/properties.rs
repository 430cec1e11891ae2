//! What holds for every placement, whatever happens: random clusters, in which random things happen one after the other.
//!
//! A failing seed is printed, and replays by itself. For more of them: `PROPERTY_SEEDS=2000 cargo test -p pagemesh-operator properties`.

use std::collections::{BTreeMap, BTreeSet};

use pagemesh_crds::{Home, Placement};

use super::print::placement_text;
use super::random::World;
use crate::plan::{Action, RegionKey};

const SEEDS_DEFAULT: u64 = 60;
const STEPS: usize = 60;

/// A placement as it was, and what else has to be known of that moment.
struct Before {
    placement: Placement,
    at_rest: bool,
    lost: bool,
}

fn remember(world: &World) -> BTreeMap<RegionKey, Before> {
    let placed = world.regions().into_iter().filter_map(|region| {
        let placement = world.model.placement(&region)?.clone();
        let settled = world.settled(&region, &placement);
        let at_rest = settled && placement.previous.is_empty();
        let needed = placement.homes.iter().chain(placement.previous.iter().filter(|_| !settled));
        let lost = !needed.cloned().collect::<Vec<_>>().iter().all(|home| world.has_pages(home));
        Some((region, Before { placement, at_rest, lost }))
    });
    placed.collect()
}

fn distinct(homes: &[Home]) -> BTreeSet<&str> {
    homes.iter().map(|home| home.agent.as_str()).collect()
}

fn check_first(world: &World, placement: &Placement) {
    assert_eq!((placement.epoch, placement.previous.len()), (1, 0));
    assert_eq!(distinct(&placement.homes).len(), placement.homes.len(), "each home on another agent");
    for home in &placement.homes {
        assert!(world.usable(&home.agent), "{} can take pages", home.agent);
    }
}

/// What may have become of a placement.
fn check_change(world: &World, region: &RegionKey, before: &Before, after: &Placement, asked: bool) {
    let old = &before.placement;
    let cleared = Placement { previous: Vec::new(), ..old.clone() };
    if after == old {
        return;
    }
    if after.epoch == old.epoch {
        assert_eq!(*after, cleared, "under one epoch only the end of a move is published");
        assert!(world.settled(region, old), "a move is over when all homes have said so");
        return;
    }
    assert!(!before.lost, "nothing changes while a home is lost");
    assert!(after.epoch > old.epoch);
    if after.homes == old.homes {
        assert!(after.previous == old.previous || after.previous.is_empty());
        assert!(asked || after.size != old.size || after.coherence != old.coherence);
        return;
    }
    assert!(before.at_rest || world.settled(region, old), "homes change only when nothing moves");
    assert_eq!(after.previous, old.homes);
    if asked || after.size != old.size {
        return;
    }
    if after.homes.len() != old.homes.len() {
        let number = after.homes.len();
        match world.model.region(region).spec.homes {
            Some(wanted) => assert_eq!(usize::from(wanted), number, "as many homes as are asked for"),
            None => {
                assert!(
                    number > old.homes.len(),
                    "a region has more homes if one has to go that no other can replace"
                );
                assert!(old.homes.iter().any(|home| world.leaving(&home.agent)));
            }
        }
        return;
    }
    for (slot, (was, is)) in old.homes.iter().zip(&after.homes).enumerate().filter(|(_, (was, is))| was != is)
    {
        let doubled = old.homes[..slot].iter().any(|home| home.agent == was.agent);
        let wanted = world.model.region(region).spec.agent_pool_name.as_deref();
        let pool = world.model.snapshot.agents[&was.agent].spec.agent_pool_name.as_deref();
        let elsewhere = wanted.is_some() && wanted != pool;
        assert!(
            world.leaving(&was.agent) || doubled || elsewhere,
            "slot {slot} has left {} for no reason",
            was.agent
        );
        assert!(world.usable(&is.agent), "{} can take pages", is.agent);
    }
}

/// Nobody who has got pages has got more than it lends; of a region that has grown, no home.
fn check_memory(world: &World, changed: &[(RegionKey, Option<Placement>)]) {
    let promised = world.promised();
    for (region, before) in changed {
        let Some(after) = world.model.placement(region) else { continue };
        let same_size = before.as_ref().filter(|before| before.size == after.size);
        let had = same_size.map(|before| distinct(&before.homes)).unwrap_or_default();
        for home in after.homes.iter().filter(|home| !had.contains(home.agent.as_str())) {
            let status = world.model.snapshot.agents[&home.agent].status.as_ref().unwrap();
            let lent = status.memory.as_ref().unwrap().lent.bytes().unwrap();
            // Of what a region has grown by, a former home never has pages.
            let (own, formerly) = world.shares(after, &home.agent);
            let needed = promised[&home.agent] - own.max(formerly) + own;
            assert!(needed <= lent, "{} lends {lent}, and {needed} is needed of it", home.agent);
        }
    }
}

/// A zone has two homes of a region more than another only if nobody there could take one.
fn check_zones(world: &World, region: &RegionKey, placement: &Placement) {
    let zone = |agent: &str| world.model.snapshot.nodes[agent].zone().to_owned();
    let mut slots: BTreeMap<String, usize> = BTreeMap::new();
    for home in &placement.homes {
        *slots.entry(zone(&home.agent)).or_default() += 1;
    }
    let most = slots.values().copied().max().unwrap_or(0);
    let share = placement.size.as_ref().unwrap().bytes().unwrap().div_ceil(placement.homes.len() as u64);
    let promised = world.promised();
    let pool = world.model.region(region).spec.agent_pool_name.as_deref().unwrap_or("default").to_owned();
    let homes = distinct(&placement.homes);
    for agent in world.agents().iter().filter(|agent| !homes.contains(agent.as_str()) && world.usable(agent))
    {
        let object = &world.model.snapshot.agents[agent];
        let lent = object.status.as_ref().unwrap().memory.as_ref().unwrap().lent.bytes().unwrap();
        let fits = lent.saturating_sub(promised[agent]) >= share;
        if fits && object.spec.agent_pool_name.as_deref() == Some(&pool) {
            let here = slots.get(&zone(agent)).copied().unwrap_or(0);
            assert!(most <= here + 1, "{agent} of zone {} could have had a home", zone(agent));
        }
    }
}

fn check_numbers(world: &World) {
    let numbers: Vec<u16> = world.model.snapshot.agents.values().filter_map(|agent| agent.spec.id).collect();
    assert_eq!(numbers.len(), world.model.snapshot.agents.len(), "every agent has a number");
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len(), "no two have the same");
}

fn run(seed: u64, log: &mut Vec<String>) -> usize {
    let mut world = World::new(seed);
    let mut moves = 0;
    for _ in 0..STEPS {
        let asked = world.step();
        let before = remember(&world);
        log.append(&mut world.log);
        // That nothing is left to do after some rounds is checked in there.
        let done = world.model.run();
        let mut changed = Vec::new();
        for region in world.regions() {
            let Some(after) = world.model.placement(&region).cloned() else { continue };
            let was = before.get(&region);
            log.push(format!("  {}: {}", region.name, placement_text(&after)));
            match was {
                None => {
                    check_first(&world, &after);
                    let alone = done.iter().filter(|action| action.epoch() == Some(1)).count() == 1;
                    if alone {
                        check_zones(&world, &region, &after);
                    }
                }
                Some(before) => {
                    check_change(&world, &region, before, &after, asked.as_ref() == Some(&region))
                }
            }
            let was = was.map(|before| before.placement.clone());
            if was.as_ref().map(|was| (&was.homes, &was.size)) != Some((&after.homes, &after.size)) {
                moves += usize::from(was.as_ref().is_some_and(|was| was.homes != after.homes));
                changed.push((region, was));
            }
        }
        check_memory(&world, &changed);
        check_numbers(&world);
        for action in &done {
            if let Action::SetRegionStatus { status, publishes: true, .. } = action {
                assert!(status.placement.is_some(), "a placement is never taken back");
            }
        }
    }
    moves
}

#[test]
fn placements_keep_their_promises() {
    let seeds = std::env::var("PROPERTY_SEEDS").map_or(SEEDS_DEFAULT, |text| text.parse().unwrap());
    let mut moves = 0;
    for seed in 0..seeds {
        let mut log = Vec::new();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &mut log)));
        match result {
            Ok(moved) => moves += moved,
            Err(panic) => {
                eprintln!("seed {seed}:\n{}", log.join("\n"));
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(moves > seeds as usize, "the worlds are too quiet to prove anything: {moves} moves");
}
