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
    /// A new home serves a page whose entry is not there yet.
    ServeUnknown,
    /// A new home does not number its transactions behind those of the previous one.
    KeepCounting,
    /// A previous home goes on with the pages that have moved away.
    KeepDirectory,
    /// A previous home does not say who shares a page.
    ForgetSharers,
    /// A previous home does not say which transaction is open.
    ForgetOpen,
    /// A home that has all entries does not say so.
    ForgetSettled,
    /// A home answers a leaver before it has taken over what that owns.
    LetGoEarly,
    /// A leaver says that it has dropped its copies, and keeps them.
    KeepCopies,
    /// A home forgets an agent that has come back.
    ForgetReturned,
    /// An agent that lost its memory is let in although something refers to the one before.
    AcceptAnyLife,
}

#[cfg(feature = "mutations")]
impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 25] = [
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
        Mutation::ServeUnknown,
        Mutation::KeepCounting,
        Mutation::KeepDirectory,
        Mutation::ForgetSharers,
        Mutation::ForgetOpen,
        Mutation::ForgetSettled,
        Mutation::LetGoEarly,
        Mutation::KeepCopies,
        Mutation::ForgetReturned,
        Mutation::AcceptAnyLife,
    ];
}

#[cfg(feature = "mutations")]
impl crate::Node {
    /// Makes the node commit `mutation` from now on.
    pub fn mutate(&mut self, mutation: Mutation) {
        self.mutation = Some(mutation);
    }
}
