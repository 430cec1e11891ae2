//! When an agent is ready.

use std::collections::BTreeSet;

use pagemesh_protocol::AgentId;

use crate::config::{Me, Objects};

/// Why programs might wait if they were sent here now; nothing if they would not.
pub(super) fn reasons(me: &Me, objects: &Objects, connected: &BTreeSet<AgentId>) -> Vec<String> {
    let mut reasons = Vec::new();
    // The objects are read before the agent listens, so what is missing has not been written.
    if !objects.agents().any(|agent| agent.id == me.id.0) {
        reasons.push(format!("there is no Agent object for {} yet", me.name));
    }
    for agent in objects.agents().filter(|agent| agent.id != me.id.0) {
        if agent.address.is_none() {
            reasons.push(format!("agent {} has no status.address yet", agent.name));
        } else if !connected.contains(&AgentId(agent.id)) {
            reasons.push(format!("agent {} is not connected", agent.name));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Declared, Sources, accept};
    use pagemesh_crds::ValidAgent;

    fn objects(agents: &[(&str, u16, Option<&str>)]) -> Objects {
        let mut objects = Objects::default();
        for (name, id, address) in agents {
            let address = address.map(|address| address.parse().unwrap());
            let object =
                ValidAgent { name: (*name).into(), uid: None, id: *id, pool: None, address, ready: false };
            let declared = Declared { object, source: "a.yaml".into(), present: true };
            objects.agents.insert((*name).into(), declared);
        }
        objects
    }

    #[test]
    fn ready_means_that_all_declared_agents_are_connected() {
        let me = Me { name: "a".into(), id: AgentId(0) };
        let here = Some("127.0.0.1:1");
        let all = objects(&[("a", 0, None), ("b", 1, here), ("c", 2, None)]);
        for (objects, connected, expected) in [
            (&Objects::default(), vec![], vec!["there is no Agent object for a yet"]),
            (&objects(&[("a", 0, here)]), vec![], vec![]),
            (&all, vec![], vec!["agent b is not connected", "agent c has no status.address yet"]),
            (&all, vec![1], vec!["agent c has no status.address yet"]),
            (&objects(&[("a", 0, here), ("b", 1, here)]), vec![1], vec![]),
        ] {
            let connected = connected.into_iter().map(AgentId).collect();
            assert_eq!(reasons(&me, objects, &connected), expected);
        }
    }

    #[test]
    fn an_agent_that_was_removed_is_not_waited_for() {
        let me = Me { name: "a".into(), id: AgentId(0) };
        let before = objects(&[("a", 0, None), ("b", 1, Some("127.0.0.1:1"))]);
        let (mut after, _) = accept(&before, &Sources::new(), &me);
        after.agents.get_mut("a").unwrap().present = true;
        assert_eq!(reasons(&me, &after, &BTreeSet::new()), Vec::<String>::new());
    }
}
