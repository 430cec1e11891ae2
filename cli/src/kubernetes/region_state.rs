//! What a Region's status comes to, in a word.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use pagemesh_crds::{AGENT_POOL_DEFAULT, Region, RegionClass};

use super::conditions::{condition, is_true};

/// Whether a region is well.
#[derive(Clone, Debug)]
pub(crate) struct RegionState<'a> {
    /// Whether programs can use all of it.
    pub(crate) ready: bool,
    /// `Ready`, or what it is instead.
    pub(crate) word: String,
    /// Whether it gets there by itself, as far as one can see.
    pub(crate) passing: bool,
    /// The condition that says so, if one does.
    pub(crate) condition: Option<&'a Condition>,
}

/// Judges a region.
pub(crate) fn region_state(region: &Region) -> RegionState<'_> {
    let conditions = region.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let state =
        |ready, word: &str, passing, condition| RegionState { ready, word: word.into(), passing, condition };
    if region.metadata.deletion_timestamp.is_some() {
        return state(false, "Deleting", true, condition(conditions, "Deleting"));
    }
    let degraded = condition(conditions, "Degraded").filter(|degraded| degraded.status == "True");
    if let Some(degraded) = degraded {
        // Pages that cannot leave a node that is to go are all there still; in every other case somebody waits.
        let ready = degraded.reason == "CannotMove" && is_true(conditions, "Ready");
        return state(ready, "Degraded", false, Some(degraded));
    }
    let Some(ready) = condition(conditions, "Ready") else {
        // The operator has not come to it, or does not run: `check` tells which.
        return state(false, "Unseen", true, None);
    };
    if ready.status != "True" {
        let passing = matches!(ready.reason.as_str(), "Placing" | "Confirming" | "Moving");
        return state(false, &ready.reason, passing, Some(ready));
    }
    let seen = region.status.as_ref().and_then(|status| status.observed_generation);
    if seen.is_some_and(|seen| Some(seen) < region.metadata.generation) {
        return state(false, "Changed", true, Some(ready));
    }
    state(true, "Ready", false, Some(ready))
}

/// The class of a region: the one that it names, else the oldest default. Also whether it is the default.
pub(crate) fn class_of<'a>(region: &'a Region, classes: &'a [RegionClass]) -> Option<(&'a str, bool)> {
    if let Some(name) = &region.spec.region_class_name {
        return Some((name, false));
    }
    let defaults = classes.iter().filter(|class| class.spec.default);
    let oldest = defaults.min_by_key(|class| (&class.metadata.creation_timestamp, &class.metadata.name));
    Some((oldest?.metadata.name.as_deref()?, true))
}

/// The pool whose agents home a region.
pub(crate) fn agent_pool_of<'a>(region: &'a Region, classes: &'a [RegionClass]) -> &'a str {
    let class = class_of(region, classes)
        .and_then(|(name, _)| classes.iter().find(|class| class.metadata.name.as_deref() == Some(name)));
    let of_class = class.and_then(|class| class.spec.defaults.agent_pool_name.as_deref());
    region.spec.agent_pool_name.as_deref().or(of_class).unwrap_or(AGENT_POOL_DEFAULT)
}
