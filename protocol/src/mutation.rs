//! Deliberate mistakes. The proofs in tests/ must catch every one of them, which shows that they could catch ours.

/// A mistake in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(not(feature = "mutations"), expect(unreachable_pub, reason = "public only with the feature"))]
pub enum Mutation {
    /// A sharer acknowledges an invalidation and drops its copy later.
    AckBeforeInvalidating,
    /// The home forgets one sharer when a write begins.
    SkipSharer,
    /// A request that may have been lost is not sent again.
    ForgetRetry,
    /// A home uses a transaction number again.
    ReuseTransaction,
    /// A home begins the next transaction while one is open.
    ServeWhileOpen,
    /// A holder frees its copy when it has sent it, not when it has arrived.
    FreeEarly,
    /// A writer goes on before all sharers have acknowledged.
    GrantBeforeAcks,
    /// A home takes its list of sharers for proof that a requester has the current contents.
    IgnoreVersion,
    /// A requester that is answered for the second time does not tell the home again that it is done.
    ForgetDone,
    /// A requester that is asked whether it is done does not answer.
    IgnoreProbe,
    /// A holder lets its programs write on when it has shared the page.
    KeepWritable,
    /// A home does not note down to whom it passes an update on.
    ForgetTargets,
    /// A demand that waited for the end of a turn is forgotten.
    ForgetDeferred,
    /// A message of another epoch is acted upon.
    IgnoreEpoch,
    /// A repeated demand is met although the page has come back since it was made.
    HeedThePast,
}

#[cfg(feature = "mutations")]
impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 15] = [
        Mutation::AckBeforeInvalidating,
        Mutation::SkipSharer,
        Mutation::ForgetRetry,
        Mutation::ReuseTransaction,
        Mutation::ServeWhileOpen,
        Mutation::FreeEarly,
        Mutation::GrantBeforeAcks,
        Mutation::IgnoreVersion,
        Mutation::ForgetDone,
        Mutation::IgnoreProbe,
        Mutation::KeepWritable,
        Mutation::ForgetTargets,
        Mutation::ForgetDeferred,
        Mutation::IgnoreEpoch,
        Mutation::HeedThePast,
    ];
}

#[cfg(feature = "mutations")]
impl crate::Node {
    /// Makes the node commit `mutation` from now on.
    pub fn mutate(&mut self, mutation: Mutation) {
        self.mutation = Some(mutation);
    }
}
