//! What the kernel and the programs of one node do: the region file, the mappings, the accesses.

use std::collections::BTreeMap;

use pagemesh_protocol::{Access, Output, PageId};

use super::Objection;

/// A page's contents, which is all that the simulated programs store.
pub type Value = u64;

/// One access of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    pub page: PageId,
    pub access: Access,
}

pub fn load(index: u64) -> Op {
    Op { page: super::page(index), access: Access::Read }
}

pub fn store(index: u64) -> Op {
    Op { page: super::page(index), access: Access::Write }
}

/// An attached program: what it has mapped, and what it will do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Program {
    mapped: BTreeMap<PageId, Access>,
    /// What is left to do, last first.
    ops: Vec<Op>,
    waits: bool,
    detached: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    file: BTreeMap<PageId, Value>,
    asides: BTreeMap<PageId, Value>,
    programs: Vec<Program>,
}

impl Machine {
    pub fn new(programs: &[Vec<Op>]) -> Machine {
        let mut machine = Machine { file: BTreeMap::new(), asides: BTreeMap::new(), programs: Vec::new() };
        programs.iter().for_each(|ops| machine.attach(ops));
        machine
    }

    /// A program comes, with nothing mapped.
    pub fn attach(&mut self, ops: &[Op]) {
        self.programs.push(Program { ops: ops.iter().rev().copied().collect(), ..Program::default() });
    }

    /// A program ends, whatever it was doing.
    pub fn detach(&mut self, program: usize) {
        self.programs[program] = Program { detached: true, ..Program::default() };
    }

    pub fn attached(&self) -> impl Iterator<Item = usize> {
        self.programs.iter().enumerate().filter(|(_, p)| !p.detached).map(|(at, _)| at)
    }

    pub fn runnable(&self) -> impl Iterator<Item = usize> {
        self.programs.iter().enumerate().filter(|(_, p)| !p.waits && !p.ops.is_empty()).map(|(at, _)| at)
    }

    pub fn unfinished(&self) -> Option<usize> {
        self.programs.iter().position(|p| !p.ops.is_empty())
    }

    pub fn push_op(&mut self, program: usize, op: Op) {
        self.programs[program].ops.insert(0, op);
    }

    pub fn next_op(&self, program: usize) -> Option<Op> {
        self.programs[program].ops.last().copied()
    }

    pub fn allows(&self, program: usize, page: PageId, access: Access) -> bool {
        self.programs[program].mapped.get(&page).is_some_and(|&has| has >= access)
    }

    pub fn wait(&mut self, program: usize) {
        self.programs[program].waits = true;
    }

    pub fn done(&mut self, program: usize) {
        self.programs[program].ops.pop();
    }

    /// A program loses its mapping but the page stays, as after the kernel's reclaim.
    pub fn unmap(&mut self, program: usize, page: PageId) {
        self.programs[program].mapped.remove(&page);
    }

    pub fn load(&self, page: PageId) -> Result<Value, Objection> {
        self.file.get(&page).copied().ok_or_else(|| format!("p{} is read where it is not", page.index))
    }

    pub fn store(&mut self, page: PageId, value: Value) -> Result<(), Objection> {
        self.load(page)?;
        self.file.insert(page, value);
        Ok(())
    }

    pub fn aside(&self, page: PageId) -> Result<Value, Objection> {
        self.asides.get(&page).copied().ok_or_else(|| format!("the aside of p{} is not there", page.index))
    }

    /// Whether nothing is kept here.
    pub fn is_empty(&self) -> bool {
        self.file.is_empty() && self.asides.is_empty()
    }

    pub fn has_asides(&self) -> bool {
        !self.asides.is_empty()
    }

    /// The strongest mapping that a program has.
    pub fn mapped(&self, page: PageId) -> Option<Access> {
        self.programs.iter().filter_map(|p| p.mapped.get(&page).copied()).max()
    }

    pub fn pages(&self) -> impl Iterator<Item = PageId> + '_ {
        let wanted = self.programs.iter().flat_map(|p| p.ops.iter().map(|op| op.page));
        self.file.keys().chain(self.asides.keys()).copied().chain(wanted)
    }

    pub fn print(&self, page: PageId) -> String {
        let file = self.file.get(&page).map_or(String::new(), |value| format!(" file={value}"));
        let mapped = self.mapped(page).map_or(String::new(), |access| format!(" mapped={access:?}"));
        let waits = self.programs.iter().any(|p| p.waits && p.ops.last().is_some_and(|op| op.page == page));
        format!("{file}{mapped}{}", if waits { " waits" } else { "" })
    }

    /// Does what the node-agent would do on the real kernel.
    pub fn carry_out(&mut self, output: &Output, received: Option<Value>) -> Result<(), Objection> {
        match *output {
            Output::Store { page } => {
                let value = received.ok_or("contents are stored that did not come")?;
                self.file.insert(page, value);
            }
            Output::Zero { page } => {
                if self.file.insert(page, 0).is_some() {
                    return Err(format!("zeros are written over p{}", page.index));
                }
            }
            Output::Map { page, access } => {
                self.load(page)?;
                for program in self
                    .programs
                    .iter_mut()
                    .filter(|p| p.waits && p.ops.last().is_some_and(|o| o.page == page))
                {
                    program.mapped.insert(page, access);
                    program.waits = false;
                }
            }
            Output::Premap { page } => {
                self.load(page)?;
                for program in self.programs.iter_mut().filter(|p| !p.detached) {
                    program.mapped.entry(page).or_insert(Access::Read);
                }
            }
            Output::Protect { page } => {
                for program in &mut self.programs {
                    program.mapped.entry(page).and_modify(|access| *access = Access::Read);
                }
            }
            Output::Take { page } => {
                self.asides.insert(page, self.load(page)?);
                self.punch(page);
            }
            Output::Discard { page } => self.punch(page),
            Output::Forget { page } => {
                self.asides.remove(&page).ok_or("an aside is freed twice")?;
            }
            Output::Send { .. }
            | Output::Left { .. }
            | Output::RefusePeer { .. }
            | Output::Violation { .. } => {}
        }
        Ok(())
    }

    fn punch(&mut self, page: PageId) {
        self.file.remove(&page);
        for program in &mut self.programs {
            program.mapped.remove(&page);
        }
    }
}
