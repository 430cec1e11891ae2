//! A mesh of any size in which nothing goes wrong: nodes, a network that is nothing but delay, and programs.

use std::collections::{BTreeMap, VecDeque};

use pagemesh_protocol::{
    Access, AgentId, Body, CHUNK_PAGES, Coherence, Incarnation, Input, MESSAGE_LEN, Message, Node, Output,
    PageId, Payload, Placement, RegionConfig, Time, Tuning,
};

use super::REGION;
use super::machine::{Machine, Op, Value};
use super::pattern::Phase;
use super::random::Random;

/// How long a message is on its way. The same for all, so that every connection keeps order.
const DELAY_NANOS: u64 = 25_000;

/// Bytes of a page.
pub const PAGE_LEN: u32 = 4096;

/// Kinds of message.
const KINDS: usize = Body::NAMES.len();

/// What has been counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Loads and stores of programs.
    pub accesses: u64,
    /// Those of them for which the page was not mapped as they needed it.
    pub faults: u64,
    /// Messages from one agent to another.
    pub messages: u64,
    /// Their bytes as they go over the wire, contents of pages included.
    pub bytes: u64,
    /// Messages of each kind.
    pub by_kind: [u64; KINDS],
    /// Steps of each agent.
    pub steps: Vec<u64>,
    /// The most messages that one step has sent.
    pub burst: u64,
}

impl Counts {
    pub fn per_access(&self, count: u64) -> f64 {
        count as f64 / self.accesses as f64
    }

    /// Steps of the agent that has made the most.
    pub fn busiest(&self) -> u64 {
        self.steps.iter().copied().max().unwrap_or(0)
    }
}

#[derive(Clone, Debug)]
enum Event {
    /// A message arrives: as it was on the wire, and the contents that travel along.
    Arrival { from: usize, to: usize, frame: [u8; MESSAGE_LEN], contents: Option<Value> },
    /// A program begins its next access.
    Access(usize),
    /// A program that waited tries its access again.
    Resume(usize),
    /// An agent's deadline.
    Tick(usize),
}

#[derive(Clone)]
pub struct Mesh {
    nodes: Vec<Node>,
    /// One program on each agent.
    machines: Vec<Machine>,
    /// What each program has not begun.
    ahead: Vec<VecDeque<Op>>,
    /// Accesses that have not ended.
    unfinished: usize,
    think_nanos: u64,
    now: u64,
    /// All that will happen, by time and then in the order in which it was caused.
    events: BTreeMap<(u64, u64), Event>,
    caused: u64,
    ticks: Vec<Option<u64>>,
    /// What the last store to each page stored.
    last: BTreeMap<PageId, Value>,
    last_value: Value,
    random: Random,
    counts: Counts,
}

impl Mesh {
    /// Agents that are all connected and know no region.
    pub fn connected(agents: usize) -> Mesh {
        let node = |number| Node::new(agent(number), Incarnation(1), Tuning::default());
        let mut mesh = Mesh {
            nodes: (0..agents).map(node).collect(),
            machines: (0..agents).map(|_| Machine::new(&[Vec::new()])).collect(),
            ahead: vec![VecDeque::new(); agents],
            unfinished: 0,
            think_nanos: 0,
            now: 0,
            events: BTreeMap::new(),
            caused: 0,
            ticks: vec![None; agents],
            last: BTreeMap::new(),
            last_value: 0,
            random: Random::new(agents as u64),
            counts: Counts { steps: vec![0; agents], ..Counts::default() },
        };
        for one in 0..agents {
            (0..one).for_each(|other| mesh.connect(one, other));
            mesh.settle();
        }
        mesh
    }

    pub fn agents(&self) -> usize {
        self.nodes.len()
    }

    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    pub fn count_anew(&mut self) {
        self.counts = Counts { steps: vec![0; self.agents()], ..Counts::default() };
    }

    fn connect(&mut self, one: usize, other: usize) {
        for (node, peer) in [(one, agent(other)), (other, agent(one))] {
            self.step(node, Input::PeerUp { peer, incarnation: Incarnation(1) }, None);
        }
    }

    /// All connections of an agent break, and are made anew at once. What was on its way over them is lost.
    pub fn reconnect(&mut self, node: usize) {
        let lost =
            |event: &Event| matches!(event, Event::Arrival { from, to, .. } if [*from, *to].contains(&node));
        self.events.retain(|_, event| !lost(event));
        let others = (0..self.agents()).filter(|other| *other != node);
        for other in others.clone() {
            self.step(node, Input::PeerDown { peer: agent(other) }, None);
            self.step(other, Input::PeerDown { peer: agent(node) }, None);
        }
        others.for_each(|other| self.connect(node, other));
    }

    /// A region comes to be, of which every agent homes one chunk.
    pub fn declare(&mut self, coherence: Coherence) {
        let homes: Vec<AgentId> = (0..self.agents()).map(agent).collect();
        let config = RegionConfig { pages: homes.len() as u64 * CHUNK_PAGES, coherence };
        for node in 0..self.agents() {
            let placement = Placement { epoch: 1, homes: homes.clone(), previous: Vec::new() };
            self.step(node, Input::Region { region: REGION, config, placement }, None);
        }
    }

    /// Programs make their accesses, all at the same time, each one after the other.
    pub fn run(&mut self, phase: Phase, think_nanos: u64) {
        self.begin(phase, think_nanos);
        self.run_until(|mesh| mesh.unfinished == 0);
    }

    /// Programs will make these accesses.
    pub fn begin(&mut self, phase: Phase, think_nanos: u64) {
        self.think_nanos = think_nanos;
        for (program, ops) in phase.programs {
            self.unfinished += ops.len();
            self.ahead[program].extend(ops);
            self.think(program, phase.pause_nanos);
        }
    }

    /// Lets things happen, in order, until something holds.
    pub fn run_until(&mut self, holds: impl Fn(&Mesh) -> bool) {
        while !holds(self) {
            assert!(self.happens(), "nothing more can happen: {} accesses wait for ever", self.unfinished);
        }
    }

    /// Lets things happen until nothing is under way.
    pub fn settle(&mut self) {
        while self.happens() {}
        assert!(self.nodes.iter().all(|node| node.in_flight().is_idle()), "something is left under way");
    }

    /// The next thing happens, if there is one.
    fn happens(&mut self) -> bool {
        let Some(((time, _), event)) = self.events.pop_first() else { return false };
        self.now = self.now.max(time);
        match event {
            Event::Arrival { from, to, frame, contents } => {
                let (message, _) = Message::decode(&frame).expect("it was encoded");
                self.step(to, Input::Message { from: agent(from), message }, contents);
            }
            Event::Access(program) => {
                if let Some(op) = self.ahead[program].pop_front() {
                    self.machines[program].push_op(0, op);
                    self.access(program);
                }
            }
            Event::Resume(program) => self.access(program),
            Event::Tick(node) => {
                self.ticks[node] = None;
                match self.nodes[node].deadline() {
                    Some(due) if due.0 <= self.now => self.step(node, Input::Tick, None),
                    Some(_) | None => self.await_deadline(node),
                }
            }
        }
        true
    }

    /// A program makes its access if the page is mapped for it, else it faults.
    fn access(&mut self, program: usize) {
        let machine = &mut self.machines[program];
        let Some(Op { page, access }) = machine.next_op(0) else { return };
        if !machine.allows(0, page, access) {
            machine.wait(0);
            self.counts.faults += 1;
            return self.step(program, Input::Fault { page, access }, None);
        }
        match access {
            Access::Read => {
                let seen = machine.load(page).expect("it is mapped");
                let last = self.last.get(&page).copied().unwrap_or(0);
                assert_eq!(seen, last, "agent {program} loads what is not the last store to {page:?}");
            }
            Access::Write => {
                self.last_value += 1;
                machine.store(page, self.last_value).expect("it is mapped");
                self.last.insert(page, self.last_value);
            }
        }
        machine.done(0);
        self.counts.accesses += 1;
        self.unfinished -= 1;
        self.think(program, 0);
    }

    /// The program will begin its next access after a pause and, on average, the time that it thinks.
    fn think(&mut self, program: usize, pause_nanos: u64) {
        if !self.ahead[program].is_empty() {
            let think_nanos = self.think_nanos / 2 + self.random.below(self.think_nanos + 1);
            self.cause(pause_nanos + think_nanos, Event::Access(program));
        }
    }

    fn cause(&mut self, after_nanos: u64, event: Event) {
        self.caused += 1;
        self.events.insert((self.now + after_nanos, self.caused), event);
    }

    /// One step of one node, and its outputs carried out.
    fn step(&mut self, node: usize, input: Input, received: Option<Value>) {
        let (mut out, mut sent) = (Vec::new(), 0);
        self.nodes[node].step(Time(self.now), input, &mut out);
        self.counts.steps[node] += 1;
        for output in out {
            match output {
                Output::Send { to, message, payload } => {
                    sent += 1;
                    self.send(node, to, message, payload);
                }
                Output::RefusePeer { .. } | Output::Violation { .. } | Output::Left { .. } => {
                    panic!("agent {node}: {output:?}, though nothing goes wrong here")
                }
                Output::Store { .. }
                | Output::Zero { .. }
                | Output::Map { .. }
                | Output::Premap { .. }
                | Output::Protect { .. }
                | Output::Take { .. }
                | Output::Discard { .. }
                | Output::Forget { .. } => {
                    self.machines[node].carry_out(&output, received).expect("it can be done");
                    if matches!(output, Output::Map { .. }) && self.machines[node].runnable().next().is_some()
                    {
                        self.cause(0, Event::Resume(node));
                    }
                }
            }
        }
        self.counts.burst = self.counts.burst.max(sent);
        self.await_deadline(node);
    }

    fn send(&mut self, from: usize, to: AgentId, message: Message, payload: Payload) {
        let machine = &self.machines[from];
        let contents = match payload {
            Payload::None => None,
            Payload::Page => Some(machine.load(message.page).expect("who sends it has it")),
            Payload::Aside => Some(machine.aside(message.page).expect("who sends it has it")),
        };
        let payload_len = if contents.is_some() { PAGE_LEN } else { 0 };
        let frame = message.encode(payload_len);
        self.counts.messages += 1;
        self.counts.bytes += frame.len() as u64 + u64::from(payload_len);
        self.counts.by_kind[usize::from(message.body.kind())] += 1;
        self.cause(DELAY_NANOS, Event::Arrival { from, to: to.0.into(), frame, contents });
    }

    fn await_deadline(&mut self, node: usize) {
        let Some(Time(due)) = self.nodes[node].deadline() else { return };
        if self.ticks[node].is_none_or(|tick| due < tick) {
            self.ticks[node] = Some(due);
            self.cause(due.saturating_sub(self.now), Event::Tick(node));
        }
    }
}

fn agent(number: usize) -> AgentId {
    AgentId(u16::try_from(number).expect("a mesh has no more agents than their ids can tell"))
}
