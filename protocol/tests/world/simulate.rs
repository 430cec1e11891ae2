//! One seeded run: a larger world, thousands of accesses, and everything that can go wrong at random.

use pagemesh_protocol::{Access, AgentId, CHUNK_PAGES, Coherence, Placement, RegionConfig};

use super::machine::Op;
use super::random::Random;
use super::{Action, Judged, Setup, World, page};

/// Accesses that programs make in one seed.
const ACCESSES: u64 = 2_000;

/// What differs from seed to seed.
struct Chance {
    random: Random,
    pages: Vec<u64>,
    /// One in so many steps is a cut, an early end of a turn, an attach or detach, a change of epoch.
    cut: u64,
    hasty: u64,
    churn: u64,
    change: u64,
    write_in_100: u64,
    epoch: u64,
    /// Nodes that have not heard of the newest epoch, and what it says.
    behind: Vec<usize>,
    coherence: Coherence,
}

impl Chance {
    fn new(seed: u64) -> (Chance, Setup) {
        let mut random = Random::new(seed);
        let agents = 2 + random.below(4) as u16;
        let coherence = *random.pick(&[Coherence::WriteInvalidate, Coherence::WriteUpdate]);
        let mut setup = Setup::new(agents, 4 * CHUNK_PAGES, coherence, 1 + random.below(40));
        if random.one_in(4) {
            // Ids beyond the first word of a bit set.
            setup.agents = (0..agents).map(|a| AgentId(a * 61 + 7)).collect();
        }
        let pages = (0..=random.below(5)).map(|_| random.below(setup.config.pages)).collect();
        for node in 0..agents.into() {
            setup.programs[node] = vec![Vec::new(); random.below(3) as usize];
        }
        let chance = Chance {
            pages,
            cut: 20 + random.below(400),
            hasty: 2 + random.below(50),
            churn: 100 + random.below(1_000),
            change: 500 + random.below(4_000),
            write_in_100: *random.pick(&[5, 30, 60]),
            epoch: 1,
            behind: Vec::new(),
            coherence,
            random,
        };
        (chance, setup)
    }

    /// Gives some program something to do.
    fn access(&mut self, world: &mut World) -> bool {
        let node = self.random.below(world.nodes.len() as u64) as usize;
        let programs: Vec<usize> = world.machines[node].attached().collect();
        if programs.is_empty() {
            return false;
        }
        let program = *self.random.pick(&programs);
        let write = self.random.below(100) < self.write_in_100;
        let access = if write { Access::Write } else { Access::Read };
        world.machines[node].push_op(program, Op { page: page(*self.random.pick(&self.pages)), access });
        true
    }

    /// Programs come, go, and lose their mappings to the kernel.
    fn churn(&mut self, world: &mut World) {
        let node = self.random.below(world.nodes.len() as u64) as usize;
        let programs: Vec<usize> = world.machines[node].attached().collect();
        match (self.random.below(3), programs.is_empty()) {
            (0, false) => world.machines[node].detach(*self.random.pick(&programs)),
            (1, false) => {
                let page = page(*self.random.pick(&self.pages));
                world.machines[node].unmap(*self.random.pick(&programs), page);
            }
            _ => world.machines[node].attach(&[]),
        }
    }

    /// The newest epoch reaches one node after the other.
    fn change(&mut self, world: &mut World, setup: &Setup) -> Result<(), String> {
        let Some(node) = self.behind.pop() else {
            self.epoch += 1;
            self.coherence = *self.random.pick(&[Coherence::WriteInvalidate, Coherence::WriteUpdate]);
            self.behind = (0..world.nodes.len()).collect();
            for at in (1..self.behind.len()).rev() {
                self.behind.swap(at, self.random.below(at as u64 + 1) as usize);
            }
            return Ok(());
        };
        let placement = Placement { epoch: self.epoch, homes: setup.agents.clone() };
        let config = RegionConfig { coherence: self.coherence, ..setup.config };
        world.declare(node, config, placement)
    }

    /// One of the actions, but seldom one that is only there to do harm.
    fn choose(&mut self, world: &mut World) -> Option<Action> {
        world.cuts_left = u32::from(self.random.one_in(self.cut));
        world.hasty_left = u32::from(self.random.one_in(self.hasty));
        let actions = world.actions();
        if world.cuts_left > 0 {
            let cuts: Vec<Action> =
                actions.iter().copied().filter(|a| matches!(a, Action::Cut(..))).collect();
            if !cuts.is_empty() {
                return Some(*self.random.pick(&cuts));
            }
        }
        if actions.is_empty() { None } else { Some(*self.random.pick(&actions)) }
    }
}

/// Runs a seed; `prepare` may change the world before it begins.
pub fn simulate(seed: u64, prepare: impl Fn(&mut World)) -> Result<Judged, String> {
    let (mut chance, setup) = Chance::new(seed);
    let mut world = World::new(&setup);
    prepare(&mut world);
    let mut accesses = 0;
    while accesses < ACCESSES {
        if chance.random.one_in(6) && chance.access(&mut world) {
            accesses += 1;
        } else if chance.random.one_in(chance.churn)
            || world.machines.iter().all(|m| m.attached().next().is_none())
        {
            chance.churn(&mut world);
        } else if chance.random.one_in(chance.change)
            || (!chance.behind.is_empty() && chance.random.one_in(50))
        {
            chance.change(&mut world, &setup)?;
        } else if let Some(action) = chance.choose(&mut world) {
            world.act(action)?;
        }
    }
    while !chance.behind.is_empty() {
        chance.change(&mut world, &setup)?;
    }
    (world.cuts_left, world.hasty_left) = (0, 0);
    world.settle()?;
    Ok(world.judged)
}
