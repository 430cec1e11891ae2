//! One seeded run: a larger world, thousands of accesses, and everything that can go wrong at random.

use pagemesh_protocol::{Access, AgentId, CHUNK_PAGES, Coherence, RegionConfig};

use super::control::Decree;
use super::machine::Op;
use super::random::Random;
use super::{Action, Judged, Setup, World, page};

/// Accesses that programs make in one seed.
const ACCESSES: u64 = 2_000;

/// What differs from seed to seed.
struct Chance {
    random: Random,
    pages: Vec<u64>,
    /// One in so many steps is a cut, an early end of a turn, an attach or detach, a change of the region, an agent that
    /// leaves, comes back or starts anew.
    cut: u64,
    hasty: u64,
    churn: u64,
    change: u64,
    leave: u64,
    /// One in so many chances to hear of a change is taken.
    slow: u64,
    write_in_100: u64,
    /// The agent that has crashed. It is never a home.
    crashed: Option<AgentId>,
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
        setup.homes = homes(&mut random, &setup.agents);
        setup.tuning.batch = *random.pick(&[1, 5, 512]);
        let pages = (0..=random.below(5)).map(|_| random.below(setup.config.pages)).collect();
        for node in 0..agents.into() {
            setup.programs[node] = vec![Vec::new(); random.below(3) as usize];
        }
        let chance = Chance {
            pages,
            cut: 20 + random.below(400),
            hasty: 2 + random.below(50),
            churn: 100 + random.below(1_000),
            change: 100 + random.below(4_000),
            leave: 200 + random.below(4_000),
            slow: 1 + random.below(100),
            write_in_100: *random.pick(&[5, 30, 60]),
            crashed: None,
            random,
        };
        (chance, setup)
    }

    fn node(&mut self, world: &World) -> usize {
        self.random.below(world.nodes.len() as u64) as usize
    }

    /// Gives some program something to do.
    fn access(&mut self, world: &mut World) -> bool {
        let node = self.node(world);
        let programs: Vec<usize> = world.machines[node].attached().collect();
        if programs.is_empty() {
            return false;
        }
        let program = *self.random.pick(&programs);
        let write = self.random.below(100) < self.write_in_100;
        let access = if write { Access::Write } else { Access::Read };
        // Pages beyond what the node has heard of are not there for its programs.
        let index = *self.random.pick(&self.pages);
        if world.control.known(node).is_none_or(|(config, _)| index >= config.pages) {
            return false;
        }
        world.machines[node].push_op(program, Op { page: page(index), access });
        true
    }

    /// Programs come, go, and lose their mappings to the kernel.
    fn churn(&mut self, world: &mut World) {
        let node = self.node(world);
        let programs: Vec<usize> = world.machines[node].attached().collect();
        match (self.random.below(3), programs.is_empty()) {
            (0, false) => world.machines[node].detach(*self.random.pick(&programs)),
            (1, false) => {
                let page = page(*self.random.pick(&self.pages));
                world.machines[node].unmap(*self.random.pick(&programs), page);
            }
            _ if world.control.may_attach(node) => {
                world.machines[node].attach(&[]);
            }
            _ => {}
        }
    }

    /// Something is decreed about the region.
    fn change(&mut self, world: &mut World) {
        let Some((config, _)) = world.control.newest() else {
            let homes = homes(&mut self.random, &world.agents);
            return world.decree(Decree::Created(homes, Vec::new()));
        };
        let mut config = *config;
        match self.random.below(10) {
            // Programs of an agent that crashed cannot be ended.
            0 if self.crashed.is_none() => world.decree(Decree::Deleted),
            1..4 => {
                config.coherence = *self.random.pick(&[Coherence::WriteInvalidate, Coherence::WriteUpdate]);
                world.decree(Decree::Config(config));
            }
            4 => {
                let more = RegionConfig { pages: config.pages + self.random.below(100), ..config };
                self.pages.push(self.random.below(more.pages));
                world.decree(Decree::Config(more));
            }
            _ if world.homes_are_settled() => {
                let living = world.agents.iter().copied().filter(|a| Some(*a) != self.crashed);
                let homes = homes(&mut self.random, &living.collect::<Vec<_>>());
                world.decree(Decree::Homes(homes));
            }
            _ => {}
        }
    }

    /// An agent leaves, or ends and comes back if it has left.
    fn leave(&mut self, world: &mut World) -> Result<(), String> {
        let node = self.node(world);
        if world.may_restart(node) && self.random.one_in(2) {
            world.restart(node);
        } else if world.may_leave(node) {
            world.leave(node)?;
        }
        Ok(())
    }

    /// Something happens. Returns whether a program has been given something to do.
    fn step(&mut self, world: &mut World) -> Result<bool, String> {
        if self.random.one_in(6) && self.access(world) {
            return Ok(true);
        }
        if self.random.one_in(self.churn) || world.machines.iter().all(|m| m.attached().next().is_none()) {
            self.churn(world);
            if world.control.newest().is_none() {
                self.change(world);
            }
            self.act(world)?;
        } else if self.random.one_in(self.change) {
            self.change(world);
        } else if self.random.one_in(self.leave) {
            self.leave(world)?;
        } else {
            self.act(world)?;
        }
        Ok(false)
    }

    /// An agent crashes and comes back as another one.
    fn crash(&mut self, world: &mut World) {
        let node = self.node(world);
        if self.crashed.is_none() && world.control.may_attach(node) {
            self.crashed = Some(world.agents[node]);
            world.crash(node);
        }
    }

    /// A program of an agent that crashed goes on with what it has mapped.
    fn haunt(&mut self, world: &mut World) -> Result<(), String> {
        let page = page(*self.random.pick(&self.pages));
        let access = *self.random.pick(&[Access::Read, Access::Write]);
        world.haunt(page, access)
    }

    /// One of the actions, but seldom one that is only there to do harm.
    fn act(&mut self, world: &mut World) -> Result<(), String> {
        world.cuts_left = u32::from(self.random.one_in(self.cut));
        world.hasty_left = u32::from(self.random.one_in(self.hasty));
        let actions = world.actions();
        if world.cuts_left > 0 {
            let cuts: Vec<Action> =
                actions.iter().copied().filter(|a| matches!(a, Action::Cut(..))).collect();
            if !cuts.is_empty() {
                return world.act(*self.random.pick(&cuts));
            }
        }
        if actions.is_empty() {
            return Ok(());
        }
        let action = *self.random.pick(&actions);
        if let Action::Learn(node) = action {
            let hears = self.random.one_in(self.slow);
            return if hears { world.learn(node, self.random.one_in(2)) } else { Ok(()) };
        }
        world.act(action)
    }
}

/// Some agents in some order, some of them maybe twice.
fn homes(random: &mut Random, agents: &[AgentId]) -> Vec<AgentId> {
    (0..=random.below(agents.len() as u64 + 1)).map(|_| *random.pick(agents)).collect()
}

/// Runs a seed; `prepare` may change the world before it begins.
pub fn simulate(seed: u64, prepare: impl Fn(&mut World)) -> Result<Judged, String> {
    let (mut chance, setup) = Chance::new(seed);
    let mut world = World::new(&setup);
    prepare(&mut world);
    let mut accesses = 0;
    while accesses < ACCESSES {
        accesses += u64::from(chance.step(&mut world)?);
    }
    (world.cuts_left, world.hasty_left) = (0, 0);
    world.settle()?;
    all_leave(&mut world)?;
    Ok(world.judged)
}

/// In the end everybody leaves who can, and nobody is mentioned any more.
fn all_leave(world: &mut World) -> Result<(), String> {
    let leavers: Vec<usize> = (0..world.nodes.len()).filter(|&n| world.may_leave(n)).collect();
    for &node in &leavers {
        world.leave(node)?;
    }
    world.settle()?;
    match leavers.iter().find(|&&node| !world.control.is_left(node)) {
        Some(node) => Err(format!("n{node} leaves for ever:\n{}", world.print())),
        None => Ok(()),
    }
}

/// Runs a seed in which processes of agents die at any time while what they keep outlives them. Nothing may come of it.
pub fn simulate_recovery(seed: u64, prepare: impl Fn(&mut World)) -> Result<Judged, String> {
    let (mut chance, setup) = Chance::new(seed);
    let mut world = World::new(&setup);
    prepare(&mut world);
    world.keep();
    let (dies, saves) = (20 + chance.random.below(500), 1 + chance.random.below(200));
    let mut accesses = 0;
    while accesses < ACCESSES {
        accesses += u64::from(chance.step(&mut world)?);
        let node = chance.node(&world);
        if chance.random.one_in(dies) {
            world.recover(node);
        } else if chance.random.one_in(saves) {
            world.checkpoint(node);
        }
    }
    (world.cuts_left, world.hasty_left) = (0, 0);
    world.settle()?;
    all_leave(&mut world)?;
    Ok(world.judged)
}

/// Runs a seed in which an agent crashes. What it had is lost, and so not every fault ends; but nobody may see a page
/// that is not the newest, nor write one that somebody else still has: the programs on that agent's node go on.
pub fn simulate_crash(seed: u64, prepare: impl Fn(&mut World)) -> Result<Judged, String> {
    let (mut chance, setup) = Chance::new(seed);
    let mut world = World::new(&setup);
    prepare(&mut world);
    for _ in 0..4_000 {
        chance.step(&mut world)?;
        if chance.random.one_in(500) {
            chance.crash(&mut world);
        } else if chance.random.one_in(4) {
            chance.haunt(&mut world)?;
        }
    }
    Ok(world.judged)
}
