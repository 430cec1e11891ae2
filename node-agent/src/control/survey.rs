//! Asks every shard what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pagemesh_protocol::{AgentId, RegionId};
use tokio::sync::oneshot;

use super::Control;
use crate::shard::{Command, RegionReport, Report};

/// A shard that takes longer than this to answer is stuck: it answers between two batches of faults.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What all shards of this agent hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Peers that every shard is connected to.
    pub connected: BTreeSet<AgentId>,
    /// The regions that the shards know.
    pub regions: BTreeMap<RegionId, RegionSurvey>,
}

/// What all shards of this agent hold of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionSurvey {
    /// Pages that this node may read.
    pub shared: u64,
    /// Pages that this node may write.
    pub exclusive: u64,
    /// Epoch of the placement that all shards act on, at least.
    pub epoch: u64,
    /// Every shard has all directory entries that it should have under its placement.
    pub settled: bool,
}

/// Asks all shards at once and adds up what they say.
///
/// # Errors
///
/// The numbers of the shards that did not answer in time.
pub async fn survey(control: &Control) -> Result<Survey, Vec<usize>> {
    let ask = |shard: &crate::shard::ShardHandle| {
        let (reply, answer) = oneshot::channel();
        shard.send(Command::Report { reply });
        answer
    };
    let answers: Vec<_> = control.shards().iter().map(ask).collect();
    let deadline = tokio::time::Instant::now() + ANSWER_TIMEOUT;
    let mut reports = Vec::new();
    let mut silent = Vec::new();
    for (shard, answer) in answers.into_iter().enumerate() {
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(report)) => reports.push(report),
            // It did not answer, or its thread is gone.
            Err(_) | Ok(Err(_)) => silent.push(shard),
        }
    }
    if silent.is_empty() { Ok(sum(&reports)) } else { Err(silent) }
}

fn sum(reports: &[Report]) -> Survey {
    let mut survey = Survey::default();
    let everywhere = |peer: &AgentId| reports.iter().all(|report| report.peers.contains(peer));
    survey.connected = reports.iter().flat_map(|report| &report.peers).copied().filter(everywhere).collect();
    for region in reports.iter().flat_map(|report| &report.regions) {
        let RegionReport { region, shared, exclusive, epoch, settled } = *region;
        let all = survey.regions.entry(region).or_insert(RegionSurvey {
            shared: 0,
            exclusive: 0,
            epoch,
            settled: true,
        });
        (all.shared, all.exclusive) = (all.shared + shared, all.exclusive + exclusive);
        (all.epoch, all.settled) = (all.epoch.min(epoch), all.settled && settled);
    }
    survey
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_counts_as_connected_when_every_shard_says_so() {
        let region = |region, shared, exclusive, epoch, settled| {
            let region = RegionId(region);
            RegionReport { region, shared, exclusive, epoch, settled }
        };
        let report = |peers: &[u16], regions| Report {
            peers: peers.iter().map(|peer| AgentId(*peer)).collect(),
            regions,
            ..Report::default()
        };
        let survey = sum(&[
            report(&[1, 2], vec![region(7, 3, 1, 5, true), region(8, 1, 0, 1, true)]),
            report(&[2, 3], vec![region(7, 4, 2, 4, false)]),
        ]);
        assert_eq!(survey.connected, BTreeSet::from([AgentId(2)]));
        let seven = RegionSurvey { shared: 7, exclusive: 3, epoch: 4, settled: false };
        let eight = RegionSurvey { shared: 1, exclusive: 0, epoch: 1, settled: true };
        assert_eq!(survey.regions, BTreeMap::from([(RegionId(7), seven), (RegionId(8), eight)]));
    }
}
