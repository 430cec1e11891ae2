//! What may follow on what is in force: shards and peers act on it, so an object changes only in ways that they know how
//! to go along with.

use std::fmt;

use pagemesh_crds::{FieldError, Home, Placement, ValidAgent, ValidRegion};
use pagemesh_protocol::RegionId;

use super::{Me, Objects};

/// What may change in a region: with a greater epoch its homes, its coherence and, upwards, its size.
pub(super) fn check_region(new: ValidRegion, last: &Objects) -> Result<ValidRegion, Vec<FieldError>> {
    let id = RegionId(new.id());
    if last.dropped.contains(&id) {
        return error(
            "metadata.uid",
            "is that of a region that was deleted, and its pages are gone: make a new one".into(),
        );
    }
    let Some(old) = last.regions.get(&id).map(|declared| &declared.object) else {
        return Ok(new);
    };
    if (&old.namespace, &old.name) != (&new.namespace, &new.name) {
        return error(
            "metadata.name",
            format!(
                "hashes to the same number as region {}/{}: choose another name",
                old.namespace, old.name
            ),
        );
    }
    // Until it is placed nobody holds anything of it.
    let Some(old_placement) = &old.placement else {
        return Ok(new);
    };
    if new.page_size_bytes != old.page_size_bytes {
        return error("spec.pageSize", frozen("page size", old.page_size_bytes, new.page_size_bytes));
    }
    if new.consistency != old.consistency {
        let (old, new) = (old.consistency.name(), new.consistency.name());
        return error("spec.consistency", frozen("consistency", old, new));
    }
    if new.size_bytes < old.size_bytes {
        return error(
            "spec.size",
            format!(
                "the size cannot shrink from {} to {}: put it back, or make a new region",
                old.size_bytes, new.size_bytes
            ),
        );
    }
    let Some(new_placement) = &new.placement else {
        return error(
            "status.placement",
            "is gone, but a region that is placed stays placed: put it back".into(),
        );
    };
    if new_placement.epoch < old_placement.epoch {
        return error(
            "status.placement.epoch",
            format!("goes back from {} to {}; an epoch only rises", old_placement.epoch, new_placement.epoch),
        );
    }
    if new_placement.epoch == old_placement.epoch {
        check_same_epoch(&new, new_placement, old, old_placement)?;
    }
    Ok(new)
}

/// All that agents must agree on changes with the epoch. `previous` may go without: that all pages have moved is news to
/// nobody who acts on it.
fn check_same_epoch(
    new: &ValidRegion,
    new_placement: &Placement,
    old: &ValidRegion,
    old_placement: &Placement,
) -> Result<(), Vec<FieldError>> {
    let epoch = old_placement.epoch;
    let raise = format!("changes only with the epoch: raise status.placement.epoch above {epoch}");
    if new.size_bytes != old.size_bytes {
        return error("spec.size", raise);
    }
    if new.coherence != old.coherence {
        return error("spec.coherence", raise);
    }
    let unlike = |new: &[Home], old: &[Home]| new != old;
    if unlike(&new_placement.homes, &old_placement.homes) {
        let were = names(&old_placement.homes);
        return error("status.placement.homes", format!("were [{were}] in epoch {epoch}, and {raise}"));
    }
    if !new_placement.previous.is_empty() && unlike(&new_placement.previous, &old_placement.previous) {
        let were = names(&old_placement.previous);
        return error("status.placement.previous", format!("were [{were}] in epoch {epoch}, and {raise}"));
    }
    Ok(())
}

fn names(homes: &[Home]) -> String {
    homes.iter().map(|home| home.agent.as_str()).collect::<Vec<_>>().join(", ")
}

fn frozen(what: &str, old: impl fmt::Display, new: impl fmt::Display) -> String {
    format!("the {what} cannot change from {old} to {new}: put it back, or make a new region")
}

/// What may change in an agent: not its number, by which directories and placements name it.
pub(super) fn check_agent(new: ValidAgent, last: &Objects, me: &Me) -> Result<ValidAgent, Vec<FieldError>> {
    if (new.name == me.name) != (new.id == me.id.0) {
        return error(
            "spec.id",
            format!("disagrees with this agent, which is {} with id {}", me.name, me.id.0),
        );
    }
    let known = last.agents.get(&new.name).map(|declared| &declared.object);
    match known.filter(|old| old.uid == new.uid).map(|old| old.id) {
        Some(old) if old != new.id => error(
            "spec.id",
            format!("cannot change from {old} to {}: put it back, or rename the agent", new.id),
        ),
        Some(_) | None => Ok(new),
    }
}

fn error<T>(field: &str, reason: String) -> Result<T, Vec<FieldError>> {
    Err(vec![FieldError { field: field.into(), reason }])
}
