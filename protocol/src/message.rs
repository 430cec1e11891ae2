//! What agents say to each other. `wire.rs` lays it out in bytes; docs/src/wire-protocol.md explains each field.

use serde::{Deserialize, Serialize};

use crate::{Access, AgentId, Incarnation, PageId, RequestId, Txn};

/// A message about one page, sent under one placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// The page that it is about.
    pub page: PageId,
    /// Epoch of the sender's placement of the page's region. A receiver in another epoch answers
    /// [`Body::Refused`] and does nothing else.
    pub epoch: u64,
    /// The rest.
    pub body: Body,
}

/// How a [`Body::Grant`] tells its receiver to come by the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fill {
    /// Nobody ever wrote the page: it is all zeros.
    Zero,
    /// The receiver has the current contents.
    Keep,
}

/// A transaction that is open while its page moves from one home to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Open {
    /// The transaction.
    pub txn: Txn,
    /// The request that it serves.
    pub req: RequestId,
    /// Who asked.
    pub requester: AgentId,
    /// For what.
    pub access: Access,
    /// How the requester comes by the contents when nobody is [`Roles::SOURCE`].
    pub fill: Fill,
    /// The requester is to say [`Body::TurnOver`].
    pub push: bool,
}

/// What an agent is to a page: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Roles(pub u8);

impl Roles {
    /// It has the contents for certain.
    pub const OWNER: Roles = Roles(1);
    /// It may have a read-only copy.
    pub const SHARER: Roles = Roles(2);
    /// It gets updates.
    pub const SUBSCRIBER: Roles = Roles(4);
    /// The open transaction takes the contents from it.
    pub const SOURCE: Roles = Roles(8);
    /// The open transaction takes its copy away.
    pub const INVALIDATED: Roles = Roles(16);
    /// The open transaction is for it.
    pub const REQUESTER: Roles = Roles(32);

    /// These roles and those.
    #[must_use]
    pub fn and(self, roles: Roles) -> Roles {
        Roles(self.0 | roles.0)
    }

    /// Whether it has all of `roles`.
    #[must_use]
    pub fn has(self, roles: Roles) -> bool {
        self.0 & roles.0 == roles.0
    }
}

/// The kinds of message. The comment of each says who sends it to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Body {
    /// Requester to home: I need this page. Sent again, unchanged but for `have`, whenever it may have been lost.
    Get {
        /// The requester's number for this request.
        req: RequestId,
        /// What it needs.
        access: Access,
        /// Version of the copy that the requester has now, or [`Txn::NONE`].
        have: Txn,
    },
    /// Home to the agent that has the contents: send them to `requester`, and for `Write` give the page up.
    Fetch {
        /// The home's transaction.
        txn: Txn,
        /// The request that it serves; [`RequestId::NONE`] when the home itself collects the contents for an update.
        req: RequestId,
        /// Where the contents go.
        requester: AgentId,
        /// `Read`: keep a read-only copy. `Write`: keep none but an aside, until [`Body::Release`].
        access: Access,
        /// How many [`Body::Ack`]s the requester has to await; handed on in [`Body::Data`].
        acks: u16,
        /// The requester is to say [`Body::TurnOver`]; handed on in [`Body::Data`].
        push: bool,
    },
    /// Home to a sharer: drop your copy and acknowledge to `requester`.
    Invalidate {
        /// The home's transaction.
        txn: Txn,
        /// The request that it serves.
        req: RequestId,
        /// Who waits for the acknowledgement.
        requester: AgentId,
    },
    /// Holder to requester, with the page's contents as payload.
    Data {
        /// The home's transaction.
        txn: Txn,
        /// The request that it answers.
        req: RequestId,
        /// What the requester may do with the page.
        access: Access,
        /// How many acknowledgements to await before using it.
        acks: u16,
        /// Version of the contents.
        version: Txn,
        /// Say [`Body::TurnOver`] when the turn ends.
        push: bool,
    },
    /// Former sharer to requester: my copy is gone.
    Ack {
        /// The home's transaction.
        txn: Txn,
        /// The request that it lets go on.
        req: RequestId,
    },
    /// Home to requester, without payload: the page is all zeros, or you have it.
    Grant {
        /// The home's transaction.
        txn: Txn,
        /// The request that it answers.
        req: RequestId,
        /// What the requester may do with the page.
        access: Access,
        /// Where the contents come from.
        fill: Fill,
        /// How many acknowledgements to await before using it.
        acks: u16,
        /// Version of the contents.
        version: Txn,
        /// Say [`Body::TurnOver`] when the turn ends.
        push: bool,
    },
    /// Requester to home: the request has been served, by this transaction.
    Done {
        /// The home's transaction.
        txn: Txn,
        /// The request.
        req: RequestId,
    },
    /// Home to requester, when messages may have been lost: if the request is not open any more, say [`Body::Done`].
    Probe {
        /// The home's transaction.
        txn: Txn,
        /// The request.
        req: RequestId,
    },
    /// Home to former holder: the new owner has the contents, forget your aside.
    Release {
        /// The transaction that took the page away.
        txn: Txn,
    },
    /// Former holder to home: I still keep an aside; may I forget it?
    Holding {
        /// The transaction that took the page away.
        txn: Txn,
    },
    /// Owner to home (`WriteUpdate`): my turn is over; pass the contents on to those who had the page.
    TurnOver {
        /// Version of the contents.
        version: Txn,
    },
    /// Home to subscriber (`WriteUpdate`), with the page's contents as payload: a read-only copy.
    Update {
        /// The home's transaction.
        txn: Txn,
        /// The read request that this answers, or [`RequestId::NONE`].
        req: RequestId,
        /// Version of the contents.
        version: Txn,
    },
    /// Subscriber to home (`WriteUpdate`): nobody here reads this page any more, send no updates.
    Unsubscribe,
    /// Receiver to sender: your message is of another epoch than mine (which this message's `epoch` tells; 0: I do
    /// not know the region), or I do not know yet what to say of the page, since it is moving here. Nothing was done;
    /// try again later.
    Refused,
    /// Any agent to its peer, first on every connection, about no page: I have left the connection before this one,
    /// and what I sent over it may be lost. Repeat what you wait for.
    Resumed,
    /// New home to previous home, when pages move: I have the entries of all pages that move from you to me and lie
    /// before this one; send those of this one and the next.
    Claim {
        /// Send that of this page alone: somebody waits for it.
        exact: bool,
    },
    /// Previous home to new home: what the directory says of the page. One [`Body::Member`] follows for each agent that
    /// it mentions.
    Entry {
        /// Version of the contents.
        version: Txn,
        /// The open transaction.
        open: Option<Open>,
    },
    /// Previous home to new home, behind the [`Body::Entry`] of the page.
    Member {
        /// An agent.
        agent: AgentId,
        /// Which life of it is meant.
        incarnation: Incarnation,
        /// What it is to the page.
        roles: Roles,
    },
    /// Previous home to new home, behind the entries that a [`Body::Claim`] of this page asked for.
    Claimed {
        /// As in the claim. Then you know the entry of this page, else those of all that move from me to you and lie
        /// from here up to `to`.
        exact: bool,
        /// The first page that this says nothing of. If it is this page, then nobody claimed: I still keep entries;
        /// may I forget them?
        to: u64,
        /// The last number that I have given to a transaction: begin yours behind it.
        last: Txn,
    },
    /// New home to previous home: I have the entries of all pages that move from you to me, forget them.
    Settled,
    /// Leaver to home, about the whole region: take over what I own, and let nothing of yours mention me.
    Leave {
        /// The leaver's number for this attempt to leave.
        req: RequestId,
        /// I still keep read-only copies.
        keep: bool,
    },
    /// Home to leaver, about the whole region.
    Left {
        /// The leaver's number for this attempt to leave.
        req: RequestId,
        /// You own nothing of mine and get no updates: drop the copies that you keep, and say so. Otherwise: nothing of
        /// mine mentions you.
        keep: bool,
    },
}

/// Who says a kind of message to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Anybody to the page's home.
    ToHome,
    /// The page's home to anybody.
    FromHome,
    /// Holder to requester.
    ToRequester,
    /// The page's home to its previous home.
    ToPreviousHome,
    /// The page's previous home to its home.
    FromPreviousHome,
    /// Leaver to any home of the region.
    ToHomes,
    /// Any home of the region to the leaver.
    FromHomes,
    /// About the connection or the epoch rather than a page: to be taken whatever the receiver knows of the page.
    Link,
}

impl Body {
    pub(crate) fn route(&self) -> Route {
        match self {
            Body::Get { .. }
            | Body::Done { .. }
            | Body::Holding { .. }
            | Body::TurnOver { .. }
            | Body::Unsubscribe => Route::ToHome,
            Body::Fetch { .. }
            | Body::Invalidate { .. }
            | Body::Grant { .. }
            | Body::Probe { .. }
            | Body::Release { .. }
            | Body::Update { .. } => Route::FromHome,
            Body::Data { .. } | Body::Ack { .. } => Route::ToRequester,
            Body::Claim { .. } | Body::Settled => Route::ToPreviousHome,
            Body::Entry { .. } | Body::Member { .. } | Body::Claimed { .. } => Route::FromPreviousHome,
            Body::Leave { .. } => Route::ToHomes,
            Body::Left { .. } => Route::FromHomes,
            Body::Refused | Body::Resumed => Route::Link,
        }
    }

    /// The agent that a home's demand is made for.
    pub(crate) fn requester(&self) -> Option<AgentId> {
        if let Body::Fetch { requester, .. } | Body::Invalidate { requester, .. } = *self {
            Some(requester)
        } else {
            None
        }
    }

    /// Whether the message is about many pages of the region or about none: its page is a position, and need not be one
    /// that the receiving shard serves.
    #[must_use]
    pub fn is_about_region(&self) -> bool {
        matches!(
            self,
            Body::Claim { .. }
                | Body::Claimed { .. }
                | Body::Settled
                | Body::Leave { .. }
                | Body::Left { .. }
                | Body::Refused
                | Body::Resumed
        )
    }

    /// Whether the page's contents travel with the message.
    #[must_use]
    pub fn has_payload(&self) -> bool {
        matches!(self, Body::Data { .. } | Body::Update { .. })
    }

    /// The kind's name in logs, metrics and scenario files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Body::Get { .. } => "get",
            Body::Fetch { .. } => "fetch",
            Body::Invalidate { .. } => "invalidate",
            Body::Data { .. } => "data",
            Body::Ack { .. } => "ack",
            Body::Grant { .. } => "grant",
            Body::Done { .. } => "done",
            Body::Probe { .. } => "probe",
            Body::Release { .. } => "release",
            Body::Holding { .. } => "holding",
            Body::TurnOver { .. } => "turn_over",
            Body::Update { .. } => "update",
            Body::Unsubscribe => "unsubscribe",
            Body::Refused => "refused",
            Body::Resumed => "resumed",
            Body::Claim { .. } => "claim",
            Body::Entry { .. } => "entry",
            Body::Member { .. } => "member",
            Body::Claimed { .. } => "claimed",
            Body::Settled => "settled",
            Body::Leave { .. } => "leave",
            Body::Left { .. } => "left",
        }
    }

    /// Every kind's [`name`](Body::name), in the order of the numbers on the wire.
    pub const NAMES: [&'static str; 22] = [
        "get",
        "fetch",
        "invalidate",
        "data",
        "ack",
        "grant",
        "done",
        "probe",
        "release",
        "holding",
        "turn_over",
        "update",
        "unsubscribe",
        "refused",
        "resumed",
        "claim",
        "entry",
        "member",
        "claimed",
        "settled",
        "leave",
        "left",
    ];
}
