//! What becomes of a region.

use std::collections::BTreeSet;

use pagemesh_crds::{
    Coherence, FieldError, Home, Placement, Quantity, Region, RegionNode, RegionStatus, ValidRegion, validate,
};

use super::action::{Action, Note, Precondition};
use super::class::{self, Wanted};
use super::conditions::{Conditions, Verdict, forget_foreign, holds};
use super::deletion::{self, Deletion};
use super::mesh::{Mesh, placement, share_bytes, size_in_force};
use super::placement::{Change, Current, Need, change, first};
use super::snapshot::RegionKey;
use super::words;

/// Held by every region that may have memory on nodes.
pub(crate) const FINALIZER: &str = "pagemesh.io/region";

/// What is found out about a region.
struct Outcome {
    placement: Option<Placement>,
    ready: Verdict,
    degraded: Verdict,
    /// What happens, for people.
    notes: Vec<Note>,
}

/// Plans for one region.
pub(crate) fn plan(mesh: &mut Mesh<'_>, key: &RegionKey, region: &Region, actions: &mut Vec<Action>) {
    let on = Precondition {
        uid: region.metadata.uid.clone().unwrap_or_default(),
        resource_version: region.metadata.resource_version.clone().unwrap_or_default(),
    };
    let finalizers = region.metadata.finalizers.iter().flatten();
    let (own, others): (Vec<&String>, Vec<&String>) = finalizers.partition(|name| *name == FINALIZER);
    let finalizer = !own.is_empty();
    let deleting = region.metadata.deletion_timestamp.is_some();
    if deleting && !finalizer {
        return;
    }
    let (outcome, deletion) = if deleting {
        match deletion::look(mesh, region) {
            Deletion::Ends(notes) => {
                let others = others.into_iter().cloned().collect();
                actions.push(Action::RemoveRegionFinalizer { region: key.clone(), on, others, notes });
                return;
            }
            Deletion::Waits(wait) => (being_deleted(mesh, region), Some(wait)),
        }
    } else {
        if !finalizer {
            actions.push(Action::AddRegionFinalizer { region: key.clone(), on: on.clone() });
        }
        (decide(mesh, key, region), None)
    };

    let mut before = region.status.clone().unwrap_or_default();
    let generation = region.metadata.generation;
    let mut conditions = Conditions::new(&before.conditions, generation, mesh.snapshot.now);
    let mut notes = outcome.notes;
    let ready_said = conditions.set("Ready", &outcome.ready);
    if !ready_said && let Some(note) = words::on_ready(&outcome.ready, holds(&before.conditions, "Ready")) {
        notes.push(note);
    }
    let degraded_said = conditions.set("Degraded", &outcome.degraded);
    if !degraded_said
        && let Some(note) = words::on_degraded(&outcome.degraded, holds(&before.conditions, "Degraded"))
    {
        notes.push(note);
    }
    if let Some(wait) = &deletion
        && !conditions.set("Deleting", wait)
    {
        notes.push(Note { warning: false, reason: wait.reason, text: wait.message.clone() });
    }
    let conditions = conditions.finish();
    forget_foreign(&mut before.conditions, &conditions);
    let mut after = RegionStatus {
        observed_generation: generation,
        homes: outcome.placement.as_ref().map(words::agents).map(|agents| agents.len() as u16),
        placement: outcome.placement,
        conditions,
        ..seen(mesh, region)
    };
    if after == before {
        return;
    }
    let publishes = after.placement != before.placement;
    // Numbers are told with the rest, or by themselves when it is time.
    let numbers = (after.attachments, std::mem::take(&mut after.nodes));
    after.attachments = before.attachments;
    after.nodes.clone_from(&before.nodes);
    let can_wait = after == before;
    (after.attachments, after.nodes) = numbers;
    let status = Box::new(after);
    actions.push(Action::SetRegionStatus { region: key.clone(), on, status, publishes, can_wait, notes });
}

/// What agents say of a region.
fn seen(mesh: &Mesh<'_>, region: &Region) -> RegionStatus {
    let held = mesh.held(region.metadata.uid.as_deref().unwrap_or_default());
    let nodes: Vec<RegionNode> = held
        .iter()
        .map(|(agent, held)| RegionNode {
            node: (*agent).to_owned(),
            epoch: held.epoch,
            attachments: held.attachments,
            resident_bytes: held.resident_bytes,
        })
        .collect();
    let attachments = nodes.iter().map(|node| node.attachments).fold(0, u32::saturating_add);
    RegionStatus { attachments: Some(attachments), nodes, ..RegionStatus::default() }
}

/// Who is attached goes on until it ends, also when a home has to go in the meantime. Nothing else changes any more.
fn being_deleted(mesh: &mut Mesh<'_>, region: &Region) -> Outcome {
    let ready = Verdict::no("Deleting", "The region is being deleted; nothing can attach to it any more.");
    match placement(region).filter(|_| validate(region).is_ok()) {
        Some(current) => {
            let goal = Goal::as_it_is(mesh, region, current);
            Outcome { ready, ..evolve(mesh, region, &goal, current) }
        }
        None => unchanged(mesh, region, ready),
    }
}

fn decide(mesh: &mut Mesh<'_>, key: &RegionKey, region: &Region) -> Outcome {
    match (validate(region), placement(region)) {
        (Err(findings), _) => unchanged(mesh, region, invalid(&findings)),
        (Ok(valid), None) => place(mesh, key, region, &valid),
        (Ok(valid), Some(current)) => {
            let goal = Goal::of(mesh, region, &valid, current);
            evolve(mesh, region, &goal, current)
        }
    }
}

fn invalid(findings: &[FieldError]) -> Verdict {
    let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Verdict::no("InvalidSpec", format!("The Region is not valid: {}.", findings.join("; ")))
}

/// Leaves a region as it is.
fn unchanged(mesh: &Mesh<'_>, region: &Region, ready: Verdict) -> Outcome {
    let placement = placement(region).cloned();
    let lost = placement.as_ref().map(|placement| lost(mesh, placement)).unwrap_or_default();
    let degraded = words::degraded(mesh, region, &lost, &BTreeSet::new());
    Outcome { placement, ready, degraded, notes: Vec::new() }
}

/// Gives a new region its place.
fn place(mesh: &mut Mesh<'_>, key: &RegionKey, region: &Region, valid: &ValidRegion) -> Outcome {
    let result = class::of_new(mesh, key, region, valid).and_then(|wanted| {
        if !mesh.snapshot.pools.contains_key(&wanted.pool) {
            return Err(words::unknown_pool(&wanted.pool));
        }
        let Wanted { pool, size_bytes, homes, homes_max, coherence } = &wanted;
        let need = Need { pool, size_bytes: *size_bytes, homes: *homes, homes_max: *homes_max };
        let homes = first(mesh, need).map_err(|lack| words::lack(mesh, &need, &lack, None))?;
        let (size, coherence) = (Some(Quantity::from(*size_bytes)), Some(*coherence));
        Ok((Placement { epoch: 1, homes, previous: Vec::new(), size, coherence }, *size_bytes))
    });
    let quiet = Verdict::no("Serving", "Nothing is wrong.");
    match result {
        Err(ready) => Outcome { placement: None, ready, degraded: quiet, notes: Vec::new() },
        Ok((placement, size_bytes)) => {
            mesh.promise(&placement, size_bytes);
            let notes = vec![words::placed(&placement)];
            let ready = words::progress(mesh, region, &placement);
            Outcome { ready, degraded: quiet, placement: Some(placement), notes }
        }
    }
}

/// Looks what is to change about a region that has its place.
fn evolve(mesh: &mut Mesh<'_>, region: &Region, goal: &Goal<'_>, current: &Placement) -> Outcome {
    let mut next = current.clone();
    let mut notes = Vec::new();
    let confirmations = Confirmations::of(mesh, region, current);
    if !next.previous.is_empty() && confirmations.settled() {
        // Nothing is needed from those any more, even if they have gone in the meantime.
        next.previous.clear();
        notes.push(words::moved(&next));
    }
    let lost = lost(mesh, &next);
    if !lost.is_empty() {
        return Outcome {
            ready: words::progress(mesh, region, &next),
            degraded: words::degraded(mesh, region, &lost, &BTreeSet::new()),
            placement: Some(next),
            notes,
        };
    }

    let size_bytes = size_in_force(region, current);
    mesh.take_back(current, size_bytes);
    let mut problem = goal.problem.clone();
    // Publishing that a move is over and the next move in one go would hide from agents that the former was over.
    let at_rest = current.previous.is_empty() && confirmations.settled();
    let Steps { homes, size_bytes: next_bytes, stuck, lack } = goal.steps(mesh, &next, size_bytes, at_rest);
    problem = problem.or(lack);
    if let Some(homes) = homes {
        notes.push(words::moving(mesh, &next, &homes));
        next.previous = std::mem::replace(&mut next.homes, homes);
    }
    if next_bytes != size_bytes {
        notes.push(words::grown(size_bytes, next_bytes));
        next.size = Some(Quantity::from(next_bytes));
    }
    let coherence = current.coherence.unwrap_or_default();
    if goal.coherence != coherence {
        notes.push(words::switched(coherence, goal.coherence));
        next.coherence = Some(goal.coherence);
    }
    // That nothing moves any more is no news to agents, so it needs no epoch.
    if (&next.homes, &next.size, &next.coherence) != (&current.homes, &current.size, &current.coherence) {
        next.epoch = current.epoch.saturating_add(1);
    }
    mesh.promise(&next, next_bytes);
    let progress = words::progress(mesh, region, &next);
    Outcome {
        ready: problem.unwrap_or(progress),
        degraded: words::degraded(mesh, region, &BTreeSet::new(), &stuck),
        placement: Some(next),
        notes,
    }
}

/// What a region that has its place is to become.
struct Goal<'r> {
    pool: String,
    size_bytes: u64,
    homes: Option<u16>,
    homes_max: u16,
    coherence: Coherence,
    /// Why it cannot be all of what its spec says.
    problem: Option<Verdict>,
    region: &'r Region,
}

/// What can be done towards a goal now.
struct Steps {
    homes: Option<Vec<Home>>,
    size_bytes: u64,
    stuck: BTreeSet<String>,
    lack: Option<Verdict>,
}

impl<'r> Goal<'r> {
    fn of(mesh: &Mesh<'_>, region: &'r Region, valid: &ValidRegion, current: &Placement) -> Goal<'r> {
        let spec = &region.spec;
        let stay = Goal::as_it_is(mesh, region, current);
        let goal = Goal {
            pool: stay.pool.clone(),
            size_bytes: class::wanted_bytes(region, valid).max(stay.size_bytes),
            homes: spec.homes.map(|homes| homes.max(1)),
            homes_max: class::homes_max(mesh, region).max(current.homes.len() as u16),
            // Both for a spec that has none and for one whose class has another by now.
            coherence: spec.coherence.unwrap_or(stay.coherence),
            problem: None,
            region,
        };
        let more_homes = goal.homes.is_some_and(|homes| usize::from(homes) > current.homes.len());
        let more = goal.size_bytes > stay.size_bytes || more_homes;
        let problem = if !mesh.snapshot.pools.contains_key(&goal.pool) {
            Some(words::unknown_pool(&goal.pool))
        } else if more {
            class::check_more(mesh, region, goal.size_bytes).err()
        } else {
            None
        };
        match problem {
            None => goal,
            // How copies are kept is nobody else's concern.
            Some(_) => Goal { coherence: goal.coherence, problem, ..stay },
        }
    }

    /// To stay what it is, apart from homes that have to go.
    fn as_it_is(mesh: &Mesh<'_>, region: &'r Region, current: &Placement) -> Goal<'r> {
        let homes = current.homes.len() as u16;
        Goal {
            pool: pool(mesh, region, current),
            size_bytes: size_in_force(region, current),
            homes: Some(homes),
            homes_max: homes,
            coherence: current.coherence.unwrap_or_default(),
            problem: None,
            region,
        }
    }

    fn need(&self) -> Need<'_> {
        Need { pool: &self.pool, size_bytes: self.size_bytes, homes: self.homes, homes_max: self.homes_max }
    }

    fn steps(&self, mesh: &Mesh<'_>, current: &Placement, size_bytes: u64, at_rest: bool) -> Steps {
        let mut steps = Steps { homes: None, size_bytes, stuck: BTreeSet::new(), lack: None };
        if !at_rest {
            // The homes stay what they are until what moves has arrived; within them a region may grow.
            if fits(mesh, current, self.size_bytes) {
                steps.size_bytes = self.size_bytes;
            }
            return steps;
        }
        let leaves = |home: &Home| {
            let facts = mesh.agents.get(home.agent.as_str());
            facts.is_some_and(|facts| facts.leaving.is_some() || self.leaves_pool(mesh, facts.pool))
        };
        let now = Current { homes: &current.homes, size_bytes, leaving: &leaves };
        let Change { homes, stuck, lack } = change(mesh, self.need(), &now);
        steps.stuck = stuck;
        steps.homes = Some(homes).filter(|homes| *homes != current.homes);
        match lack {
            Some(lack) => steps.lack = Some(words::lack(mesh, &self.need(), &lack, Some(size_bytes))),
            None => steps.size_bytes = self.size_bytes,
        }
        steps
    }

    /// Whether the region was given another pool than the one that an agent is in.
    fn leaves_pool(&self, mesh: &Mesh<'_>, pool: Option<&str>) -> bool {
        self.region.spec.agent_pool_name.is_some()
            && pool != Some(self.pool.as_str())
            && mesh.snapshot.pools.contains_key(&self.pool)
    }
}

/// The pool of a region that has its place: the one it names, else the one that it is in.
fn pool(mesh: &Mesh<'_>, region: &Region, current: &Placement) -> String {
    let of_home = |home: &Home| mesh.agents.get(home.agent.as_str()).and_then(|facts| facts.pool);
    let named = region.spec.agent_pool_name.as_deref();
    named
        .or_else(|| current.homes.iter().find_map(of_home))
        .unwrap_or(pagemesh_crds::AGENT_POOL_DEFAULT)
        .to_owned()
}

/// Whether all homes have the memory for a size. `mesh` must not count the region's own.
fn fits(mesh: &Mesh<'_>, placement: &Placement, size_bytes: u64) -> bool {
    let share = share_bytes(size_bytes, placement.homes.len());
    words::agents(placement).iter().all(|agent| {
        let slots = placement.homes.iter().filter(|home| home.agent == *agent).count() as u64;
        share.checked_mul(slots).is_some_and(|bytes| bytes <= mesh.free_bytes(agent))
    })
}

/// Homes, present or former, that cannot be asked for their pages.
fn lost(mesh: &Mesh<'_>, placement: &Placement) -> BTreeSet<String> {
    let homes = placement.homes.iter().chain(&placement.previous);
    let alive = |home: &Home| mesh.is_home(home) && mesh.is_alive(&home.agent);
    homes.filter(|home| !alive(home)).map(|home| home.agent.clone()).collect()
}

/// What the homes of a placement have said of it.
pub(crate) struct Confirmations {
    /// Homes that do not act on it yet.
    pub(crate) missing: Vec<String>,
    /// Homes to which pages still move.
    pub(crate) unsettled: Vec<String>,
}

impl Confirmations {
    pub(crate) fn of(mesh: &Mesh<'_>, region: &Region, placement: &Placement) -> Confirmations {
        let held = mesh.held(region.metadata.uid.as_deref().unwrap_or_default());
        let mut confirmations = Confirmations { missing: Vec::new(), unsettled: Vec::new() };
        for home in words::homes(placement) {
            let said = held.iter().find(|(agent, _)| *agent == home.agent).map(|(_, held)| held);
            match said.filter(|held| held.epoch == placement.epoch && mesh.is_home(home)) {
                None => confirmations.missing.push(home.agent.clone()),
                Some(held) if !held.settled => confirmations.unsettled.push(home.agent.clone()),
                Some(_) => {}
            }
        }
        confirmations
    }

    fn settled(&self) -> bool {
        self.missing.is_empty() && self.unsettled.is_empty()
    }
}
