//! A whole mesh in one value: nodes, the connections between them, what the kernel and the programs on each node
//! would do, and the oracle that judges every access. It can be cloned and hashed, so that all futures of a state can
//! be explored, and everything in it follows from the actions chosen, so that every run can be replayed.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this module")]

pub mod machine;
mod print;
pub mod random;
pub mod simulate;

use std::collections::{BTreeMap, VecDeque};

use machine::{Machine, Op, Value};
use pagemesh_protocol::{
    Access, AgentId, Coherence, Incarnation, Input, Message, Node, Output, PageId, Payload, Placement,
    RegionConfig, RegionId, Time, Tuning,
};

pub const REGION: RegionId = RegionId(0);

pub fn page(index: u64) -> PageId {
    PageId { region: REGION, index }
}

/// One thing that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// The next message from one node arrives at another.
    Deliver(usize, usize),
    /// A program that is not waiting goes on with its next access.
    Run(usize, usize),
    /// Time passes until a node's deadline.
    Tick(usize),
    /// The connection between two nodes breaks: what is on its way is lost.
    Cut(usize, usize),
    /// The first node notices that it is connected to the second again.
    Up(usize, usize),
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Ids of the agents. All of them are homes, in this order.
    pub agents: Vec<AgentId>,
    pub config: RegionConfig,
    pub tuning: Tuning,
    /// What the programs of each agent do, one list each.
    pub programs: Vec<Vec<Vec<Op>>>,
}

impl Setup {
    pub fn new(agents: u16, pages: u64, coherence: Coherence, turn_nanos: u64) -> Setup {
        let tuning = Tuning {
            turn_nanos,
            update_turn_nanos: 2 * turn_nanos,
            retry_nanos: 10,
            updates_untouched_max: 6,
        };
        Setup {
            agents: (0..agents).map(AgentId).collect(),
            config: RegionConfig { pages, coherence },
            tuning,
            programs: vec![Vec::new(); agents.into()],
        }
    }

    pub fn program(mut self, agent: usize, ops: &[Op]) -> Setup {
        self.programs[agent].push(ops.to_vec());
        self
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub nodes: Vec<Node>,
    pub machines: Vec<Machine>,
    pub agents: Vec<AgentId>,
    /// Each node's own clock: no two agree.
    clocks: Vec<Time>,
    /// Messages under way from one node to another.
    links: BTreeMap<(usize, usize), VecDeque<Parcel>>,
    /// `stale[a][b]`: the connection broke, and `a` has not seen the new one yet. What it sends is lost.
    stale: Vec<Vec<bool>>,
    /// What the last store to each page stored.
    last: BTreeMap<PageId, Value>,
    last_value: Value,
    pub cuts_left: u32,
    /// How often a turn may end although a program that waited for the page has not run yet. If it could happen any
    /// number of times, programs could wait for ever.
    pub hasty_left: u32,
    /// Accesses that were judged, not part of what makes two states different.
    pub judged: Judged,
}

/// Counts what the oracle has looked at. All values are equal and hash alike, so that they do not tell states apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged {
    pub loads: u64,
    pub stores: u64,
    pub messages: u64,
    pub faults: u64,
}

impl PartialEq for Judged {
    fn eq(&self, _: &Judged) -> bool {
        true
    }
}

impl Eq for Judged {}

impl std::hash::Hash for Judged {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// A message and the contents that travel along.
type Parcel = (Message, Option<Value>);

/// What the oracle objects to, in words.
pub type Objection = String;

impl World {
    pub fn new(setup: &Setup) -> World {
        let count = setup.agents.len();
        let mut world = World {
            nodes: setup.agents.iter().map(|&a| Node::new(a, Incarnation(1), setup.tuning)).collect(),
            machines: setup.programs.iter().map(|p| Machine::new(p)).collect(),
            agents: setup.agents.clone(),
            clocks: vec![Time(1); count],
            links: BTreeMap::new(),
            stale: vec![vec![true; count]; count],
            last: BTreeMap::new(),
            last_value: 0,
            cuts_left: 0,
            hasty_left: 0,
            judged: Judged::default(),
        };
        let placement = Placement { epoch: 1, homes: setup.agents.clone() };
        for node in 0..count {
            world.declare(node, setup.config, placement.clone()).expect("a first declaration is accepted");
        }
        let pairs = world.pairs();
        let up = pairs.iter().map(|&(a, b)| Action::Up(a, b));
        for action in up.chain(pairs.iter().map(|&(a, b)| Action::Deliver(a, b))) {
            world.act(action).expect("nothing is under way yet");
        }
        world
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let n = self.nodes.len();
        (0..n).flat_map(|a| (0..n).filter(move |&b| b != a).map(move |b| (a, b))).collect()
    }

    pub fn declare(
        &mut self,
        node: usize,
        config: RegionConfig,
        placement: Placement,
    ) -> Result<(), Objection> {
        self.step(node, Input::Region { region: REGION, config, placement }, None)
    }

    /// Everything that can happen next. Cuts only as long as there are any left.
    pub fn actions(&self) -> Vec<Action> {
        let mut actions = self.progress();
        if self.cuts_left > 0 {
            let uncut = |&(a, b): &(usize, usize)| a < b && !self.stale[a][b] && !self.stale[b][a];
            actions.extend(self.pairs().into_iter().filter(uncut).map(|(a, b)| Action::Cut(a, b)));
        }
        actions
    }

    /// Everything that can happen next without harm. When it is empty, the mesh is at rest.
    pub fn progress(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (a, b) in self.pairs() {
            if self.stale[a][b] {
                actions.push(Action::Up(a, b));
            }
            if !self.stale[b][a] && self.links.get(&(a, b)).is_some_and(|l| !l.is_empty()) {
                actions.push(Action::Deliver(a, b));
            }
        }
        for (node, machine) in self.machines.iter().enumerate() {
            actions.extend(machine.runnable().map(|program| Action::Run(node, program)));
            let hasty = machine.runnable().next().is_some();
            if self.nodes[node].deadline().is_some() && (!hasty || self.hasty_left > 0) {
                actions.push(Action::Tick(node));
            }
        }
        actions
    }

    pub fn act(&mut self, action: Action) -> Result<(), Objection> {
        match action {
            Action::Deliver(a, b) => {
                let (message, payload) =
                    self.links.get_mut(&(a, b)).and_then(VecDeque::pop_front).expect("chosen");
                self.judged.messages += 1;
                self.step(b, Input::Message { from: self.agents[a], message }, payload)
            }
            Action::Run(node, program) => self.run(node, program),
            Action::Tick(node) => {
                let deadline = self.nodes[node].deadline().expect("chosen because there is one");
                self.clocks[node] = self.clocks[node].max(deadline);
                if self.machines[node].runnable().next().is_some() {
                    self.hasty_left = self.hasty_left.saturating_sub(1);
                }
                self.step(node, Input::Tick, None)
            }
            Action::Cut(a, b) => {
                self.links.remove(&(a, b));
                self.links.remove(&(b, a));
                (self.stale[a][b], self.stale[b][a]) = (true, true);
                self.cuts_left = self.cuts_left.saturating_sub(1);
                Ok(())
            }
            Action::Up(a, b) => {
                self.stale[a][b] = false;
                let peer = self.agents[b];
                self.step(a, Input::PeerDown { peer }, None)?;
                self.step(a, Input::PeerUp { peer, incarnation: Incarnation(1) }, None)
            }
        }
    }

    /// A program goes on: its access takes effect if the page is mapped for it, else it faults.
    fn run(&mut self, node: usize, program: usize) -> Result<(), Objection> {
        let Some(Op { page, access }) = self.machines[node].next_op(program) else { return Ok(()) };
        if !self.machines[node].allows(program, page, access) {
            self.machines[node].wait(program);
            self.judged.faults += 1;
            return self.step(node, Input::Fault { page, access }, None);
        }
        match access {
            Access::Read => {
                let (seen, last) =
                    (self.machines[node].load(page)?, self.last.get(&page).copied().unwrap_or(0));
                if seen != last {
                    return Err(format!(
                        "n{node} loads {seen} from p{}, the last store stored {last}",
                        page.index
                    ));
                }
                self.judged.loads += 1;
            }
            Access::Write => {
                self.last_value += 1;
                self.machines[node].store(page, self.last_value)?;
                self.last.insert(page, self.last_value);
                self.judged.stores += 1;
            }
        }
        self.machines[node].done(program);
        Ok(())
    }

    /// One step of one node, its outputs carried out, and the oracle's verdict on what they did.
    fn step(&mut self, node: usize, input: Input, received: Option<Value>) -> Result<(), Objection> {
        let mut out = Vec::new();
        self.nodes[node].step(self.clocks[node], input, &mut out);
        for output in out {
            match output {
                Output::Send { to, message, payload } => {
                    let contents = match payload {
                        Payload::None => None,
                        Payload::Page => Some(self.machines[node].load(message.page)?),
                        Payload::Aside => Some(self.machines[node].aside(message.page)?),
                    };
                    let to = self.agents.iter().position(|&a| a == to).ok_or("a message to nobody")?;
                    if !self.stale[node][to] {
                        // Over the wire and back: what is sent must be what arrives.
                        let len = u32::from(contents.is_some()) * 4096;
                        let decoded = Message::decode(&message.encode(len)).map_err(|e| e.to_string())?;
                        assert_eq!(decoded, (message, len));
                        self.links.entry((node, to)).or_default().push_back((message, contents));
                    }
                }
                Output::Violation { from, reason } => {
                    return Err(format!("n{node} says that agent {} broke the rules: {reason:?}", from.0));
                }
                Output::RefusePeer { peer, reason } => {
                    return Err(format!("n{node} refuses agent {}: {reason:?}", peer.0));
                }
                Output::Store { page }
                | Output::Zero { page }
                | Output::Map { page, .. }
                | Output::Premap { page }
                | Output::Protect { page }
                | Output::Take { page }
                | Output::Discard { page }
                | Output::Forget { page } => {
                    self.machines[node].carry_out(&output, received)?;
                    self.judge(page)?;
                }
            }
        }
        Ok(())
    }

    /// Single writer or many readers, and every reader sees the last store.
    fn judge(&self, page: PageId) -> Result<(), Objection> {
        let last = self.last.get(&page).copied().unwrap_or(0);
        let mapped: Vec<(usize, Access)> =
            self.machines.iter().enumerate().filter_map(|(n, m)| Some((n, m.mapped(page)?))).collect();
        if mapped.len() > 1 && mapped.iter().any(|&(_, access)| access == Access::Write) {
            return Err(format!("p{} is writable and mapped elsewhere: {mapped:?}", page.index));
        }
        for (node, _) in mapped {
            let seen = self.machines[node].load(page)?;
            if seen != last {
                return Err(format!("n{node} maps {seen} at p{}, the last store stored {last}", page.index));
            }
        }
        Ok(())
    }

    /// What must hold when nothing more can happen: all accesses are done and nothing is left over.
    pub fn judge_rest(&self) -> Result<(), Objection> {
        for (n, (node, machine)) in self.nodes.iter().zip(&self.machines).enumerate() {
            if let Some(program) = machine.unfinished() {
                return Err(format!(
                    "nothing more can happen, but program {program} of n{n} waits:\n{}",
                    self.print()
                ));
            }
            if !node.in_flight().is_idle() || machine.has_asides() {
                return Err(format!(
                    "n{n} has something left over: {:?}\n{}",
                    node.in_flight(),
                    self.print()
                ));
            }
        }
        Ok(())
    }

    /// Lets things happen in a fixed order until nothing more can.
    pub fn settle(&mut self) -> Result<(), Objection> {
        for _ in 0..100_000 {
            // Messages and programs before time: a turn ends only when nobody can make use of it.
            let Some(&action) = self.progress().iter().min_by_key(|a| (matches!(a, Action::Tick(_)), **a))
            else {
                return self.judge_rest();
            };
            self.act(action)?;
        }
        Err(format!("no rest after 100,000 steps:\n{}", self.print()))
    }
}
