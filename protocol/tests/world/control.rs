//! Who decides about the region: placements, growth, deletion; agents that leave, come back, end and start anew. It keeps
//! the promises that the protocol relies on: homes change again only when all of them are settled.

use std::collections::VecDeque;

use pagemesh_protocol::{AgentId, Incarnation, Input, Node, Placement, RegionConfig};

use super::machine::{Machine, Op};
use super::{Objection, REGION, Setup, World};

/// Something decided about the region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Decree {
    /// Other homes.
    Homes(Vec<AgentId>),
    /// Another configuration; the homes stay, and if they are moving, they go on.
    Config(RegionConfig),
    /// It is deleted. No program is attached any more.
    Deleted,
    /// It is made again, with these homes; and these programs come to it when their agents know.
    Created(Vec<AgentId>, Vec<(usize, Vec<Op>)>),
}

/// Where an agent is that leaves once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Leaver {
    /// It may leave; then a program may come that does this.
    May(Vec<Op>),
    Gone(Vec<Op>),
    Back,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Control {
    /// All that was decreed, in order; `None` for a deletion.
    decreed: Vec<Option<(RegionConfig, Placement)>>,
    programs: Vec<(usize, Vec<Op>)>,
    planned: VecDeque<Decree>,
    /// How much of what was decreed each node has heard.
    heard: Vec<usize>,
    leavers: Vec<(usize, Leaver)>,
    /// Nodes whose agents were homes in a life that ended without warning: they heed no placement that means that life.
    barred: Vec<bool>,
    /// Nodes that have left, and have not used the region since.
    left: Vec<bool>,
}

impl Control {
    pub fn new(setup: &Setup) -> Control {
        let placement = Placement { epoch: 1, homes: setup.homes.clone(), previous: Vec::new() };
        Control {
            decreed: vec![Some((setup.config, placement))],
            programs: Vec::new(),
            planned: setup.plan.iter().cloned().collect(),
            heard: vec![0; setup.agents.len()],
            leavers: setup.leavers.iter().map(|(n, ops)| (*n, Leaver::May(ops.clone()))).collect(),
            barred: vec![false; setup.agents.len()],
            left: vec![false; setup.agents.len()],
        }
    }

    pub fn is_behind(&self, node: usize) -> bool {
        self.heard[node] < self.decreed.len() && !self.barred[node]
    }

    /// The last thing that a node has heard of the region, if it knows of one.
    pub fn known(&self, node: usize) -> Option<&(RegionConfig, Placement)> {
        self.decreed[..self.heard[node]].last()?.as_ref()
    }

    /// Whether a program may come to a node: it knows the region, and not one that has been deleted since.
    pub fn may_attach(&self, node: usize) -> bool {
        self.known(node).is_some() && self.decreed[self.heard[node]..].iter().all(Option::is_some)
    }

    /// The last thing that was decreed, if there is a region.
    pub fn newest(&self) -> Option<&(RegionConfig, Placement)> {
        self.decreed.last()?.as_ref()
    }

    pub fn take_planned(&mut self) -> Decree {
        self.planned.pop_front().expect("chosen because there is one")
    }

    /// Agents that may leave once.
    pub fn leavers(&self) -> impl Iterator<Item = usize> + '_ {
        self.leavers.iter().filter(|(_, leaver)| matches!(leaver, Leaver::May(_))).map(|(n, _)| *n)
    }

    /// Agents to which a program comes.
    pub fn returning(&self) -> impl Iterator<Item = usize> + '_ {
        let gone = |leaver: &Leaver| matches!(leaver, Leaver::Gone(ops) if !ops.is_empty());
        self.leavers.iter().filter(move |(_, leaver)| gone(leaver)).map(|(n, _)| *n)
    }

    pub fn take_return(&mut self, node: usize) -> Vec<Op> {
        self.left[node] = false;
        let leaver = self.leavers.iter_mut().find(|(n, _)| *n == node).expect("chosen because it leaves");
        match std::mem::replace(&mut leaver.1, Leaver::Back) {
            Leaver::Gone(ops) => ops,
            Leaver::May(_) | Leaver::Back => panic!("n{node} has not left"),
        }
    }

    pub fn has_left(&mut self, node: usize) {
        self.left[node] = true;
    }

    pub fn is_left(&self, node: usize) -> bool {
        self.left[node]
    }

    /// A program uses the region.
    pub fn is_used(&mut self, node: usize) {
        self.left[node] = false;
    }
}

impl World {
    /// Whether the next thing that is planned may be decreed now.
    pub fn may_decree(&self) -> bool {
        match self.control.planned.front() {
            Some(Decree::Homes(_)) => self.homes_are_settled(),
            Some(Decree::Config(_)) => self.control.newest().is_some(),
            Some(Decree::Deleted) => self.machines.iter().all(|m| m.unfinished().is_none()),
            Some(Decree::Created(..)) => self.control.newest().is_none(),
            None => false,
        }
    }

    /// Whether all homes of the newest placement say that they have all entries under it.
    pub fn homes_are_settled(&self) -> bool {
        self.control.newest().is_some_and(|(_, placement)| {
            placement.homes.iter().all(|home| {
                let node = self.node_of(*home);
                self.nodes[node].settled(REGION) && !self.control.is_behind(node)
            })
        })
    }

    pub fn node_of(&self, agent: AgentId) -> usize {
        self.agents.iter().position(|&a| a == agent).expect("homes are agents of this world")
    }

    pub fn decree(&mut self, decree: Decree) {
        let epoch = self.control.decreed.iter().flatten().last().map_or(0, |(_, p)| p.epoch) + 1;
        let newest = self.control.newest().cloned();
        let last_config = self.control.decreed.iter().flatten().last().map(|(config, _)| *config);
        self.control.decreed.push(match decree {
            Decree::Homes(homes) => {
                self.judged.moves += 1;
                newest.map(|(config, now)| (config, Placement { epoch, homes, previous: now.homes }))
            }
            Decree::Config(config) => newest.map(|(_, now)| (config, Placement { epoch, ..now })),
            Decree::Deleted => {
                for machine in &mut self.machines {
                    let programs: Vec<usize> = machine.attached().collect();
                    programs.into_iter().for_each(|program| machine.detach(program));
                }
                self.last.clear();
                None
            }
            Decree::Created(homes, programs) => {
                self.control.programs = programs;
                last_config.map(|config| (config, Placement { epoch, homes, previous: Vec::new() }))
            }
        });
    }

    /// A node hears of the next thing that was decreed, or of the newest at once; but never misses a deletion. A node
    /// that knows nothing hears only of what is so now.
    pub fn learn(&mut self, node: usize, newest: bool) -> Result<(), Objection> {
        let (heard, all) = (self.control.heard[node], self.control.decreed.len());
        let deletion = (heard..all).find(|&at| self.control.decreed[at].is_none());
        let next = match (heard, newest) {
            (0, _) => all,
            (_, true) => deletion.map_or(all, |at| at + 1),
            (_, false) => heard + 1,
        };
        self.control.heard[node] = next;
        match self.control.decreed[next - 1].clone() {
            Some((config, placement)) => {
                self.control.left[node] &= !placement.homes.contains(&self.agents[node]);
                let (here, elsewhere) =
                    std::mem::take(&mut self.control.programs).into_iter().partition(|(n, _)| *n == node);
                self.control.programs = elsewhere;
                for (_, ops) in here {
                    self.machines[node].attach(&ops);
                }
                self.step(node, Input::Region { region: REGION, config, placement }, None)
            }
            None => {
                self.step(node, Input::Drop { region: REGION }, None)?;
                self.control.left[node] = false;
                self.machines[node] = Machine::new(&[]);
                Ok(())
            }
        }
    }

    /// Whether a node knows the region, homes none of it and has not left it yet.
    pub fn may_leave(&self, node: usize) -> bool {
        self.control.known(node).is_some_and(|(_, p)| !p.homes.contains(&self.agents[node]))
            && !self.control.is_left(node)
    }

    pub fn leave(&mut self, node: usize) -> Result<(), Objection> {
        if let Some((_, leaver)) = self.control.leavers.iter_mut().find(|(n, _)| *n == node)
            && let Leaver::May(ops) = leaver
        {
            *leaver = Leaver::Gone(std::mem::take(ops));
        }
        let programs: Vec<usize> = self.machines[node].attached().collect();
        programs.into_iter().for_each(|program| self.machines[node].detach(program));
        self.step(node, Input::Leave { region: REGION }, None)
    }

    /// Whether an agent may end and come back as another one, with nothing lost: it has left, and is to be no home.
    pub fn may_restart(&self, node: usize) -> bool {
        let unheard = self.control.decreed[self.control.heard[node].saturating_sub(1)..].iter().flatten();
        let mut placements = unheard.map(|(_, p)| p);
        self.control.is_left(node) && !placements.any(|p| p.homes.contains(&self.agents[node]))
    }

    pub fn restart(&mut self, node: usize) {
        self.judged.restarts += 1;
        for other in (0..self.nodes.len()).filter(|&n| n != node) {
            self.cut(node, other);
            self.refused[other][node] = false;
        }
        self.refused[node].fill(false);
        // Far from each other, as random numbers are.
        self.incarnations[node] += 1 << 40;
        self.nodes[node] = Node::new(self.agents[node], Incarnation(self.incarnations[node]), self.tuning);
        if !self.kept.is_empty() {
            self.checkpoint(node);
        }
        self.machines[node] = Machine::new(&[]);
        self.control.heard[node] = 0;
        self.control.left[node] = false;
    }

    /// An agent ends without warning and comes back as another one. Its programs go on with what they have mapped.
    pub fn crash(&mut self, node: usize) {
        self.ghosts.push(self.machines[node].clone());
        self.restart(node);
        let agent = self.agents[node];
        self.control.barred[node] = self.control.newest().is_some_and(|(_, p)| p.homes.contains(&agent));
    }
}
