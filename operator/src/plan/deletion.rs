//! Whether a region that is to be deleted may go.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use pagemesh_crds::{HeldRegion, Region};

use super::action::Note;
use super::conditions::{Verdict, count, list};
use super::mesh::{Mesh, placement};

/// How long an agent that does not answer holds up the deletion of a region.
const PATIENCE: SignedDuration = SignedDuration::from_secs(120);

/// What becomes of a region that is to be deleted.
pub(crate) enum Deletion {
    /// It has to wait, and for what.
    Waits(Verdict),
    /// It goes, and what is to be told about that.
    Ends(Vec<Note>),
}

/// Looks whether the region has to wait.
///
/// Waiting ends when every agent that has the region knows that it is to go, and nobody is attached there. An agent that does not say so
/// is not waited for longer than [`PATIENCE`]: from the deletion on, or from when it was last known to be alive if that was later.
pub(crate) fn look(mesh: &Mesh<'_>, region: &Region) -> Deletion {
    let mut waits = Waits::default();
    for (agent, held) in agents(mesh, region) {
        waits.count(mesh, region, agent, held);
    }
    match waits.verdict() {
        Some(verdict) => Deletion::Waits(verdict),
        None => Deletion::Ends(waits.given_up()),
    }
}

/// The agents that matter, with what they say of the region: also homes that live and have yet to say anything.
fn agents<'m>(mesh: &'m Mesh<'_>, region: &'m Region) -> BTreeMap<&'m str, Option<&'m HeldRegion>> {
    let homes = placement(region).into_iter().flat_map(|placement| &placement.homes);
    let live = homes.filter(|home| mesh.is_home(home) && mesh.is_alive(&home.agent));
    let mut agents: BTreeMap<&str, Option<&HeldRegion>> =
        live.map(|home| (home.agent.as_str(), None)).collect();
    let held = mesh.held(region.metadata.uid.as_deref().unwrap_or_default());
    agents.extend(held.iter().map(|(agent, held)| (*agent, Some(*held))));
    agents
}

/// What is waited for.
#[derive(Default)]
struct Waits {
    attached: Vec<String>,
    pods: Vec<String>,
    processes: usize,
    unaware: Vec<String>,
    silent: Vec<String>,
    /// When the last of those that do not answer is given up.
    patience_ends: Timestamp,
    /// Those that have been given up, and what they said last.
    given_up: Vec<String>,
}

impl Waits {
    fn count(&mut self, mesh: &Mesh<'_>, region: &Region, agent: &str, held: Option<&HeldRegion>) {
        let generation = region.metadata.generation.unwrap_or_default();
        let aware = held.is_some_and(|held| held.observed_generation >= generation);
        let attachments = held.map_or(0, |held| held.attachments);
        if aware && attachments == 0 {
            return;
        }
        let alive = mesh.is_alive(agent);
        if alive && attachments > 0 {
            self.attached.push(agent.to_owned());
            self.processes += attachments as usize;
            let pods = held.into_iter().flat_map(|held| &held.pods);
            self.pods.extend(pods.map(|uid| match mesh.snapshot.pods.get(uid) {
                Some(pod) => format!("{}/{}", pod.namespace, pod.name),
                None => format!("pod {}", uid.escape_debug()),
            }));
            return;
        }
        let deleted = region.metadata.deletion_timestamp.as_ref().map_or(mesh.snapshot.now, |time| time.0);
        let known_alive = mesh.snapshot.leases.get(agent).filter(|_| !alive).map(|lease| lease.holds_until);
        let from = known_alive.map_or(deleted, |until| until.max(deleted));
        let patience_ends = from.checked_add(PATIENCE).unwrap_or(from);
        if mesh.snapshot.now >= patience_ends {
            let attached = count(attachments as usize, "process was", "processes were");
            self.given_up.push(format!("{agent} ({attached} attached when it was last heard)"));
            return;
        }
        mesh.wake_at(patience_ends);
        self.patience_ends = self.patience_ends.max(patience_ends);
        if alive { &mut self.unaware } else { &mut self.silent }.push(agent.to_owned());
    }

    fn verdict(&mut self) -> Option<Verdict> {
        let at = Timestamp::from_second(self.patience_ends.as_second()).unwrap_or(self.patience_ends);
        let until = format_args!("the deletion goes on without an answer at {at}.");
        if self.processes > 0 {
            self.pods.sort();
            self.pods.dedup();
            let of_pods =
                if self.pods.is_empty() { String::new() } else { format!(", of {}", list(&self.pods)) };
            let processes = count(self.processes, "process", "processes");
            let are = if self.processes == 1 { "is" } else { "are" };
            return Some(Verdict::yes(
                "Attached",
                format!(
                    "{processes} on {} {are} attached{of_pods}: the region goes when they have ended or detached.",
                    list(&self.attached)
                ),
            ));
        }
        if !self.unaware.is_empty() {
            let have = have(&self.unaware);
            return Some(Verdict::yes(
                "WaitingForAgents",
                format!("{have} yet to see that the region is to go; {until}"),
            ));
        }
        if !self.silent.is_empty() {
            let have = have(&self.silent);
            return Some(Verdict::yes("AgentSilent", format!("{have} not renewed the Lease; {until}")));
        }
        None
    }

    fn given_up(self) -> Vec<Note> {
        if self.given_up.is_empty() {
            return Vec::new();
        }
        let text = format!(
            "The region goes without an answer of {}: what programs there still have of it is lost.",
            list(&self.given_up)
        );
        vec![Note { warning: true, reason: "AgentsGivenUp", text }]
    }
}

fn have(agents: &[String]) -> String {
    format!("{} {}", list(agents), if agents.len() == 1 { "has" } else { "have" })
}
