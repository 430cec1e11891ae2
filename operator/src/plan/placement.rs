//! Which agents home a region. Deterministic, and as little as possible changes.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use pagemesh_crds::Home;

use super::mesh::{Mesh, share_bytes};

/// What a region needs of its homes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need<'n> {
    /// The pool whose agents may become homes.
    pub(crate) pool: &'n str,
    pub(crate) size_bytes: u64,
    /// How many homes; `None` for as few as will do.
    pub(crate) homes: Option<u16>,
    /// How many homes at most, where their number is free.
    pub(crate) homes_max: u16,
}

/// Why there is no placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// Nobody can take pages.
    Agents,
    /// Fewer agents than homes.
    AgentsFor { homes: usize, usable: usize },
    /// Not enough memory on enough agents.
    Memory { homes: usize, share_bytes: u64 },
}

/// Places a region that has no home yet, each home on another agent.
pub(crate) fn first(mesh: &Mesh<'_>, need: Need<'_>) -> Result<Vec<Home>, Lack> {
    let usable = mesh.of_pool(need.pool).filter(|(_, facts)| facts.unusable.is_none()).count();
    let counts = match need.homes.map(usize::from) {
        _ if usable == 0 => return Err(Lack::Agents),
        Some(homes) if homes > usable => return Err(Lack::AgentsFor { homes, usable }),
        Some(homes) => homes..=homes,
        None => 1..=usable.min(usize::from(need.homes_max)),
    };
    let most = *counts.end();
    for homes in counts {
        let mut draft = Draft::new(mesh, need, homes);
        draft.slots.resize(homes, None);
        if (0..homes).all(|slot| draft.fill(slot, Sharing::Never)) {
            return Ok(draft.slots.into_iter().flatten().collect());
        }
    }
    Err(Lack::Memory { homes: most, share_bytes: share_bytes(need.size_bytes, most) })
}

/// What becomes of a region's homes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The homes as they should be; the same as before if nothing is to change.
    pub(crate) homes: Vec<Home>,
    /// Agents that should lose their pages and keep them, since nobody can take them.
    pub(crate) stuck: BTreeSet<String>,
    /// What else was wanted, of number and size, and cannot be.
    pub(crate) lack: Option<Lack>,
}

/// A region's homes as they are.
pub(crate) struct Current<'c> {
    pub(crate) homes: &'c [Home],
    pub(crate) size_bytes: u64,
    /// The homes that are to lose their pages.
    pub(crate) leaving: &'c dyn Fn(&Home) -> bool,
}

/// Looks what is to change about a region's homes. `mesh` must not count the region's own memory as promised.
///
/// A home keeps its slots unless it is leaving, or the region outgrows it; then others take them. If need be one agent takes
/// several, and gives them up again when an agent comes that has none.
pub(crate) fn change(mesh: &Mesh<'_>, need: Need<'_>, current: &Current<'_>) -> Change {
    let now = current.homes.len();
    let most = match need.homes {
        Some(homes) => usize::from(homes),
        None => now.max(mesh.of_pool(need.pool).count().min(usize::from(need.homes_max))),
    };
    let mut refused = None;
    for homes in need.homes.map_or(now, usize::from)..=most {
        match resize(mesh, need, current, homes) {
            Ok(change) if change.stuck.is_empty() => return change,
            // More homes have smaller shares, which may fit where one large one does not.
            Ok(change) => _ = refused.get_or_insert(Ok(change)),
            Err(lack) => refused = refused.or(Some(Err(lack))),
        }
    }
    match refused {
        Some(Ok(change)) => change,
        Some(Err(lack)) => Change { lack: Some(lack), ..stay(mesh, need, current) },
        None => stay(mesh, need, current),
    }
}

/// What becomes of the homes when their number and the size stay what they are.
fn stay(mesh: &Mesh<'_>, need: Need<'_>, current: &Current<'_>) -> Change {
    let need = Need { size_bytes: current.size_bytes, ..need };
    resize(mesh, need, current, current.homes.len()).unwrap_or_else(|_| Change {
        homes: current.homes.to_vec(),
        stuck: BTreeSet::new(),
        lack: None,
    })
}

/// What becomes of the homes when there are to be so many of them.
fn resize(mesh: &Mesh<'_>, need: Need<'_>, current: &Current<'_>, homes: usize) -> Result<Change, Lack> {
    let mut draft = Draft::new(mesh, need, homes);
    let grows = draft.share_bytes > share_bytes(current.size_bytes, current.homes.len());
    let mut leaving = Vec::new();
    let mut doubled = Vec::new();
    let mut empty = Vec::new();
    for slot in 0..homes {
        let home = current.homes.get(slot);
        match home {
            Some(home) if (current.leaving)(home) => leaving.push((slot, home)),
            Some(home) if !grows || draft.fits(&home.agent) => {
                if draft.slots_on(&home.agent) > 0 {
                    doubled.push(slot);
                }
                draft.slots.push(Some(home.clone()));
                continue;
            }
            Some(_) | None => empty.push(slot),
        }
        draft.slots.push(None);
    }
    let usable = mesh.of_pool(need.pool).filter(|(_, facts)| facts.unusable.is_none()).count();
    for slot in empty {
        if !draft.fill(slot, Sharing::Never) {
            return Err(if homes > usable && slot >= current.homes.len() {
                Lack::AgentsFor { homes, usable }
            } else {
                Lack::Memory { homes, share_bytes: draft.share_bytes }
            });
        }
    }
    let mut stuck = BTreeSet::new();
    for (slot, home) in leaving {
        if draft.fill(slot, Sharing::IfNeedBe) {
            continue;
        }
        if grows && !draft.fits(&home.agent) {
            return Err(Lack::Memory { homes, share_bytes: draft.share_bytes });
        }
        stuck.insert(home.agent.clone());
        draft.slots[slot] = Some(home.clone());
    }
    for slot in doubled {
        let home = draft.slots[slot].take();
        if !draft.fill(slot, Sharing::Never) {
            draft.slots[slot] = home;
        }
    }
    Ok(Change { homes: draft.slots.into_iter().flatten().collect(), stuck, lack: None })
}

/// Whether an agent may get a slot of a region that it has another slot of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Never,
    IfNeedBe,
}

/// Homes that are being chosen.
struct Draft<'m, 'a> {
    mesh: &'m Mesh<'a>,
    pool: &'m str,
    share_bytes: u64,
    slots: Vec<Option<Home>>,
}

impl<'m, 'a> Draft<'m, 'a> {
    fn new(mesh: &'m Mesh<'a>, need: Need<'m>, homes: usize) -> Draft<'m, 'a> {
        let share_bytes = share_bytes(need.size_bytes, homes);
        Draft { mesh, pool: need.pool, share_bytes, slots: Vec::with_capacity(homes) }
    }

    fn slots_on(&self, agent: &str) -> usize {
        self.slots.iter().flatten().filter(|home| home.agent == agent).count()
    }

    fn slots_in(&self, zone: &str) -> usize {
        let zone_of = |home: &Home| self.mesh.agents.get(home.agent.as_str()).map(|facts| facts.zone);
        self.slots.iter().flatten().filter(|home| zone_of(home) == Some(zone)).count()
    }

    /// Whether an agent has the memory for one more slot.
    fn fits(&self, agent: &str) -> bool {
        let slots = self.slots_on(agent) as u64 + 1;
        self.share_bytes.checked_mul(slots).is_some_and(|bytes| bytes <= self.mesh.free_bytes(agent))
    }

    /// Gives an empty slot to the best agent: one that has none, in the zone that has fewest, with most memory left.
    fn fill(&mut self, slot: usize, sharing: Sharing) -> bool {
        let fitting = self.mesh.of_pool(self.pool).filter(|(name, facts)| {
            facts.unusable.is_none()
                && (sharing == Sharing::IfNeedBe || self.slots_on(name) == 0)
                && self.fits(name)
        });
        let best = fitting.min_by_key(|(name, facts)| {
            (self.slots_on(name), self.slots_in(facts.zone), Reverse(self.mesh.free_bytes(name)), *name)
        });
        let Some((name, facts)) = best else { return false };
        let incarnation = facts.incarnation.map(ToOwned::to_owned);
        self.slots[slot] = Some(Home { agent: name.to_owned(), incarnation });
        true
    }
}
