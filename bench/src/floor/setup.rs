//! Where the floor's three processes run, and how they wait. What a fault costs depends more on this than on anything else: to wake a
//! thread on another processor takes longer than all that it then does.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A processor, or any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cpu {
    /// The kernel decides.
    Any,
    /// The `n`th of those that this process may run on; the last if there are fewer.
    Nth(u8),
}

/// One way to run the three.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    pub(crate) app: Cpu,
    pub(crate) agent: Cpu,
    pub(crate) server: Cpu,
    /// Agent and server look again and again, and do not sleep.
    pub(crate) spins: bool,
}

/// The agent on another processor than the other two.
const APART: Setup =
    Setup { name: "split_block", app: Cpu::Nth(0), agent: Cpu::Nth(1), server: Cpu::Nth(0), spins: false };

/// The same, and nobody but the program sleeps.
const SPINNING: Setup = Setup { name: "split_spin_ab", spins: true, ..APART };

/// Nobody is bound and everybody sleeps: what a program that does nothing about it gets, once its processes have run for a while.
pub(crate) const FREE: Setup =
    Setup { name: "free_block", app: Cpu::Any, agent: Cpu::Any, server: Cpu::Any, spins: false };

/// All of them.
pub(crate) const ALL: [Setup; 4] = [
    FREE,
    Setup { name: "onecpu_block", app: Cpu::Nth(0), agent: Cpu::Nth(0), server: Cpu::Nth(0), spins: false },
    APART,
    SPINNING,
];

impl Setup {
    /// What the processes do before they enter this one. Processes that nobody binds stay where they are as long as the other
    /// processor is awake, and move together when it has gone to sleep: it matters where they come from.
    pub(super) fn from(self) -> Option<Setup> {
        (self.app == Cpu::Any).then_some(SPINNING)
    }
}

/// Processors that this process may run on. To be asked before anything is bound.
pub(super) fn usable() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Binds the calling thread to one of `usable`.
pub(super) fn bind(usable: &[usize], cpu: Cpu) -> io::Result<()> {
    let mut set = CpuSet::new();
    match cpu {
        Cpu::Any => usable.iter().try_for_each(|cpu| set.set(*cpu))?,
        Cpu::Nth(n) => {
            set.set(*usable.get(usize::from(n)).or(usable.last()).ok_or(io::ErrorKind::NotFound)?)?
        }
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}
