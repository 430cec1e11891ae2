//! The regions: those that are not ready.

use kube::ResourceExt;

use super::seen;
use crate::check::finding::Finding;
use crate::kubernetes::{Snapshot, region_state};
use crate::status::region_advice;

pub(super) fn regions(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(regions) = seen("regions", &snapshot.regions, &mut findings) else { return findings };
    let mut ready = 0;
    for region in regions {
        let state = region_state(region);
        if state.word == "Ready" {
            ready += 1;
            continue;
        }
        let check = format!("region {}/{}", region.namespace().unwrap_or_default(), region.name_any());
        let message = state.condition.map(|condition| format!(": {}", condition.message)).unwrap_or_default();
        let found = format!("{}{message}", state.word);
        let advice =
            region_advice(region, &state).unwrap_or_else(|| "the message says what there is to do".into());
        findings.push(if state.passing {
            Finding::warn(check, found, advice)
        } else {
            Finding::fail(check, found, advice)
        });
    }
    if ready == regions.len() {
        findings.push(Finding::ok("regions", format!("{ready} of {ready} ready")));
    }
    findings
}
