//! What a region is wanted to be, once its class has had its say.

use pagemesh_crds::{AGENT_POOL_DEFAULT, Coherence, HOMES_MAX, Region, RegionClass, ValidRegion, quantity};

use super::conditions::Verdict;
use super::mesh::Mesh;
use super::snapshot::RegionKey;

/// What a region is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) pool: String,
    pub(crate) size_bytes: u64,
    pub(crate) homes: Option<u16>,
    pub(crate) homes_max: u16,
    pub(crate) coherence: Coherence,
}

/// What a new region is to be.
///
/// # Errors
/// What is wrong with its class, or with it according to its class.
pub(crate) fn of_new(
    mesh: &Mesh<'_>,
    key: &RegionKey,
    region: &Region,
    valid: &ValidRegion,
) -> Result<Wanted, Verdict> {
    let class = class(mesh, region)?;
    let defaults = class.map(|class| &class.spec.defaults);
    let spec = &region.spec;
    let wanted = Wanted {
        pool: spec
            .agent_pool_name
            .clone()
            .or_else(|| defaults?.agent_pool_name.clone())
            .unwrap_or_else(|| AGENT_POOL_DEFAULT.to_owned()),
        size_bytes: wanted_bytes(region, valid),
        homes: spec.homes.or_else(|| defaults?.homes).map(|homes| homes.max(1)),
        homes_max: limit_of_homes(class),
        coherence: spec.coherence.or_else(|| defaults?.coherence).unwrap_or_default(),
    };
    if let Some(class) = class {
        check_limits(class, wanted.size_bytes, wanted.homes)?;
        check_number(mesh, key, class)?;
    }
    Ok(wanted)
}

/// Checks what a region that has its place is to become, when it asks for more.
///
/// Its defaults are for regions that have no place yet: no region moves because somebody edits a class.
///
/// # Errors
/// As for [`of_new`].
pub(crate) fn check_more(mesh: &Mesh<'_>, region: &Region, size_bytes: u64) -> Result<(), Verdict> {
    match class(mesh, region)? {
        Some(class) => check_limits(class, size_bytes, region.spec.homes),
        None => Ok(()),
    }
}

/// How many homes a region may be given that says no number. A class that is gone has no limit of its own any more.
pub(crate) fn homes_max(mesh: &Mesh<'_>, region: &Region) -> u16 {
    limit_of_homes(class(mesh, region).ok().flatten())
}

fn limit_of_homes(class: Option<&RegionClass>) -> u16 {
    class.and_then(|class| class.spec.limits.homes).unwrap_or(HOMES_MAX).max(1)
}

/// The size that the spec asks for; `valid` has the one in force.
pub(crate) fn wanted_bytes(region: &Region, valid: &ValidRegion) -> u64 {
    region.spec.size.bytes().unwrap_or(valid.size_bytes)
}

/// The class of a region: the one it names, else the oldest of those that are the default.
fn class<'a>(mesh: &Mesh<'a>, region: &Region) -> Result<Option<&'a RegionClass>, Verdict> {
    let classes = &mesh.snapshot.classes;
    if let Some(name) = &region.spec.region_class_name {
        return match classes.get(name) {
            Some(class) => Ok(Some(class)),
            None => Err(Verdict::no(
                "UnknownClass",
                format!(
                    "There is no RegionClass `{name}`: create it, or create the Region anew with another regionClassName."
                ),
            )),
        };
    }
    let defaults = classes.values().filter(|class| class.spec.default);
    let age = |class: &RegionClass| class.metadata.creation_timestamp.as_ref().map(|time| time.0);
    Ok(defaults.min_by_key(|class| (age(class), class.metadata.name.clone())).map(|class| &**class))
}

fn check_limits(class: &RegionClass, size_bytes: u64, homes: Option<u16>) -> Result<(), Verdict> {
    let name = class.metadata.name.as_deref().unwrap_or_default();
    let limits = &class.spec.limits;
    if let Some(size) = &limits.size
        && size.bytes().is_ok_and(|limit| size_bytes > limit)
    {
        let size = size.as_str();
        let wanted = quantity::format(size_bytes);
        return Err(Verdict::no(
            "ClassLimit",
            format!(
                "RegionClass `{name}` allows regions of at most {size}, and this one asks for {wanted}: ask for less, or raise the class's limits.size."
            ),
        ));
    }
    if let (Some(limit), Some(homes)) = (limits.homes, homes)
        && homes > limit
    {
        return Err(Verdict::no(
            "ClassLimit",
            format!(
                "RegionClass `{name}` allows at most {limit} homes, and this region asks for {homes}: ask for fewer, or raise the class's limits.homes."
            ),
        ));
    }
    Ok(())
}

/// Checks that a region is among as many of its namespace, oldest first, as its class allows.
fn check_number(mesh: &Mesh<'_>, key: &RegionKey, class: &RegionClass) -> Result<(), Verdict> {
    let Some(limit) = class.spec.limits.regions_per_namespace else { return Ok(()) };
    let name = class.metadata.name.as_deref().unwrap_or_default();
    let rank = |key: &RegionKey, region: &Region| {
        // Those that have their place keep it.
        let placed = super::mesh::placement(region).is_some();
        (!placed, region.metadata.creation_timestamp.as_ref().map(|time| time.0), key.name.clone())
    };
    let regions = &mesh.snapshot.regions;
    let Some(own) = regions.get(key).map(|region| rank(key, region)) else { return Ok(()) };
    let before = regions.iter().filter(|(other, region)| {
        let same = |class: &RegionClass| class.metadata.name.as_deref() == Some(name);
        other.namespace == key.namespace
            && self::class(mesh, region).is_ok_and(|class| class.is_some_and(same))
            && rank(other, region) < own
    });
    let before = before.count();
    if before < limit as usize {
        return Ok(());
    }
    Err(Verdict::no(
        "ClassLimit",
        format!(
            "RegionClass `{name}` allows {limit} regions in a namespace, and `{}` has {before} already: delete one, or raise the class's limits.regionsPerNamespace.",
            key.namespace
        ),
    ))
}
