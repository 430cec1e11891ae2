//! Actions as text.

use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use pagemesh_crds::{AgentEnding, Home, Placement, RegionStatus};

use crate::plan::{Action, Note};

pub(super) fn actions(actions: &[Action]) -> String {
    let mut text = String::new();
    for action in actions {
        write(&mut text, action).unwrap();
    }
    if text.is_empty() { "nothing\n".into() } else { text }
}

fn write(text: &mut String, action: &Action) -> std::fmt::Result {
    let subject = action.subject();
    write!(text, "{} {subject}: ", subject.kind())?;
    match action {
        Action::ApplyChild { child, .. } => {
            let key = child.key();
            writeln!(text, "apply {} {}", key.kind.name(), key.name)
        }
        Action::SetPoolStatus { status, notes, .. } => {
            let (desired, ready, updated) = (status.desired, status.ready, status.updated);
            writeln!(text, "{desired} desired, {ready} ready, {updated} updated")?;
            write_conditions(text, &status.conditions)?;
            write_notes(text, notes)
        }
        Action::AdoptAgent { id, node_uid, ending, .. } => {
            write!(text, "number {id}, owned by {}", node_uid.as_deref().unwrap_or("nobody"))?;
            match ending {
                None => writeln!(text),
                Some(AgentEnding { pod_name: Some(pod_name), stays: true }) => {
                    writeln!(text, "; what {pod_name} holds stays")
                }
                Some(AgentEnding { pod_name: Some(pod_name), stays: false }) => {
                    writeln!(text, "; what {pod_name} holds goes")
                }
                Some(AgentEnding { pod_name: None, .. }) => {
                    writeln!(text, "; what it holds is somebody else's to say")
                }
            }
        }
        Action::ReportAgent { notes, .. } => {
            writeln!(text, "report")?;
            write_notes(text, notes)
        }
        Action::AddRegionFinalizer { .. } => writeln!(text, "{}", action.name()),
        Action::RemoveRegionFinalizer { others, notes, .. } => {
            let left =
                if others.is_empty() { String::new() } else { format!(", leave {}", others.join(" ")) };
            writeln!(text, "{}{left}", action.name())?;
            write_notes(text, notes)
        }
        Action::SetRegionStatus { status, publishes, can_wait, notes, .. } => {
            let how = if *can_wait { " (can wait)" } else { "" };
            match (&status.placement, publishes) {
                (Some(placement), true) => writeln!(text, "publish {}{how}", placement_text(placement))?,
                (Some(_) | None, _) => writeln!(text, "set status{how}")?,
            }
            write_conditions(text, &status.conditions)?;
            write_seen(text, status)?;
            write_notes(text, notes)
        }
    }
}

pub(super) fn placement_text(placement: &Placement) -> String {
    let homes = |homes: &[Home]| {
        let homes = homes.iter().map(|home| match home.incarnation.as_deref() {
            Some("1") | None => home.agent.clone(),
            Some(other) => format!("{}@{other}", home.agent),
        });
        homes.collect::<Vec<_>>().join(" ")
    };
    let mut text = format!("epoch {} on {}", placement.epoch, homes(&placement.homes));
    if !placement.previous.is_empty() {
        text += &format!(", from {}", homes(&placement.previous));
    }
    let size = placement.size.as_ref().map_or("?", |size| size.as_str());
    let coherence = placement.coherence.map_or("?", |coherence| coherence.name());
    text + &format!(", {size}, {coherence}")
}

fn write_conditions(text: &mut String, conditions: &[Condition]) -> std::fmt::Result {
    for Condition { type_, status, reason, message, .. } in conditions {
        // What is as it should be goes without saying.
        if status != "False" || (type_ != "Degraded" && type_ != "Progressing") {
            writeln!(text, "  {type_}={status} {reason}: {message}")?;
        }
    }
    Ok(())
}

fn write_seen(text: &mut String, status: &RegionStatus) -> std::fmt::Result {
    for node in &status.nodes {
        writeln!(
            text,
            "  {} epoch {}, {} attached, {} resident",
            node.node, node.epoch, node.attachments, node.resident_bytes
        )?;
    }
    Ok(())
}

fn write_notes(text: &mut String, notes: &[Note]) -> std::fmt::Result {
    for Note { warning, reason, text: said } in notes {
        writeln!(text, "  {} {reason}: {said}", if *warning { "Warning" } else { "Normal" })?;
    }
    Ok(())
}
