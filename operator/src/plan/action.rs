//! What a plan consists of.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use pagemesh_crds::{AgentEnding, AgentPoolStatus, RegionStatus};

use super::snapshot::{ChildKey, ChildKind, RegionKey};

/// Which life of an object, in which state, an action was decided on. Whoever finds it in another state does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Precondition {
    pub(crate) uid: String,
    pub(crate) resource_version: String,
}

/// One thing to do to one object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Writes what belongs to a pool.
    ApplyChild { pool: String, child: Box<Child>, content: u64 },
    /// Writes what is seen of a pool.
    SetPoolStatus { pool: String, on: Precondition, status: Box<AgentPoolStatus>, notes: Vec<Note> },
    /// Gives an agent its number, and makes its Node the owner of its object.
    AdoptAgent {
        agent: String,
        on: Precondition,
        id: u16,
        node_uid: Option<String>,
        ending: Option<AgentEnding>,
    },
    /// Says what an agent's status says, as Events.
    ReportAgent { agent: String, uid: String, findings: Vec<String>, notes: Vec<Note> },
    /// Takes the responsibility for what a region holds on nodes.
    AddRegionFinalizer { region: RegionKey, on: Precondition },
    /// Ends it. What stays are the finalizers of others.
    RemoveRegionFinalizer { region: RegionKey, on: Precondition, others: Vec<String>, notes: Vec<Note> },
    /// Publishes a placement, or what is seen of a region.
    SetRegionStatus {
        region: RegionKey,
        on: Precondition,
        status: Box<RegionStatus>,
        /// Whether agents have to act on it.
        publishes: bool,
        /// Whether only numbers have changed that may as well be told a little later.
        can_wait: bool,
        notes: Vec<Note>,
    },
}

/// Which object an action is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Subject {
    Pool(String),
    Agent(String),
    Region(RegionKey),
}

impl Subject {
    /// Its kind, as in metrics and spans.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Subject::Pool(_) => "AgentPool",
            Subject::Agent(_) => "Agent",
            Subject::Region(_) => "Region",
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Pool(name) | Subject::Agent(name) => f.write_str(name),
            Subject::Region(key) => write!(f, "{}/{}", key.namespace, key.name),
        }
    }
}

impl Action {
    pub(crate) fn subject(&self) -> Subject {
        match self {
            Action::ApplyChild { pool, .. } | Action::SetPoolStatus { pool, .. } => {
                Subject::Pool(pool.clone())
            }
            Action::AdoptAgent { agent, .. } | Action::ReportAgent { agent, .. } => {
                Subject::Agent(agent.clone())
            }
            Action::AddRegionFinalizer { region, .. }
            | Action::RemoveRegionFinalizer { region, .. }
            | Action::SetRegionStatus { region, .. } => Subject::Region(region.clone()),
        }
    }

    /// Whether only numbers change that may as well be told a little later.
    pub(crate) fn can_wait(&self) -> bool {
        match self {
            Action::SetRegionStatus { can_wait, .. } => *can_wait,
            Action::ApplyChild { .. }
            | Action::SetPoolStatus { .. }
            | Action::AdoptAgent { .. }
            | Action::ReportAgent { .. }
            | Action::AddRegionFinalizer { .. }
            | Action::RemoveRegionFinalizer { .. } => false,
        }
    }

    /// The epoch of the placement that it publishes.
    pub(crate) fn epoch(&self) -> Option<u64> {
        match self {
            Action::SetRegionStatus { status, .. } => {
                status.placement.as_ref().map(|placement| placement.epoch)
            }
            Action::ApplyChild { .. }
            | Action::SetPoolStatus { .. }
            | Action::AdoptAgent { .. }
            | Action::ReportAgent { .. }
            | Action::AddRegionFinalizer { .. }
            | Action::RemoveRegionFinalizer { .. } => None,
        }
    }

    /// What is done, as in spans.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Action::ApplyChild { child, .. } => match **child {
                Child::ServiceAccount(_) => "apply ServiceAccount",
                Child::ClusterRoleBinding(_) => "apply ClusterRoleBinding",
                Child::RoleBinding(_) => "apply RoleBinding",
                Child::Service(_) => "apply Service",
                Child::DaemonSet(_) => "apply DaemonSet",
            },
            Action::SetPoolStatus { .. } => "set pool status",
            Action::AdoptAgent { .. } => "adopt agent",
            Action::ReportAgent { .. } => "report agent",
            Action::AddRegionFinalizer { .. } => "add finalizer",
            Action::RemoveRegionFinalizer { .. } => "remove finalizer",
            Action::SetRegionStatus { publishes: true, .. } => "publish placement",
            Action::SetRegionStatus { publishes: false, .. } => "set region status",
        }
    }
}

/// Something that belongs to a pool, as it should be.
#[expect(clippy::large_enum_variant, reason = "an action has it in a box")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Child {
    ServiceAccount(ServiceAccount),
    ClusterRoleBinding(ClusterRoleBinding),
    RoleBinding(RoleBinding),
    Service(Service),
    DaemonSet(DaemonSet),
}

impl Child {
    pub(crate) fn key(&self) -> ChildKey {
        let (kind, metadata) = match self {
            Child::ServiceAccount(object) => (ChildKind::ServiceAccount, &object.metadata),
            Child::ClusterRoleBinding(object) => (ChildKind::ClusterRoleBinding, &object.metadata),
            Child::RoleBinding(object) => (ChildKind::RoleBinding, &object.metadata),
            Child::Service(object) => (ChildKind::Service, &object.metadata),
            Child::DaemonSet(object) => (ChildKind::DaemonSet, &object.metadata),
        };
        ChildKey { kind, name: metadata.name.clone().unwrap_or_default() }
    }
}

/// Something that people are told, as an Event on the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// Whether somebody should look.
    pub(crate) warning: bool,
    /// One word.
    pub(crate) reason: &'static str,
    /// A sentence.
    pub(crate) text: String,
}
