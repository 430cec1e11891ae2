//! Patterns of access, as in the literature on shared memory.

use super::homed_at;
use super::machine::{Op, load, store};
use super::random::Random;

/// Pages that an agent has for itself.
const OWN_PAGES: u64 = 8;
/// Pages that all agents read, most of the time.
const COMMON_PAGES: u64 = 16;
/// Consumers where there are a few.
const FEW: usize = 4;
/// Rounds in which each agent has its turn, or the producer produces. More than the updates after which an agent that does
/// not read a page is asked nothing any more.
const ROUNDS: u64 = 20;
/// Accesses of all agents together, at least, where they are drawn by lot or race.
const ACCESSES: u64 = 20_000;
/// How long a program does something else between two accesses, on average. Half of it is the least, and a turn is no longer:
/// who waits for a page gets it before its last user comes again.
const THINK_NANOS: u64 = 100_000;
/// Longer than a writer's turn and the way of its contents to all others.
const PAUSE_NANOS: u64 = 2_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Each agent writes pages of its own for the first time.
    FirstTouch,
    /// Each agent goes on to read and write them.
    Private,
    /// All agents read pages in common, drawn by lot; one access of a hundred writes.
    ReadMostly,
    /// One agent after the other reads a page and writes it, as one does with what a lock protects.
    Migratory,
    /// One agent writes a page, then four others read it.
    FewConsumers,
    /// One agent writes a page, then all others read it.
    AllConsumers,
    /// All agents write one page, as fast as they get it.
    HotSpot,
}

/// Programs that run at the same time.
pub struct Phase {
    /// Time from the end of the phase before.
    pub pause_nanos: u64,
    /// Accesses of the program on each agent named.
    pub programs: Vec<(usize, Vec<Op>)>,
}

/// What programs do by a pattern: phases, one after the other.
pub struct Plan {
    /// How long a program rests between two accesses, on average.
    pub think_nanos: u64,
    /// Until all are as they are from then on.
    pub warm_up: Vec<Phase>,
    /// What is counted.
    pub measured: Vec<Phase>,
}

impl Pattern {
    pub const ALL: [Pattern; 7] = [
        Pattern::FirstTouch,
        Pattern::Private,
        Pattern::ReadMostly,
        Pattern::Migratory,
        Pattern::FewConsumers,
        Pattern::AllConsumers,
        Pattern::HotSpot,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Pattern::FirstTouch => "first touch",
            Pattern::Private => "private",
            Pattern::ReadMostly => "read-mostly",
            Pattern::Migratory => "migratory",
            Pattern::FewConsumers => "producer, 4 consumers",
            Pattern::AllConsumers => "producer, all consume",
            Pattern::HotSpot => "hot spot",
        }
    }

    /// What the programs do on so many agents.
    pub fn plan(self, agents: usize) -> Plan {
        match self {
            Pattern::FirstTouch => {
                plan(Vec::new(), vec![everybody(agents, |agent| own_pages(agent, agents, 1))])
            }
            Pattern::Private => plan(
                vec![everybody(agents, |agent| own_pages(agent, agents, 1))],
                vec![everybody(agents, |agent| own_pages(agent, agents, 10))],
            ),
            Pattern::ReadMostly => {
                let mut random = Random::new(1);
                let mut lot = |accesses| everybody(agents, |_| common_pages(&mut random, agents, accesses));
                plan(vec![lot(10 * COMMON_PAGES)], vec![lot(ACCESSES.div_ceil(agents as u64).max(100))])
            }
            Pattern::Migratory => {
                let rounds = |number: u64| (0..number).flat_map(|_| 0..agents).map(turn).collect();
                // Everybody has had the page, and more have than get its updates.
                plan(rounds(ROUNDS.div_ceil(agents as u64)), rounds((2 * ROUNDS).div_ceil(agents as u64)))
            }
            Pattern::FewConsumers => produce(agents, FEW.min(agents - 1)),
            Pattern::AllConsumers => produce(agents, agents - 1),
            Pattern::HotSpot => {
                let race = |accesses: u64| {
                    everybody(agents, |_| (0..accesses).map(|_| store(homed_at(0, 0))).collect())
                };
                plan(vec![race(1)], vec![race(ACCESSES.div_ceil(agents as u64))])
            }
        }
    }
}

fn plan(warm_up: Vec<Phase>, measured: Vec<Phase>) -> Plan {
    Plan { think_nanos: THINK_NANOS, warm_up, measured }
}

fn everybody(agents: usize, mut ops: impl FnMut(usize) -> Vec<Op>) -> Phase {
    Phase { pause_nanos: 0, programs: (0..agents).map(|agent| (agent, ops(agent))).collect() }
}

/// The agent's own pages, which its neighbour homes: a write of each, and loads and stores by turns after that.
fn own_pages(agent: usize, agents: usize, times: u64) -> Vec<Op> {
    let access = |number: u64| {
        let index = homed_at((agent + 1) % agents, number % OWN_PAGES);
        if (number / OWN_PAGES).is_multiple_of(2) { store(index) } else { load(index) }
    };
    (0..times * OWN_PAGES).map(access).collect()
}

fn common_pages(random: &mut Random, agents: usize, accesses: u64) -> Vec<Op> {
    let mut access = |_| {
        let number = random.below(COMMON_PAGES);
        let index = homed_at(number as usize % agents, number);
        if random.one_in(100) { store(index) } else { load(index) }
    };
    (0..accesses).map(&mut access).collect()
}

/// The agent reads the page and writes it, then the next one may.
fn turn(agent: usize) -> Phase {
    Phase {
        pause_nanos: THINK_NANOS,
        programs: vec![(agent, vec![load(homed_at(0, 0)), store(homed_at(0, 0))])],
    }
}

/// The first agent produces, those after it consume, the last one is the home.
fn produce(agents: usize, consumers: usize) -> Plan {
    let index = homed_at(agents - 1, 0);
    let rounds = |number: u64| {
        let round = |_| {
            let consumed = (1..=consumers).map(|consumer| (consumer, vec![load(index)])).collect();
            [
                Phase { pause_nanos: PAUSE_NANOS, programs: vec![(0, vec![store(index)])] },
                Phase { pause_nanos: PAUSE_NANOS, programs: consumed },
            ]
        };
        (0..number).flat_map(round).collect()
    };
    plan(rounds(ROUNDS), rounds(2 * ROUNDS))
}
