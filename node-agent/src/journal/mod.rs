//! What outlives the process of a shard: the state of its node, and the inputs since, in files of a tmpfs.
//!
//! A shard writes an input down before it takes the step, and counts the outputs that it has carried out. One that takes
//! its place loads the state, gives it the inputs again, and carries out what was left of the last step's outputs. All
//! of them may be carried out twice at that point (their effects are the same, and nobody has used them yet), except for
//! what was sent: that is lost with the connections. So for peers a shard that dies is a broken connection.
//!
//! | file | what |
//! |---|---|
//! | `shard-N.state` | a [`Header`], and what [`Node::save`] writes. Replaced as a whole, by a rename |
//! | `shard-N.inputs-0`, `-1` | the inputs since an even and since an odd state: see [`inputs`] |
//! | `shard-N.payload` | what came with the last message: see [`payload`] |
//! | `shard-N.held` | a page that is being taken from a program: see [`held`] |
//!
//! The memory is shared with the kernel alone, so it survives whatever a process can do but a wild write; against that, and
//! against damaged files, everything has a checksum.

mod held;
mod inputs;
mod payload;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use pagemesh_protocol::{AgentId, Incarnation, Input, Node, Output, PageId, STATE_VERSION, Time};
use thiserror::Error;

use held::Held;
use inputs::Inputs;
use payload::Payload;
use state::{Header, Kept};

/// Room for inputs before the state is saved again, at least: in bytes.
const INPUTS_LEN_MIN: usize = 1 << 20;
/// And at most.
const INPUTS_LEN_MAX: usize = 64 << 20;
/// Saving a state takes the longer the larger it is, so it is done the less often: after so many times its bytes.
const INPUTS_PER_STATE: usize = 4;

/// Why what an earlier process has kept cannot be taken up.
#[derive(Debug, Error)]
pub enum Damaged {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{0} is damaged: its checksum is wrong, or it was cut short")]
    Checksum(PathBuf),
    /// Another version of the agent wrote it.
    #[error(
        "{path} is of version {found}, and this agent knows {STATE_VERSION}: run the version that wrote it"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version.
        found: u32,
    },
}

/// A shard's journal.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    shard: u16,
    generation: u64,
    inputs: Inputs,
    /// What will be written to after the next state.
    spare: Option<Inputs>,
    payload: Payload,
    /// Made when it is first needed.
    held: Option<Held>,
    /// Where states are put together.
    scratch: Vec<u8>,
}

/// What an earlier process has kept.
#[derive(Debug)]
pub struct Recovered {
    /// The journal goes on.
    pub journal: Journal,
    /// The node, as it was after its last step.
    pub node: Node,
    /// What was left to do.
    pub rest: Option<Rest>,
}

impl Recovered {
    /// Which agent it was, and which life of it.
    #[must_use]
    pub fn identity(&self) -> (AgentId, Incarnation) {
        self.node.identity()
    }
}

/// Outputs of the last step that may not have been carried out, when it was taken, and the payload of its message.
pub type Rest = (Time, Vec<Output>, Vec<u8>);

impl Journal {
    /// Begins a journal with the state of a node.
    ///
    /// # Errors
    /// The files cannot be made: most likely there is no room for them.
    pub fn begin(dir: &Path, shard: u16, node: &Node) -> io::Result<Journal> {
        let payload = Payload::create(&path(dir, shard, "payload"))?;
        let mut scratch = Vec::new();
        let inputs = save(dir, shard, 0, node, None, &mut scratch)?;
        Ok(Journal {
            dir: dir.into(),
            shard,
            generation: 0,
            inputs,
            spare: None,
            payload,
            held: None,
            scratch,
        })
    }

    /// Takes up the journal of an earlier process. None if there is none.
    ///
    /// # Errors
    /// There is one, but it cannot be relied on.
    pub fn recover(dir: &Path, shard: u16) -> Result<Option<Recovered>, Damaged> {
        let Some(Kept { generation, mut node }) = state::read(&path(dir, shard, "state"))? else {
            return Ok(None);
        };
        let payload = Payload::open(&path(dir, shard, "payload"))?;
        let held = Held::open(&path(dir, shard, "held"))?;
        let mut inputs = Inputs::open(&inputs_path(dir, shard, generation), generation)?;
        let mut outputs = Vec::new();
        let mut last = Time(0);
        // All outputs so far, and those of the last step.
        let mut produced = 0;
        for (now, input) in inputs.records()? {
            outputs.clear();
            node.step(now, input, &mut outputs);
            produced += outputs.len() as u64;
            last = now;
        }
        let undone = produced.checked_sub(inputs.outputs_done()).and_then(|n| usize::try_from(n).ok());
        let done = undone.and_then(|undone| outputs.len().checked_sub(undone));
        let done = done.ok_or_else(|| Damaged::Checksum(inputs_path(dir, shard, generation)))?;
        outputs.drain(..done);
        let rest = (!outputs.is_empty()).then(|| (last, outputs, payload.get().to_vec()));
        let journal = Journal {
            dir: dir.into(),
            shard,
            generation,
            inputs,
            spare: None,
            payload,
            held,
            scratch: Vec::new(),
        };
        Ok(Some(Recovered { journal, node, rest }))
    }

    /// Writes down an input that is about to be taken, with the payload of the message that it may be.
    ///
    /// # Panics
    /// If the state has to be saved and there is no room for it.
    pub fn record(&mut self, now: Time, input: &Input, payload: &[u8], node: &Node) {
        if !payload.is_empty() {
            self.payload.set(payload);
        }
        if !self.inputs.append(now, input) {
            self.save(node).expect("the tmpfs has room for the state of the agent: lend less memory");
            assert!(self.inputs.append(now, input), "an empty journal has room for an input");
        }
    }

    /// An output has been carried out.
    pub fn done(&mut self) {
        self.inputs.output_done();
    }

    /// Keeps the contents of a page that are about to be nowhere else.
    ///
    /// # Errors
    /// There is no room.
    pub fn hold(&mut self, page: PageId, contents: &[u8]) -> io::Result<()> {
        let held = match &mut self.held {
            Some(held) => held,
            None => self.held.insert(Held::create(&path(&self.dir, self.shard, "held"))?),
        };
        held.set(page, contents);
        Ok(())
    }

    /// They are where they belong again.
    pub fn let_go(&mut self) {
        if let Some(held) = &mut self.held {
            held.clear();
        }
    }

    /// What an earlier process has held when it died.
    #[must_use]
    pub fn held(&self) -> Option<(PageId, Vec<u8>)> {
        let (page, contents) = self.held.as_ref()?.get()?;
        Some((page, contents.to_vec()))
    }

    /// Saves the state, so that no inputs need be given again.
    ///
    /// # Errors
    /// There is no room.
    pub fn save(&mut self, node: &Node) -> io::Result<()> {
        let generation = self.generation.wrapping_add(1);
        let inputs = save(&self.dir, self.shard, generation, node, self.spare.take(), &mut self.scratch)?;
        self.spare = Some(std::mem::replace(&mut self.inputs, inputs));
        self.generation = generation;
        Ok(())
    }
}

/// First the file for the inputs that will follow, then the state that names it: one is never there without the other. The
/// file of the state before is not touched until this one is in its place.
fn save(
    dir: &Path,
    shard: u16,
    generation: u64,
    node: &Node,
    spare: Option<Inputs>,
    scratch: &mut Vec<u8>,
) -> io::Result<Inputs> {
    scratch.clear();
    scratch.resize(Header::LEN, 0);
    node.save(scratch);
    let len = (scratch.len() * INPUTS_PER_STATE).clamp(INPUTS_LEN_MIN, INPUTS_LEN_MAX);
    let mut inputs = match spare {
        Some(spare) if spare.len() >= len => spare,
        // Grown by half more, so that it need not grow each time.
        Some(_) => Inputs::create(&inputs_path(dir, shard, generation), (len + len / 2).min(INPUTS_LEN_MAX))?,
        None => Inputs::create(&inputs_path(dir, shard, generation), len)?,
    };
    inputs.reset(generation);
    state::write(&path(dir, shard, "state"), generation, scratch)?;
    Ok(inputs)
}

fn path(dir: &Path, shard: u16, what: &str) -> PathBuf {
    dir.join(format!("shard-{shard}.{what}"))
}

fn inputs_path(dir: &Path, shard: u16, generation: u64) -> PathBuf {
    path(dir, shard, &format!("inputs-{}", generation % 2))
}
