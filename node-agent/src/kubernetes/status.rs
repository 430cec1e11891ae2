//! What is true of this agent, as its object says it. Pure.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use pagemesh_crds::{
    AgentMemory, AgentStatus, CONDITION_READY, HeldRegion, PreflightFinding, Quantity, Severity, quantity,
};

use crate::control::{Attached, RegionState};
use crate::observe::Observation;
use crate::preflight::{Finding, Level};

/// What the object takes at most, as its schema says: UIDs of pods of one region, regions, characters of texts.
const PODS_MAX: usize = 32;
const REGIONS_MAX: usize = 1024;
const MESSAGE_MAX: usize = 4096;
const PROBLEM_MAX: usize = 1024;

/// What an agent is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The node lacks something that an agent needs.
    PreflightFailed,
    /// The operator has not given it a number yet.
    WaitingForId,
    /// It serves.
    Serving,
    /// It serves, was told to end, and asks whether another agent follows on its node.
    Ending,
    /// It is about to end, and wants its homes moved elsewhere.
    Stopping,
    /// It has ended.
    Stopped,
}

impl Stage {
    /// The same for machines, as the condition `Ready` has it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Stage::PreflightFailed => "PreflightFailed",
            Stage::WaitingForId => "WaitingForId",
            Stage::Serving => "Serving",
            Stage::Ending => "Ending",
            Stage::Stopping => "Stopping",
            Stage::Stopped => "Stopped",
        }
    }

    /// One sentence for people.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Stage::PreflightFailed => "this node lacks what an agent needs: status.preflight says what to do",
            Stage::WaitingForId => "the operator has not given this agent its number (spec.id) yet",
            Stage::Serving => "programs that attach on this node are served",
            Stage::Ending => "the agent was told to end, and asks whether another one follows on its node",
            Stage::Stopping => "the agent is ending: its pages have to move to other agents",
            Stage::Stopped => "the agent has ended",
        }
    }
}

/// The memory that an agent lends, and what of it is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lent {
    /// All of it.
    pub bytes: u64,
    /// What the pages of regions take.
    pub resident_bytes: u64,
}

/// Makes one status after the other.
#[derive(Clone, Debug)]
pub struct StatusMaker {
    /// Where peers reach the agent.
    pub address: SocketAddr,
    /// Which of its lives this is.
    pub incarnation: String,
    /// The pod that it runs in.
    pub pod_name: String,
    /// How many shards it has.
    pub shards: u16,
    /// The condition of last time.
    condition: Option<Condition>,
}

impl StatusMaker {
    /// For an agent of which nothing has been said yet.
    #[must_use]
    pub fn new(address: SocketAddr, incarnation: String, pod_name: String, shards: u16) -> StatusMaker {
        StatusMaker { address, incarnation, pod_name, shards, condition: None }
    }

    /// What is true now.
    pub fn status(
        &mut self,
        now: Timestamp,
        stage: Stage,
        preflight: &[Finding],
        lent: Option<Lent>,
        observation: &Observation,
    ) -> AgentStatus {
        AgentStatus {
            address: Some(self.address.to_string()),
            incarnation: Some(self.incarnation.clone()),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            pod_name: Some(self.pod_name.clone()),
            shards: Some(self.shards),
            memory: lent.map(|lent| AgentMemory {
                lent: Quantity::from(quantity::format(lent.bytes).as_str()),
                resident_bytes: lent.resident_bytes,
            }),
            preflight: preflight.iter().filter_map(finding).collect(),
            regions: regions(observation),
            conditions: vec![self.condition(now, stage)],
        }
    }

    /// The time is that of the last change from ready to not ready or back.
    fn condition(&mut self, now: Timestamp, stage: Stage) -> Condition {
        let serves = matches!(stage, Stage::Serving | Stage::Ending);
        let status = if serves { "True" } else { "False" };
        let since = self.condition.take().filter(|last| last.status == status);
        let condition = Condition {
            type_: CONDITION_READY.into(),
            status: status.into(),
            reason: stage.reason().into(),
            message: stage.message().into(),
            last_transition_time: since.map_or(Time(now), |last| last.last_transition_time),
            observed_generation: None,
        };
        self.condition = Some(condition.clone());
        condition
    }
}

/// Homes first: those are what others wait for.
fn regions(observation: &Observation) -> Vec<HeldRegion> {
    let is_home = |state: &&RegionState| state.open.is_some_and(|open| open.home);
    let (homes, others): (Vec<_>, Vec<_>) = observation.regions.iter().partition(is_home);
    let all = homes.into_iter().chain(others);
    all.filter_map(|state| held(state, observation)).take(REGIONS_MAX).collect()
}

fn cut(text: String, max: usize) -> String {
    if text.chars().count() <= max { text } else { text.chars().take(max).collect() }
}

fn finding(finding: &Finding) -> Option<PreflightFinding> {
    let severity = match finding.level {
        Level::Ok => return None,
        Level::Warn => Severity::Warning,
        Level::Fail => Severity::Failure,
    };
    let advice = finding.advice.as_ref().map_or(String::new(), |advice| format!(": {advice}"));
    Some(PreflightFinding {
        name: finding.check.clone(),
        severity,
        message: cut(format!("{}{advice}", finding.found), MESSAGE_MAX),
    })
}

/// A region that is open here, or that should be and cannot.
fn held(state: &RegionState, observation: &Observation) -> Option<HeldRegion> {
    let RegionState { id, region, problem, away, open, not_ready: _ } = state;
    let survey = observation.survey.regions.get(id);
    // What the shards do not know any more was closed a moment ago.
    let open = open.filter(|_| survey.is_some());
    if open.is_none() && problem.is_none() {
        return None;
    }
    let attached: Vec<&Attached> =
        observation.attached.iter().filter(|attached| attached.id == *id).collect();
    let pods: BTreeSet<&String> = attached.iter().filter_map(|attached| attached.pod.as_ref()).collect();
    // A placement that the shards have not taken up is not confirmed.
    let refused = open.zip(survey).filter(|(open, survey)| survey.epoch < open.epoch).map(|(open, survey)| {
        format!(
            "the placement of epoch {} does not follow from that of epoch {}: give it `previous`, the homes of before",
            open.epoch, survey.epoch
        )
    });
    let wrong = problem.clone().or(refused);
    let settled = wrong.is_none() && survey.is_some_and(|survey| survey.settled);
    // That another agent is away is no reason to take back what this one has.
    let problem = wrong.or_else(|| away.clone()).map(|problem| cut(problem, PROBLEM_MAX));
    Some(HeldRegion {
        namespace: region.namespace.clone(),
        name: region.name.clone(),
        uid: region.uid.clone().unwrap_or_default(),
        epoch: survey.map_or(0, |survey| survey.epoch),
        observed_generation: region.generation,
        settled,
        attachments: u32::try_from(attached.len()).unwrap_or(u32::MAX),
        pods: pods.into_iter().take(PODS_MAX).cloned().collect(),
        resident_bytes: open.map_or(0, |open| open.resident_bytes),
        problem,
    })
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
