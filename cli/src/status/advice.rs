//! What to do about a condition. The operator's message says what it has found; this says which command goes on from there.

use pagemesh_crds::Region;

use crate::kubernetes::RegionState;

/// What to do about a region that is not well; `None` if it is, or only the operator's message knows.
pub(crate) fn region_advice(region: &Region, state: &RegionState<'_>) -> Option<String> {
    let name = region.metadata.name.as_deref().unwrap_or_default();
    let namespace = region.metadata.namespace.as_deref().unwrap_or_default();
    let edit = |patch: &str| {
        format!("`kubectl patch region {name} -n {namespace} --type merge -p '{{\"spec\":{{{patch}}}}}'`")
    };
    let reason =
        state.condition.filter(|_| state.word == "Degraded").map(|condition| condition.reason.as_str());
    let advice = match reason.unwrap_or(&state.word) {
        "Unseen" => "the operator has not looked at it: if it does not within seconds, `kubectl pagemesh check` says \
                     whether the operator runs"
            .into(),
        "Changed" => "the operator has not looked at its latest change: if it does not within seconds, \
                      `kubectl pagemesh check` says whether the operator runs"
            .into(),
        "Placing" => "wait a moment; the operator is choosing agents".into(),
        "Confirming" => format!(
            "wait a moment; if a home does not confirm, `kubectl pagemesh logs {name} -n {namespace}` says what it does"
        ),
        "Moving" => format!(
            "wait; its pages are moving, and programs go on meanwhile. `kubectl pagemesh status {name} -n {namespace}` \
             shows which homes have all of theirs"
        ),
        "UnknownClass" => "create the RegionClass that it names; `kubectl get regionclasses` lists those that there are \
                           (a Region's class never changes, so to take another one delete the Region and create it anew)"
            .into(),
        "UnknownPool" => format!(
            "create the AgentPool that it names, or choose one of `kubectl get agentpools`: {}",
            edit("\"agentPoolName\":\"POOL\"")
        ),
        "NoAgents" => "see `kubectl get agents` and `kubectl pagemesh check`: the pool needs a node that matches its \
                       selector and an agent there that is Ready"
            .into(),
        "NotEnoughAgents" => format!(
            "let more nodes match the pool's selector, or ask for fewer homes: {}",
            edit("\"homes\":1")
        ),
        "NotEnoughMemory" => format!(
            "let the pool lend more (`kubectl edit agentpool`, field spec.memory), add nodes to it, delete regions that \
             nobody needs, or spread this one over more homes: {}",
            edit("\"homes\":N")
        ),
        "ClassLimit" => format!(
            "stay within the limits of its class (`kubectl get regionclasses -o yaml`), or raise them; size and homes of \
             the region are changed by `kubectl edit region {name} -n {namespace}`"
        ),
        "InvalidSpec" => {
            format!("correct the field that the message names: `kubectl edit region {name} -n {namespace}`")
        }
        "CannotMove" => "add nodes to its pool, let the pool lend more memory, or uncordon the node; do not end the node \
                         before its pages have left it"
            .into(),
        "AgentProblem" => format!(
            "mend what the message says of the agent; `kubectl pagemesh logs {name} -n {namespace}` says more"
        ),
        "HomesLost" => format!(
            "accesses to the pages of that home wait. If its node or agent is only cut off, bring it back and they go on. \
             If its memory is lost, end the programs that use the region, delete it and create it anew \
             (`kubectl delete region {name} -n {namespace}`); what those pages held is gone"
        ),
        "Deleting" => "end the pods that the message names; it goes when nobody has it attached".into(),
        // A reason of a later operator: its message says what there is to say.
        _ => return None,
    };
    Some(advice)
}
