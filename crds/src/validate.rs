//! Checks what types cannot say. An object that passes needs no further checks anywhere.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use kube::ResourceExt;
use kube::core::ObjectMeta;
use thiserror::Error;

use crate::access::check_access;
use crate::names::{check_label, check_pool_name, check_subdomain};
use crate::{
    AGENTS_MAX, Access, Agent, Coherence, Consistency, HOMES_MAX, Home, NAMESPACE_DEFAULT, Placement,
    Quantity, Region, region_id,
};

/// Smallest page: the hardware's.
pub const PAGE_SIZE_BYTES_MIN: u64 = 4 << 10;
/// Largest page: what a huge page of the hardware is.
pub const PAGE_SIZE_BYTES_MAX: u64 = 2 << 20;
/// Annotation of a Region: the W3C `traceparent` of what last changed it.
pub const ANNOTATION_TRACEPARENT: &str = "pagemesh.io/traceparent";
/// The condition that says whether something can be used.
pub const CONDITION_READY: &str = "Ready";
/// Largest region: 16 TiB.
pub const REGION_BYTES_MAX: u64 = 16 << 40;

/// One field that is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// Its path, as in `spec.pageSize`.
    pub field: String,
    /// What is wrong and what to write instead.
    pub reason: String,
}

/// A Region that has passed all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidRegion {
    /// Its namespace.
    pub namespace: String,
    /// Its name within the namespace.
    pub name: String,
    /// Which of all that ever had this name; `None` where nobody keeps count.
    pub uid: Option<String>,
    /// Number of its latest change of what is wanted, as Kubernetes counts; 0 without it.
    pub generation: i64,
    /// Whether it is being deleted: nobody may attach any more.
    pub deleting: bool,
    /// The size in force: a multiple of the page size, not 0.
    pub size_bytes: u64,
    /// Its page size: a power of two.
    pub page_size_bytes: u64,
    /// What a program may assume.
    pub consistency: Consistency,
    /// How copies are kept at present.
    pub coherence: Coherence,
    /// Where its pages live; `None` until that is decided.
    pub placement: Option<Placement>,
    /// Which pods may attach.
    pub access: Access,
    /// The trace that its latest change belongs to, if one is made.
    pub traceparent: Option<String>,
}

impl ValidRegion {
    /// What names it between agents.
    #[must_use]
    pub fn id(&self) -> u64 {
        region_id(&self.namespace, &self.name, self.uid.as_deref())
    }
}

/// An Agent that has passed all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidAgent {
    /// Its name, which is its node's.
    pub name: String,
    /// Which of all that ever had this name; `None` where nobody keeps count.
    pub uid: Option<String>,
    /// Its number in the mesh.
    pub id: u16,
    /// The AgentPool that it belongs to, if it says so.
    pub pool: Option<String>,
    /// Where its peers reach it; `None` until it runs.
    pub address: Option<SocketAddr>,
    /// Whether it says that it serves.
    pub ready: bool,
}

/// Collects what is wrong, so that one look shows all of it.
#[derive(Default)]
pub(crate) struct Findings(Vec<FieldError>);

impl Findings {
    pub(crate) fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), reason: reason.into() });
    }

    pub(crate) fn check(&mut self, field: impl Into<String>, result: Result<(), String>) {
        if let Err(reason) = result {
            self.add(field, reason);
        }
    }

    /// The number of bytes, in the forms of it that the API server takes as well.
    pub(crate) fn bytes(&mut self, field: &str, quantity: &Quantity) -> Option<u64> {
        let bytes = quantity.bytes().map_err(|error| self.add(field, error.to_string())).ok()?;
        if bytes > 0 && !quantity.is_plain() {
            let (text, plain) = (quantity.as_str(), crate::quantity::format(bytes));
            self.add(field, format!("`{text}` is not a whole number with an optional suffix; write {plain}"));
            return None;
        }
        Some(bytes)
    }

    /// A number of bytes that is above 0 and not more than the largest region has.
    pub(crate) fn some_bytes(&mut self, field: &str, quantity: &Quantity) {
        let text = quantity.as_str();
        match self.bytes(field, quantity) {
            Some(0) => self.add(field, format!("`{text}` is nothing; write a size such as `64Mi`")),
            Some(bytes) if bytes > REGION_BYTES_MAX => {
                self.add(field, format!("`{text}` is more than 16Ti; write 16Ti or less"));
            }
            Some(_) | None => {}
        }
    }

    pub(crate) fn within(&mut self, field: &str, number: impl Into<u64>, range: RangeInclusive<u64>) {
        let number = number.into();
        if !range.contains(&number) {
            self.add(field, format!("is {number}; write {} to {}", range.start(), range.end()));
        }
    }

    /// That there is no namespace: `kind` is of the whole cluster.
    pub(crate) fn no_namespace(&mut self, kind: &str, metadata: &ObjectMeta) {
        if metadata.namespace.is_some() {
            self.add("metadata.namespace", format!("{kind} is in no namespace; leave it out"));
        }
    }

    pub(crate) fn done(self) -> Result<(), Vec<FieldError>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

/// Checks a Region.
///
/// # Errors
/// Every field that is wrong.
pub fn validate(region: &Region) -> Result<ValidRegion, Vec<FieldError>> {
    let mut findings = Findings::default();
    let name = region.metadata.name.clone().unwrap_or_default();
    findings.check("metadata.name", check_label(&name));
    let namespace = region.metadata.namespace.clone().unwrap_or_else(|| NAMESPACE_DEFAULT.into());
    findings.check("metadata.namespace", check_label(&namespace));

    let page_size_bytes = findings.bytes("spec.pageSize", &region.spec.page_size).filter(|bytes| {
        let good = bytes.is_power_of_two() && (PAGE_SIZE_BYTES_MIN..=PAGE_SIZE_BYTES_MAX).contains(bytes);
        if !good {
            let reason =
                format!("`{}` is not a power of two from 4Ki to 2Mi", region.spec.page_size.as_str());
            findings.add("spec.pageSize", reason);
        }
        good
    });
    let size_bytes = findings.bytes("spec.size", &region.spec.size);
    if let Some(size_bytes) = size_bytes {
        let size = region.spec.size.as_str();
        findings.check("spec.size", check_size(size, size_bytes, page_size_bytes));
    }
    if let Some(homes) = region.spec.homes {
        findings.within("spec.homes", homes, 1..=HOMES_MAX.into());
    }
    if let Some(name) = &region.spec.region_class_name {
        findings.check("spec.regionClassName", check_label(name));
    }
    if let Some(name) = &region.spec.agent_pool_name {
        findings.check("spec.agentPoolName", check_pool_name(name));
    }
    check_access(region.spec.access.as_deref(), &mut findings);
    let placement = region.status.as_ref().and_then(|status| status.placement.clone());
    let mut size_in_force_bytes = size_bytes;
    if let Some(placement) = &placement {
        check_placement(placement, &mut findings);
        if let Some(size) = &placement.size {
            size_in_force_bytes = findings.bytes("status.placement.size", size);
            if let Some(bytes) = size_in_force_bytes {
                findings.check("status.placement.size", check_size(size.as_str(), bytes, page_size_bytes));
            }
        }
    }
    let coherence = placement.as_ref().and_then(|placement| placement.coherence).or(region.spec.coherence);

    match (size_in_force_bytes, page_size_bytes) {
        (Some(size_bytes), Some(page_size_bytes)) if findings.0.is_empty() => Ok(ValidRegion {
            access: Access::of(&namespace, region.spec.access.as_deref()),
            namespace,
            name,
            uid: region.metadata.uid.clone(),
            generation: region.metadata.generation.unwrap_or_default(),
            deleting: region.metadata.deletion_timestamp.is_some(),
            size_bytes,
            page_size_bytes,
            consistency: region.spec.consistency,
            coherence: coherence.unwrap_or_default(),
            placement,
            traceparent: region.annotations().get(ANNOTATION_TRACEPARENT).cloned(),
        }),
        (Some(_) | None, Some(_) | None) => Err(findings.0),
    }
}

fn check_size(shown: &str, bytes: u64, page_size_bytes: Option<u64>) -> Result<(), String> {
    if bytes == 0 {
        return Err(format!("`{shown}` is nothing; a region has at least one page"));
    }
    if bytes > REGION_BYTES_MAX {
        return Err(format!("`{shown}` is more than 16Ti, the largest region"));
    }
    match page_size_bytes {
        Some(page) if !bytes.is_multiple_of(page) => Err(format!(
            "`{shown}` is not a multiple of the page size; the next one is {}",
            crate::quantity::format(bytes.next_multiple_of(page))
        )),
        Some(_) | None => Ok(()),
    }
}

fn check_placement(placement: &Placement, findings: &mut Findings) {
    if placement.epoch == 0 {
        findings.add("status.placement.epoch", "is 0; epochs begin with 1");
    }
    if placement.homes.is_empty() {
        findings.add("status.placement.homes", "is empty; name at least one agent");
    }
    check_homes("status.placement.homes", &placement.homes, findings);
    check_homes("status.placement.previous", &placement.previous, findings);
}

fn check_homes(field: &str, homes: &[Home], findings: &mut Findings) {
    if homes.len() > usize::from(AGENTS_MAX) {
        findings.add(field, format!("has {} agents; at most {AGENTS_MAX}", homes.len()));
        return;
    }
    for (index, home) in homes.iter().enumerate() {
        findings.check(format!("{field}[{index}].agent"), check_subdomain(&home.agent));
    }
}

/// Checks an Agent.
///
/// # Errors
/// Every field that is wrong.
pub fn validate_agent(agent: &Agent) -> Result<ValidAgent, Vec<FieldError>> {
    let mut findings = Findings::default();
    let name = agent.metadata.name.clone().unwrap_or_default();
    findings.check("metadata.name", check_subdomain(&name));
    if agent.metadata.namespace.is_some() {
        findings.add("metadata.namespace", "an Agent belongs to the whole mesh; leave the namespace out");
    }
    match agent.spec.id {
        Some(id) if id >= AGENTS_MAX => findings.add("spec.id", format!("{id} is not below {AGENTS_MAX}")),
        Some(_) => {}
        None => findings.add("spec.id", "is absent; give it a number that no other agent has"),
    }
    if let Some(name) = &agent.spec.agent_pool_name {
        findings.check("spec.agentPoolName", check_pool_name(name));
    }
    let address = agent.status.as_ref().and_then(|status| status.address.as_deref()).and_then(|text| {
        let parsed: Option<SocketAddr> = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        if parsed.is_none() {
            let reason = format!(
                "`{}` is not an IP address and port, such as 10.0.0.1:7400 or [fd00::1]:7400",
                text.escape_debug()
            );
            findings.add("status.address", reason);
        }
        parsed
    });
    match agent.spec.id {
        Some(id) if findings.0.is_empty() => {
            let conditions = agent.status.iter().flat_map(|status| &status.conditions);
            let ready = conditions.into_iter().any(|c| c.type_ == CONDITION_READY && c.status == "True");
            let (uid, pool) = (agent.metadata.uid.clone(), agent.spec.agent_pool_name.clone());
            Ok(ValidAgent { name, uid, id, pool, address, ready })
        }
        Some(_) | None => Err(findings.0),
    }
}
