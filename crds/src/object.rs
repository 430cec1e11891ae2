//! Any of our objects, where it does not matter which.

use kube::core::ObjectMeta;

use crate::validate::Findings;
use crate::{
    Agent, AgentPool, FieldError, MountTable, NAMESPACE_DEFAULT, Region, RegionClass, validate,
    validate_agent, validate_agent_pool, validate_mount_table, validate_region_class,
};

/// One of our objects.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A region.
    Region(Region),
    /// Defaults and limits of regions.
    RegionClass(RegionClass),
    /// Paths of regions.
    MountTable(MountTable),
    /// Nodes that lend memory.
    AgentPool(AgentPool),
    /// An agent.
    Agent(Agent),
}

impl Object {
    /// Kind and name, and the namespace where there is one: `Region default/table`.
    #[must_use]
    pub fn describe(&self) -> String {
        let cluster = |kind: &str, metadata: &ObjectMeta| {
            format!("{kind} {}", metadata.name.as_deref().unwrap_or_default())
        };
        let namespaced = |kind: &str, metadata: &ObjectMeta| {
            let namespace = metadata.namespace.as_deref().unwrap_or(NAMESPACE_DEFAULT);
            format!("{kind} {namespace}/{}", metadata.name.as_deref().unwrap_or_default())
        };
        match self {
            Object::Region(region) => namespaced("Region", &region.metadata),
            Object::RegionClass(class) => cluster("RegionClass", &class.metadata),
            Object::MountTable(table) => namespaced("MountTable", &table.metadata),
            Object::AgentPool(pool) => cluster("AgentPool", &pool.metadata),
            Object::Agent(agent) => cluster("Agent", &agent.metadata),
        }
    }

    /// Checks its values, as the API server does.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        match self {
            Object::Region(region) => validate(region).map(drop),
            Object::RegionClass(class) => validate_region_class(class),
            Object::MountTable(table) => validate_mount_table(table),
            Object::AgentPool(pool) => validate_agent_pool(pool),
            Object::Agent(agent) => validate_agent(agent).map(drop),
        }
    }

    /// What of it does nothing where there is no Kubernetes, and what to do instead. Good objects have such parts, so that
    /// the same files serve both.
    #[must_use]
    pub fn ignored_without_kubernetes(&self) -> Vec<FieldError> {
        let mut ignored = Findings::default();
        match self {
            Object::Region(region) => {
                let spec = &region.spec;
                if spec.region_class_name.is_some() {
                    ignored.add(
                        "spec.regionClassName",
                        "is ignored without Kubernetes; write into the Region what it needs",
                    );
                }
                if spec.agent_pool_name.is_some() {
                    ignored.add(
                        "spec.agentPoolName",
                        "is ignored without Kubernetes; name the agents in status.placement.homes",
                    );
                }
                if spec.homes.is_some() {
                    ignored.add(
                        "spec.homes",
                        "is ignored without Kubernetes; name the agents in status.placement.homes",
                    );
                }
                if spec.access.is_some() {
                    ignored.add(
                        "spec.access",
                        "is ignored without Kubernetes; who may open the agent's socket may attach (--socket-mode)",
                    );
                }
            }
            Object::Agent(agent) => {
                if agent.spec.agent_pool_name.is_some() {
                    ignored.add("spec.agentPoolName", "is ignored without Kubernetes; there are no pools");
                }
            }
            Object::RegionClass(_) => {
                ignored.add("kind", "is ignored without Kubernetes; write into each Region what it needs");
            }
            Object::MountTable(_) => {}
            Object::AgentPool(_) => {
                ignored.add("kind", "is ignored without Kubernetes; start an agent on each node yourself");
            }
        }
        ignored.done().err().unwrap_or_default()
    }
}
