//! What a pod may do: pure, so that a table can show it.

use pagemesh_crds::{Access, AccessMode, ValidRegion};

use super::Attached;
use crate::volume::{PodIdentity, Volume, VolumeRegion};

/// The region of a pod's volume that a program means by `NAMESPACE/NAME`, or by `NAME`: that of the pod's own namespace
/// before others.
#[must_use]
pub fn named<'v>(volume: &'v Volume, name: &str) -> Option<&'v VolumeRegion> {
    let exactly = |full: &str| volume.regions.iter().find(|region| region.name == full);
    if name.contains('/') {
        return exactly(name);
    }
    let of_any_namespace =
        |region: &&VolumeRegion| region.name.split_once('/').is_some_and(|(_, short)| short == name);
    exactly(&format!("{}/{name}", volume.pod.namespace))
        .or_else(|| volume.regions.iter().find(of_any_namespace))
}

/// What a pod gets that asks for this much; `None` if nothing.
#[must_use]
pub fn granted(access: &Access, pod: &PodIdentity, read_only: bool) -> Option<AccessMode> {
    let mode = access.mode(&pod.namespace, &pod.service_account)?;
    Some(if read_only { AccessMode::ReadOnly } else { mode })
}

/// Why an attachment may not go on under what its region says now, if it may not.
pub(super) fn lost(attached: &Attached, region: &ValidRegion) -> Option<String> {
    let pod = &attached.by_volume.as_ref()?.pod;
    let PodIdentity { namespace, service_account, .. } = pod;
    match granted(&region.access, pod, attached.read_only) {
        Some(AccessMode::ReadWrite) => None,
        Some(AccessMode::ReadOnly) if attached.read_only => None,
        Some(AccessMode::ReadOnly) => Some(format!(
            "service account {namespace}/{service_account} may only read region {} now: programs that had it to write get \
             SIGBUS; start them anew to read, or change spec.access of the Region",
            attached.region
        )),
        None => Some(format!(
            "service account {namespace}/{service_account} may not use region {} any more: its programs get SIGBUS; allow \
             it in spec.access of the Region, and start them anew",
            attached.region
        )),
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
