//! What an Agent's status comes to.

use pagemesh_crds::Agent;

use super::conditions::condition;

/// Whether an agent has ended in good order. It renews no Lease then, and nothing is wrong with that; its object stays, with
/// its number, for the day its node lends memory again.
pub(crate) fn has_ended(agent: &Agent) -> bool {
    let conditions = agent.status.as_ref().map_or(&[][..], |status| &status.conditions);
    condition(conditions, "Ready").is_some_and(|ready| ready.reason == "Stopped")
}
