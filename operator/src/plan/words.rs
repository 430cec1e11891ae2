//! What is said about regions, in conditions and Events.

use std::collections::BTreeSet;

use pagemesh_crds::{Coherence, Home, Placement, Region, quantity};

use super::action::Note;
use super::conditions::{Verdict, count, list};
use super::mesh::Mesh;
use super::placement::{Lack, Need};
use super::region::Confirmations;

/// Longest text of an agent's that is repeated.
const PROBLEM_CHARS_MAX: usize = 300;

/// The homes of a placement, each agent once.
pub(crate) fn homes(placement: &Placement) -> Vec<&Home> {
    let mut seen = BTreeSet::new();
    placement.homes.iter().filter(|home| seen.insert(&home.agent)).collect()
}

/// The agents that home a region, each once.
pub(crate) fn agents(placement: &Placement) -> Vec<&str> {
    homes(placement).iter().map(|home| home.agent.as_str()).collect()
}

fn note(reason: &'static str, text: String) -> Note {
    Note { warning: false, reason, text }
}

pub(crate) fn placed(placement: &Placement) -> Note {
    note("Placed", format!("Epoch {}: pages live on {}.", placement.epoch, list(&agents(placement))))
}

pub(crate) fn moved(placement: &Placement) -> Note {
    note(
        "Moved",
        format!("Epoch {}: all pages have arrived on {}.", placement.epoch, list(&agents(placement))),
    )
}

pub(crate) fn moving(mesh: &Mesh<'_>, current: &Placement, homes: &[Home]) -> Note {
    let next = Placement { homes: homes.to_vec(), ..current.clone() };
    let (from, to) = (agents(current), agents(&next));
    let gone: Vec<String> = from
        .iter()
        .filter(|agent| !to.contains(agent))
        .map(|agent| match mesh.agents.get(agent).and_then(|facts| facts.leaving.as_deref()) {
            Some(why) => format!("{agent} ({why})"),
            None => (*agent).to_owned(),
        })
        .collect();
    let epoch = current.epoch.saturating_add(1);
    let text = if gone.is_empty() {
        format!("Epoch {epoch}: pages spread to {}.", list(&to))
    } else {
        format!("Epoch {epoch}: pages leave {} and live on {}.", list(&gone), list(&to))
    };
    note("Moving", text)
}

pub(crate) fn grown(from: u64, to: u64) -> Note {
    note("Grown", format!("From {} to {}.", quantity::format(from), quantity::format(to)))
}

pub(crate) fn switched(from: Coherence, to: Coherence) -> Note {
    note("CoherenceSwitched", format!("From {} to {}.", from.name(), to.name()))
}

pub(crate) fn unknown_pool(pool: &str) -> Verdict {
    Verdict::no(
        "UnknownPool",
        format!("There is no AgentPool `{pool}`: create it, or name another in the Region's agentPoolName."),
    )
}

/// Whether a placement is in force everywhere.
pub(crate) fn progress(mesh: &Mesh<'_>, region: &Region, placement: &Placement) -> Verdict {
    let Confirmations { missing, unsettled } = Confirmations::of(mesh, region, placement);
    let epoch = placement.epoch;
    if !placement.previous.is_empty() {
        let waits: Vec<&String> = missing.iter().chain(&unsettled).collect();
        return Verdict::no(
            "Moving",
            format!(
                "Pages move under epoch {epoch}, and programs go on; {} not have all of theirs yet.",
                does(&waits)
            ),
        );
    }
    if !missing.is_empty() {
        let text = format!("Epoch {epoch} is published; {} not act on it yet.", does(&missing));
        return Verdict::no("Confirming", text);
    }
    Verdict::yes("Confirmed", format!("Epoch {epoch} is in force on {}.", list(&agents(placement))))
}

fn does<S: AsRef<str>>(agents: &[S]) -> String {
    format!("{} {}", list(agents), if agents.len() == 1 { "does" } else { "do" })
}

/// What is wrong with a region's homes.
pub(crate) fn degraded(
    mesh: &Mesh<'_>,
    region: &Region,
    lost: &BTreeSet<String>,
    stuck: &BTreeSet<String>,
) -> Verdict {
    if !lost.is_empty() {
        return homes_lost(mesh, lost);
    }
    if !stuck.is_empty() {
        let stuck: Vec<String> = stuck
            .iter()
            .map(|agent| match mesh.agents.get(agent.as_str()).and_then(|facts| facts.leaving.as_deref()) {
                Some(why) => format!("{agent} ({why})"),
                None => format!("{agent} (it is in another AgentPool)"),
            })
            .collect();
        return Verdict::yes(
            "CannotMove",
            format!(
                "Pages are to leave {}, but no other agent of the AgentPool is ready and has the memory: add nodes to the \
                 pool, or lend more memory. Ending the agent before that loses them.",
                list(&stuck)
            ),
        );
    }
    let held = mesh.held(region.metadata.uid.as_deref().unwrap_or_default());
    let problems: Vec<String> = held
        .iter()
        .filter_map(|(agent, held)| {
            let problem: String = held.problem.as_ref()?.chars().take(PROBLEM_CHARS_MAX).collect();
            Some(format!("{agent}: {problem}"))
        })
        .collect();
    if !problems.is_empty() {
        return Verdict::yes("AgentProblem", problems.join("; "));
    }
    Verdict::no("Serving", "Nothing is wrong.")
}

fn homes_lost(mesh: &Mesh<'_>, lost: &BTreeSet<String>) -> Verdict {
    let silent = |agent: &String| mesh.agents.get(agent.as_str()).is_some_and(|facts| !facts.alive);
    let advice = if lost.iter().any(silent) {
        "If the node comes back with its agent still running, all goes on; else delete the Region and create it anew."
    } else {
        "Delete the Region and create it anew."
    };
    let lost: Vec<String> = lost.iter().map(|agent| format!("{agent} ({})", how_lost(mesh, agent))).collect();
    let lost = list(&lost);
    Verdict::yes(
        "HomesLost",
        format!("Pages that live on {lost} cannot be reached, and who needs one waits. {advice}"),
    )
}

fn how_lost(mesh: &Mesh<'_>, agent: &str) -> &'static str {
    match mesh.agents.get(agent) {
        None => "its Agent object is gone",
        Some(facts) if !facts.alive => "its Lease has expired",
        Some(_) => "its agent has started anew without the pages",
    }
}

/// A size that people can read: whole mebibytes, if it is some.
fn roughly(bytes: u64) -> String {
    const MEBIBYTE: u64 = 1 << 20;
    quantity::format(if bytes < MEBIBYTE { bytes } else { bytes / MEBIBYTE * MEBIBYTE })
}

/// Why a region cannot be placed, or not be what its spec asks for.
pub(crate) fn lack(mesh: &Mesh<'_>, need: &Need<'_>, lack: &Lack, in_force_bytes: Option<u64>) -> Verdict {
    let pool = need.pool;
    let meanwhile = match in_force_bytes {
        Some(bytes) => {
            format!(" The region goes on with {} on the homes that it has.", quantity::format(bytes))
        }
        None => String::new(),
    };
    let agents: Vec<String> = mesh
        .of_pool(pool)
        .filter_map(|(name, facts)| Some(format!("{name}: {}", facts.unusable.as_ref()?)))
        .collect();
    let but = if agents.is_empty() { String::new() } else { format!(" ({})", list(&agents)) };
    match lack {
        Lack::Agents if agents.is_empty() => Verdict::no(
            "NoAgents",
            format!(
                "AgentPool `{pool}` has no agents: see `kubectl describe agentpool {pool}` for what keeps them from starting.{meanwhile}"
            ),
        ),
        Lack::Agents => Verdict::no(
            "NoAgents",
            format!(
                "No agent of AgentPool `{pool}` can take pages{but}: see `kubectl describe agents`.{meanwhile}"
            ),
        ),
        Lack::AgentsFor { homes, usable } => Verdict::no(
            "NotEnoughAgents",
            format!(
                "{} asked for, and AgentPool `{pool}` has {} that can take pages{but}: ask for fewer, or add nodes to the pool.{meanwhile}",
                count(*homes, "home is", "homes are"),
                count(*usable, "agent", "agents"),
            ),
        ),
        Lack::Memory { homes, share_bytes } => {
            let free: Vec<String> = mesh
                .of_pool(pool)
                .filter(|(_, facts)| facts.unusable.is_none())
                .map(|(name, _)| format!("{name} has {} left", roughly(mesh.free_bytes(name))))
                .collect();
            Verdict::no(
                "NotEnoughMemory",
                format!(
                    "{} with {} each {} needed, and of AgentPool `{pool}` {}{but}: ask for less, lend more memory (AgentPool spec.memory), or add nodes to the pool.{meanwhile}",
                    count(*homes, "home", "homes"),
                    roughly(*share_bytes),
                    if *homes == 1 { "is" } else { "are" },
                    list(&free),
                ),
            )
        }
    }
}

/// What to tell when readiness has changed.
pub(crate) fn on_ready(ready: &Verdict, was_ready: bool) -> Option<Note> {
    match (ready.status, ready.reason) {
        (true, _) if was_ready => None,
        (true, _) => Some(note("Ready", ready.message.clone())),
        // What is under way has Events of its own.
        (false, "Confirming" | "Moving" | "Deleting") => None,
        (false, reason) => Some(Note { warning: true, reason, text: ready.message.clone() }),
    }
}

/// What to tell when something has gone wrong or is right again.
pub(crate) fn on_degraded(degraded: &Verdict, was_degraded: bool) -> Option<Note> {
    match (degraded.status, was_degraded) {
        (true, _) => Some(Note { warning: true, reason: degraded.reason, text: degraded.message.clone() }),
        (false, true) => Some(note("Recovered", degraded.message.clone())),
        (false, false) => None,
    }
}
