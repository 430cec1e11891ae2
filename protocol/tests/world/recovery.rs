//! Processes that die while what they keep outlives them.

use pagemesh_protocol::{Input, Node, Time};

use super::World;

/// What a node has kept: a state, and the inputs since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kept {
    state: Vec<u8>,
    inputs: Vec<Vec<u8>>,
}

impl Kept {
    pub fn of(node: &Node) -> Kept {
        let mut state = Vec::new();
        node.save(&mut state);
        Kept { state, inputs: Vec::new() }
    }

    pub fn take(&mut self, now: Time, input: &Input) {
        let mut bytes = [0; 512];
        let len = input.save(now, &mut bytes).expect("no input of these tests is longer");
        self.inputs.push(bytes[..len].to_vec());
    }

    /// The node as it was.
    fn restore(&self) -> Node {
        let mut node = Node::load(&self.state).expect("what was saved can be loaded");
        let mut out = Vec::new();
        for input in &self.inputs {
            let (now, input) = Input::load(input).expect("what was saved can be loaded");
            node.step(now, input, &mut out);
            node.rebase(now);
            out.clear();
        }
        node
    }
}

impl World {
    /// From now on, nodes keep what outlives their processes.
    pub fn keep(&mut self) {
        self.kept = self.nodes.iter().map(Kept::of).collect();
    }

    /// Saves the state of a node, so that the inputs before need not be kept.
    pub fn checkpoint(&mut self, node: usize) {
        self.kept[node] = Kept::of(&self.nodes[node]);
    }

    /// The process of a node dies and another one takes up what it has kept. Its connections break with it; programs and
    /// their memory go on, and who waits in a fault faults again.
    pub fn recover(&mut self, node: usize) {
        for other in (0..self.nodes.len()).filter(|&other| other != node) {
            self.cut(node, other);
        }
        let restored = self.kept[node].restore();
        assert_eq!(restored, self.nodes[node], "n{node} is not what it was");
        self.nodes[node] = restored;
        self.refused[node].fill(false);
    }
}
