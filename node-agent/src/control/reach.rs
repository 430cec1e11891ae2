//! Which agents cannot be reached from here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pagemesh_protocol::AgentId;

use crate::config::Objects;

/// For how long an agent is not connected until programs are told: connections break, and agents are started again.
const AWAY_MIN: Duration = Duration::from_secs(10);

/// The agents that are not connected.
#[derive(Debug, Default)]
pub(super) struct Reach {
    since: BTreeMap<AgentId, Instant>,
    /// Those of them that have not been for long.
    away: BTreeSet<AgentId>,
}

impl Reach {
    /// Takes note of who is connected of all others.
    pub(super) fn note(
        &mut self,
        others: impl Iterator<Item = AgentId>,
        connected: &BTreeSet<AgentId>,
        now: Instant,
    ) {
        let before = std::mem::take(&mut self.since);
        let missing = others.filter(|agent| !connected.contains(agent));
        self.since = missing.map(|agent| (agent, before.get(&agent).copied().unwrap_or(now))).collect();
        let long = self.since.iter().filter(|(_, since)| now.duration_since(**since) >= AWAY_MIN);
        self.away = long.map(|(agent, _)| *agent).collect();
    }

    /// Why a region with these homes cannot be used here, if some of them are away.
    pub(super) fn trouble(&self, homes: &[AgentId], objects: &Objects) -> Option<String> {
        let away = objects.agents().filter(|agent| {
            let id = AgentId(agent.id);
            self.away.contains(&id) && homes.contains(&id)
        });
        let names: Vec<&str> = away.map(|agent| agent.name.as_str()).collect();
        (!names.is_empty()).then(|| {
            format!(
                "no connection to its home {}: programs would wait for the pages there. If the agent there runs, it does not \
                 let this one in as long as something there refers to an earlier life of this one, which its log says; that \
                 ends with the region",
                names.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_away_that_has_not_been_connected_for_long() {
        let start = Instant::now();
        let mut reach = Reach::default();
        let mut away = |seconds, others: &[u16], connected: &[u16]| {
            let ids = |ids: &[u16]| ids.iter().copied().map(AgentId).collect::<BTreeSet<_>>();
            let now = start + Duration::from_secs(seconds);
            reach.note(ids(others).into_iter(), &ids(connected), now);
            reach.away.iter().map(|agent| agent.0).collect::<Vec<_>>()
        };
        assert_eq!(away(0, &[1, 2, 3], &[1]), [0; 0]);
        assert_eq!(away(9, &[1, 2, 3], &[1]), [0; 0]);
        assert_eq!(away(10, &[1, 2, 3], &[]), [2, 3]);
        assert_eq!(away(11, &[1, 2], &[2]), [0; 0]);
        assert_eq!(away(15, &[1, 2, 3], &[2]), [0; 0]);
        assert_eq!(away(20, &[1, 2, 3], &[2]), [1], "that one was declared anew");
    }
}
