//! Whether a region that is to be deleted may go.

use k8s_openapi::jiff::SignedDuration;
use pagemesh_crds::Region;

use super::conditions::{Verdict, count, list};
use super::mesh::Mesh;

/// How long an agent that does not answer holds up the deletion of a region.
const SILENT_AGENT_WAIT: SignedDuration = SignedDuration::from_secs(120);

/// Whether the region has to wait, and for what.
///
/// Waiting ends when every agent that has the region knows that it is to go, and nobody is attached there. An agent that is gone cannot
/// say so, and is not waited for longer than [`SILENT_AGENT_WAIT`].
pub(crate) fn wait(mesh: &Mesh<'_>, region: &Region) -> Verdict {
    let generation = region.metadata.generation.unwrap_or_default();
    let began = region.metadata.deletion_timestamp.as_ref().map_or(mesh.snapshot.now, |time| time.0);
    let patience_ends = began.checked_add(SILENT_AGENT_WAIT).unwrap_or(began);
    let mut silent = Vec::new();
    let mut unaware = Vec::new();
    let mut nodes = Vec::new();
    let mut pods = Vec::new();
    let mut processes = 0_usize;
    for (agent, held) in mesh.held(region.metadata.uid.as_deref().unwrap_or_default()) {
        if held.observed_generation >= generation && held.attachments == 0 {
            continue;
        }
        if !mesh.agents.get(agent).is_some_and(|facts| facts.alive) {
            if mesh.snapshot.now < patience_ends {
                mesh.wake_at(patience_ends);
                silent.push(*agent);
            }
            continue;
        }
        if held.attachments == 0 {
            unaware.push(*agent);
            continue;
        }
        nodes.push(*agent);
        processes += held.attachments as usize;
        pods.extend(held.pods.iter().map(|uid| match mesh.snapshot.pods.get(uid) {
            Some(pod) => format!("{}/{}", pod.namespace, pod.name),
            None => format!("pod {}", uid.escape_debug()),
        }));
    }
    if processes > 0 {
        pods.sort();
        pods.dedup();
        let of_pods = if pods.is_empty() { String::new() } else { format!(", of {}", list(&pods)) };
        return Verdict::yes(
            "Attached",
            format!(
                "{} on {} attached{of_pods}: the region goes when they have ended or detached.",
                count(processes, "process", "processes"),
                format_args!("{} {}", list(&nodes), if processes == 1 { "is" } else { "are" }),
            ),
        );
    }
    if !unaware.is_empty() {
        return Verdict::yes(
            "WaitingForAgents",
            format!("{} yet to see that the region is to go.", have(&unaware)),
        );
    }
    if !silent.is_empty() {
        return Verdict::yes(
            "AgentSilent",
            format!(
                "{} not renewed the Lease; the deletion goes on without an answer at {patience_ends}.",
                have(&silent)
            ),
        );
    }
    Verdict::no("Done", "")
}

fn have(agents: &[&str]) -> String {
    format!("{} {}", list(agents), if agents.len() == 1 { "has" } else { "have" })
}
