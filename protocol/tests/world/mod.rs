//! A whole mesh in one value: nodes, the connections between them, what the kernel and the programs on each node
//! would do, and the oracle that judges every access. It can be cloned and hashed, so that all futures of a state can
//! be explored, and everything in it follows from the actions chosen, so that every run can be replayed.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this module")]

pub mod control;
pub mod explore;
pub mod machine;
mod oracle;
mod print;
pub mod random;
pub mod recovery;
pub mod simulate;

use std::collections::{BTreeMap, VecDeque};

use control::{Control, Decree};
use machine::{Machine, Op, Value};
pub use oracle::Judged;
use pagemesh_protocol::{
    Access, AgentId, Coherence, Incarnation, Input, Message, Node, Output, PageId, Payload, RegionConfig,
    RegionId, Time, Tuning, Violation,
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
    /// A node hears of the next thing that was decreed about the region.
    Learn(usize),
    /// The next thing that was planned is decreed.
    Decree,
    /// All programs of a node end, and it leaves the region.
    Leave(usize),
    /// A program comes to a node that has left or is leaving.
    Return(usize),
    /// An agent that has left ends and comes back with nothing, as another one.
    Restart(usize),
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Ids of the agents.
    pub agents: Vec<AgentId>,
    /// The first homes: all agents, in this order, unless told otherwise.
    pub homes: Vec<AgentId>,
    pub config: RegionConfig,
    pub tuning: Tuning,
    /// What the programs of each agent do, one list each.
    pub programs: Vec<Vec<Vec<Op>>>,
    /// What will be decreed about the region, first things first.
    pub plan: Vec<Decree>,
    /// Agents that leave at some time, and what a program that comes to them later does.
    pub leavers: Vec<(usize, Vec<Op>)>,
}

impl Setup {
    pub fn new(agents: u16, pages: u64, coherence: Coherence, turn_nanos: u64) -> Setup {
        let tuning = Tuning {
            turn_nanos,
            update_turn_nanos: 2 * turn_nanos,
            retry_nanos: 10,
            updates_untouched_max: 6,
            batch: 512,
        };
        Setup {
            agents: (0..agents).map(AgentId).collect(),
            homes: (0..agents).map(AgentId).collect(),
            config: RegionConfig { pages, coherence },
            tuning,
            programs: vec![Vec::new(); agents.into()],
            plan: Vec::new(),
            leavers: Vec::new(),
        }
    }

    /// With these first homes.
    pub fn homes(mut self, homes: &[u16]) -> Setup {
        self.homes = homes.iter().copied().map(AgentId).collect();
        self
    }

    /// With this to be decreed after what was said before.
    pub fn then(mut self, decree: Decree) -> Setup {
        self.plan.push(decree);
        self
    }

    /// With an agent that leaves at any time, and is used by a program again at any time after that.
    pub fn leaver(mut self, agent: usize, later: &[Op]) -> Setup {
        self.leavers.push((agent, later.to_vec()));
        self
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
    /// Machines of agents that crashed. Their programs go on with what they have mapped.
    pub ghosts: Vec<Machine>,
    /// Who decides about the region, and what each node has heard of it.
    pub control: Control,
    /// Which life of its agent each node is.
    incarnations: Vec<u64>,
    tuning: Tuning,
    /// Messages under way from one node to another.
    links: BTreeMap<(usize, usize), VecDeque<Parcel>>,
    /// `stale[a][b]`: the connection broke, and `a` has not seen the new one yet. What it sends is lost.
    stale: Vec<Vec<bool>>,
    /// `refused[a][b]`: `a` has refused `b` since something happened to `a`. To try again is of no use before.
    refused: Vec<Vec<bool>>,
    /// What the last store to each page stored.
    last: BTreeMap<PageId, Value>,
    last_value: Value,
    pub cuts_left: u32,
    /// How often a turn may end although a program that waited for the page has not run yet. If it could happen any
    /// number of times, programs could wait for ever.
    pub hasty_left: u32,
    /// How many agents that have left may end and come back as others.
    pub restarts_left: u32,
    /// What outlives the process of each node. Empty if nobody asked for it.
    kept: Vec<recovery::Kept>,
    /// Accesses that were judged, not part of what makes two states different.
    pub judged: Judged,
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
            ghosts: Vec::new(),
            control: Control::new(setup),
            incarnations: vec![1; count],
            tuning: setup.tuning,
            links: BTreeMap::new(),
            stale: vec![vec![true; count]; count],
            refused: vec![vec![false; count]; count],
            last: BTreeMap::new(),
            last_value: 0,
            cuts_left: 0,
            hasty_left: 0,
            restarts_left: 0,
            kept: Vec::new(),
            judged: Judged::default(),
        };
        for node in 0..count {
            world.learn(node, false).expect("a first declaration is accepted");
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

    /// Everything that can happen next. Cuts only as long as there are any left.
    pub fn actions(&self) -> Vec<Action> {
        let mut actions = self.progress();
        if self.cuts_left > 0 {
            let uncut = |&(a, b): &(usize, usize)| a < b && !self.stale[a][b] && !self.stale[b][a];
            actions.extend(self.pairs().into_iter().filter(uncut).map(|(a, b)| Action::Cut(a, b)));
        }
        actions.extend(self.control.leavers().filter(|&n| self.may_leave(n)).map(Action::Leave));
        if self.restarts_left > 0 {
            actions.extend((0..self.nodes.len()).filter(|&n| self.may_restart(n)).map(Action::Restart));
        }
        actions
    }

    /// Everything that can happen next without harm. When it is empty, the mesh is at rest.
    pub fn progress(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (a, b) in self.pairs() {
            if self.stale[a][b] && !self.refused[a][b] && !self.refused[b][a] {
                actions.push(Action::Up(a, b));
            }
            if !self.stale[b][a] && self.links.get(&(a, b)).is_some_and(|l| !l.is_empty()) {
                actions.push(Action::Deliver(a, b));
            }
        }
        for (node, machine) in self.machines.iter().enumerate() {
            let knows = self.control.known(node).is_some();
            let runnable = || machine.runnable().filter(|_| knows);
            actions.extend(runnable().map(|program| Action::Run(node, program)));
            let hasty = runnable().next().is_some();
            // What was refused is tried again at once, if no time is given for it; but not while anything is under way.
            // Else there would be more and more messages, and states without end.
            let waits = self.tuning.retry_nanos == 0
                && self.nodes[node].deadline() == Some(Time(0))
                && self.links.values().any(|link| !link.is_empty());
            if self.nodes[node].deadline().is_some() && !waits && (!hasty || self.hasty_left > 0) {
                actions.push(Action::Tick(node));
            }
            if self.control.is_behind(node) {
                actions.push(Action::Learn(node));
            }
        }
        if self.may_decree() {
            actions.push(Action::Decree);
        }
        actions.extend(self.control.returning().map(Action::Return));
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
                if self.machines[node].runnable().next().is_some() {
                    self.hasty_left = self.hasty_left.saturating_sub(1);
                }
                self.step(node, Input::Tick, None)
            }
            Action::Cut(a, b) => {
                self.cut(a, b);
                self.cuts_left = self.cuts_left.saturating_sub(1);
                Ok(())
            }
            Action::Up(a, b) => {
                self.stale[a][b] = false;
                let peer = self.agents[b];
                self.step(a, Input::PeerDown { peer }, None)?;
                let incarnation = Incarnation(self.incarnations[b]);
                self.step(a, Input::PeerUp { peer, incarnation }, None)
            }
            Action::Learn(node) => self.learn(node, false),
            Action::Decree => {
                let decree = self.control.take_planned();
                self.decree(decree);
                Ok(())
            }
            Action::Leave(node) => self.leave(node),
            Action::Return(node) => {
                let ops = self.control.take_return(node);
                self.machines[node].attach(&ops);
                Ok(())
            }
            Action::Restart(node) => {
                self.restarts_left = self.restarts_left.saturating_sub(1);
                self.restart(node);
                Ok(())
            }
        }
    }

    /// A connection breaks: what is on its way is lost.
    fn cut(&mut self, a: usize, b: usize) {
        self.links.remove(&(a, b));
        self.links.remove(&(b, a));
        (self.stale[a][b], self.stale[b][a]) = (true, true);
    }

    /// A program goes on: its access takes effect if the page is mapped for it, else it faults.
    fn run(&mut self, node: usize, program: usize) -> Result<(), Objection> {
        let Some(Op { page, access }) = self.machines[node].next_op(program) else { return Ok(()) };
        if !self.machines[node].allows(program, page, access) {
            self.machines[node].wait(program);
            self.judged.faults += 1;
            self.control.is_used(node);
            return self.step(node, Input::Fault { page, access }, None);
        }
        match access {
            Access::Read => {
                self.judge_load(self.machines[node].load(page)?, page)?;
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
        // A node's clock stands at 0, but for the moment in which a deadline is reached.
        let deadline = self.nodes[node].deadline();
        let now = deadline.filter(|_| input == Input::Tick).unwrap_or(Time(0));
        let before = self.refused[node].contains(&true).then(|| self.nodes[node].clone());
        if let Some(kept) = self.kept.get_mut(node) {
            kept.take(now, &input);
        }
        self.nodes[node].step(now, input, &mut out);
        self.nodes[node].rebase(now);
        if before.is_some_and(|before| before != self.nodes[node]) {
            self.refused[node].fill(false);
        }
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
                // Who was a previous home in a life that ended has no entries. The page stays out of reach.
                Output::Violation { reason: Violation::NotHome, .. }
                    if !self.ghosts.is_empty() && self.incarnations[node] > 1 => {}
                Output::Violation { from, reason } => {
                    return Err(format!(
                        "n{node} says that agent {} broke the rules: {reason:?}\n{}",
                        from.0,
                        self.print()
                    ));
                }
                Output::RefusePeer { peer, reason } => {
                    if reason != Violation::OtherIncarnation {
                        return Err(format!("n{node} refuses agent {}: {reason:?}", peer.0));
                    }
                    let peer = self.agents.iter().position(|&a| a == peer).ok_or("nobody is refused")?;
                    self.judged.refusals += 1;
                    self.cut(node, peer);
                    self.refused[node][peer] = true;
                }
                Output::Left { .. } => {
                    self.control.has_left(node);
                    self.judge_left(node)?;
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

    /// Lets things happen in a fixed order until nothing more can.
    pub fn settle(&mut self) -> Result<(), Objection> {
        let mut ticks = vec![0; self.nodes.len()];
        for _ in 0..100_000 {
            // Messages and programs before time: a turn ends only when nobody can make use of it. And time passes for
            // all nodes alike: what one of them repeats may wait for another one.
            let passed = |action: &Action| if let Action::Tick(node) = *action { 1 + ticks[node] } else { 0 };
            let Some(&action) = self.progress().iter().min_by_key(|a| (passed(a), **a)) else {
                return self.judge_rest();
            };
            if let Action::Tick(node) = action {
                ticks[node] += 1;
            }
            self.act(action)?;
        }
        Err(format!("no rest after 100,000 steps:\n{}", self.print()))
    }
}
