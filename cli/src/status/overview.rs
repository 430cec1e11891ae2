//! All of the mesh at a glance.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use pagemesh_crds::{Agent, AgentPool, Region, quantity};
use serde::Serialize;

use super::region_advice;
use crate::kubernetes::{
    Listing, Look, Snapshot, age, agent_lease, condition, has_ended, is_fresh, region_state,
};
use crate::output::{Table, escape};

/// All that is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Overview {
    install_namespace: String,
    /// Absent if there is none or it may not be looked at: then a problem says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<OperatorRow>,
    agent_pools: Vec<PoolRow>,
    agents: Vec<AgentRow>,
    regions: Vec<RegionRow>,
    /// A sentence for each thing that is not well.
    pub(super) problems: Vec<String>,
    /// What could not be looked at.
    unknown: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OperatorRow {
    name: String,
    image: String,
    replicas: i32,
    ready: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolRow {
    name: String,
    state: String,
    nodes: u32,
    ready: u32,
    updated: u32,
    memory: String,
    shards: u16,
    age: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AgentRow {
    name: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u16>,
    agent_pool: String,
    version: String,
    resident_bytes: u64,
    lent: String,
    regions: usize,
    attachments: u64,
    age: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RegionRow {
    namespace: String,
    name: String,
    state: String,
    size: String,
    homes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    attachments: u32,
    age: String,
}

/// Collects it.
pub(crate) fn overview(snapshot: &Snapshot) -> Overview {
    let mut problems = Vec::new();
    let mut unknown = Vec::new();
    let pools = read(&snapshot.pools, &mut unknown);
    let agents = read(&snapshot.agents, &mut unknown);
    let regions = read(&snapshot.regions, &mut unknown);
    read(&snapshot.leases, &mut unknown);
    let operator = operator(snapshot, &mut problems, &mut unknown);
    let age_of = |object: &dyn Fn() -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        object().map_or_else(|| "-".into(), |created| age(snapshot.now, created.0))
    };
    Overview {
        install_namespace: snapshot.install_namespace.clone(),
        operator,
        agent_pools: pools
            .iter()
            .map(|pool| pool_row(pool, age_of(&|| pool.creation_timestamp()), &mut problems))
            .collect(),
        agents: agents
            .iter()
            .map(|agent| agent_row(snapshot, agent, age_of(&|| agent.creation_timestamp()), &mut problems))
            .collect(),
        regions: regions
            .iter()
            .map(|region| region_row(region, age_of(&|| region.creation_timestamp()), &mut problems))
            .collect(),
        problems,
        unknown,
    }
}

/// What could be read; what could not is noted.
fn read<'a, T>(look: &'a Look<T>, unknown: &mut Vec<String>) -> &'a [T] {
    match look {
        Ok(Listing { items, unreadable }) => {
            unknown.extend(unreadable.iter().cloned());
            items
        }
        Err(trouble) => {
            unknown.push(trouble.to_string());
            &[]
        }
    }
}

fn operator(
    snapshot: &Snapshot,
    problems: &mut Vec<String>,
    unknown: &mut Vec<String>,
) -> Option<OperatorRow> {
    let operators = read(&snapshot.operators, unknown);
    let Some(operator) = operators.first() else {
        if snapshot.operators.is_ok() {
            problems.push(
                "no operator is installed, so nothing changes: `helm install pagemesh charts/pagemesh -n \
                 pagemesh-system --create-namespace`"
                    .into(),
            );
        }
        return None;
    };
    let row = operator_row(snapshot, operator);
    if row.ready == 0 {
        problems.push(format!(
            "no replica of the operator is ready, so nothing changes: `kubectl describe pods -n {} -l \
             app.kubernetes.io/component=operator`",
            snapshot.install_namespace
        ));
    }
    Some(row)
}

fn operator_row(snapshot: &Snapshot, operator: &Deployment) -> OperatorRow {
    let status = operator.status.clone().unwrap_or_default();
    let containers = operator.spec.template.spec.as_ref();
    let image = containers.and_then(|pod| pod.containers.first()?.image.clone());
    let leases = snapshot.leases.as_ref().map_or(&[][..], |leases| &leases.items);
    let lease = leases.iter().find(|lease| lease.name_any() == "pagemesh-operator");
    OperatorRow {
        name: operator.name_any(),
        image: image.unwrap_or_default(),
        replicas: operator.spec.replicas.unwrap_or(1),
        ready: status.ready_replicas.unwrap_or_default(),
        leader: lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.clone()),
    }
}

/// `Ready`, or the reason why not, with its message.
fn ready_word(conditions: &[Condition]) -> (String, Option<&str>) {
    match condition(conditions, "Ready") {
        Some(ready) if ready.status == "True" => ("Ready".into(), None),
        Some(ready) => (ready.reason.clone(), Some(&ready.message)),
        None => ("Unseen".into(), Some("nobody has said yet how it is")),
    }
}

fn pool_row(pool: &AgentPool, age: String, problems: &mut Vec<String>) -> PoolRow {
    let name = pool.name_any();
    let status = pool.status.clone().unwrap_or_default();
    let (state, why) = ready_word(&status.conditions);
    if let Some(why) = why {
        problems.push(format!("pool {name} is not ready ({state}): {why}"));
    }
    PoolRow {
        name,
        state,
        nodes: status.desired,
        ready: status.ready,
        updated: status.updated,
        memory: pool.spec.memory.as_str().into(),
        shards: pool.spec.shards,
        age,
    }
}

fn agent_row(snapshot: &Snapshot, agent: &Agent, age: String, problems: &mut Vec<String>) -> AgentRow {
    let name = agent.name_any();
    let status = agent.status.clone().unwrap_or_default();
    let (mut state, why) = ready_word(&status.conditions);
    let lease = agent_lease(&name);
    let fresh = snapshot.leases.as_ref().ok().and_then(|leases| is_fresh(leases, &lease, snapshot.now));
    let problem = if has_ended(agent) {
        None
    } else if fresh == Some(false) {
        state = "Silent".into();
        Some(format!(
            "agent {name} has not renewed its Lease, so it is cut off or gone: `kubectl get pods -o wide -n {} -l \
             app.kubernetes.io/component=agent`",
            snapshot.install_namespace
        ))
    } else {
        why.map(|why| format!("agent {name} is not ready ({state}): {why}"))
    };
    problems.extend(problem);
    let memory = status.memory.as_ref();
    AgentRow {
        name,
        state,
        id: agent.spec.id,
        agent_pool: agent.spec.agent_pool_name.clone().unwrap_or_default(),
        version: status.version.clone().unwrap_or_default(),
        resident_bytes: memory.map_or(0, |memory| memory.resident_bytes),
        lent: memory.map_or_else(|| "-".into(), |memory| memory.lent.as_str().into()),
        regions: status.regions.len(),
        attachments: status.regions.iter().map(|held| u64::from(held.attachments)).sum(),
        age,
    }
}

fn region_row(region: &Region, age: String, problems: &mut Vec<String>) -> RegionRow {
    let (namespace, name) = (region.namespace().unwrap_or_default(), region.name_any());
    let state = region_state(region);
    if state.word != "Ready" {
        let message = state.condition.map(|condition| format!(": {}", condition.message)).unwrap_or_default();
        let advice =
            region_advice(region, &state).map(|advice| format!("; what to do: {advice}")).unwrap_or_default();
        problems.push(format!("region {namespace}/{name} is not well ({}){message}{advice}", state.word));
    }
    let status = region.status.as_ref();
    let placement = status.and_then(|status| status.placement.as_ref());
    let mut homes: Vec<String> = Vec::new();
    for home in placement.map_or(&[][..], |placement| &placement.homes) {
        if !homes.contains(&home.agent) {
            homes.push(home.agent.clone());
        }
    }
    RegionRow {
        namespace,
        name,
        state: state.word,
        size: region.spec.size.as_str().into(),
        homes,
        epoch: placement.map(|placement| placement.epoch),
        attachments: status.and_then(|status| status.attachments).unwrap_or_default(),
        age,
    }
}

impl Overview {
    /// It for people. `namespaces`: whether regions are of more than one.
    pub(super) fn render(&self, namespaces: bool) -> String {
        let mut text = match &self.operator {
            Some(operator) => format!(
                "Operator {}/{}: {}/{} ready, image {}, leader {}\n",
                self.install_namespace,
                operator.name,
                operator.ready,
                operator.replicas,
                operator.image,
                operator.leader.as_deref().unwrap_or("unknown"),
            ),
            None => "Operator: none that could be seen\n".into(),
        };
        text = escape(text.trim_end()) + "\n";
        let tables = [
            (self.pools_table(), "No AgentPool."),
            (self.agents_table(), "No Agent."),
            (self.regions_table(namespaces), "No Region here."),
        ];
        for (table, none) in tables {
            text.push('\n');
            text.push_str(&if table.is_empty() { format!("{none}\n") } else { table.render() });
        }
        for (heading, sentences) in [("Not well:", &self.problems), ("Not looked at:", &self.unknown)] {
            if !sentences.is_empty() {
                text.push_str(&format!("\n{heading}\n"));
                text.extend(sentences.iter().map(|sentence| format!("- {}\n", escape(sentence))));
            }
        }
        text
    }

    fn pools_table(&self) -> Table {
        let mut table =
            Table::new(&["POOL", "STATE", "NODES", "READY", "UPDATED", "MEMORY", "SHARDS", "AGE"]);
        for row in &self.agent_pools {
            table.row([
                row.name.clone(),
                row.state.clone(),
                row.nodes.to_string(),
                row.ready.to_string(),
                row.updated.to_string(),
                row.memory.clone(),
                row.shards.to_string(),
                row.age.clone(),
            ]);
        }
        table
    }

    fn agents_table(&self) -> Table {
        let headings =
            ["AGENT", "STATE", "ID", "POOL", "VERSION", "RESIDENT", "LENT", "REGIONS", "ATTACHMENTS", "AGE"];
        let mut table = Table::new(&headings);
        for row in &self.agents {
            table.row([
                row.name.clone(),
                row.state.clone(),
                row.id.map_or_else(|| "-".into(), |id| id.to_string()),
                row.agent_pool.clone(),
                row.version.clone(),
                quantity::format(row.resident_bytes),
                row.lent.clone(),
                row.regions.to_string(),
                row.attachments.to_string(),
                row.age.clone(),
            ]);
        }
        table
    }

    fn regions_table(&self, namespaces: bool) -> Table {
        let mut table = Table::new(&["REGION", "STATE", "SIZE", "HOMES", "EPOCH", "ATTACHMENTS", "AGE"]);
        for row in &self.regions {
            let name = if namespaces { format!("{}/{}", row.namespace, row.name) } else { row.name.clone() };
            table.row([
                name,
                row.state.clone(),
                row.size.clone(),
                row.homes.join(","),
                row.epoch.map_or_else(|| "-".into(), |epoch| epoch.to_string()),
                row.attachments.to_string(),
                row.age.clone(),
            ]);
        }
        table
    }
}
