//! What goes into a [`Node`](crate::Node) and what comes out of it: two closed enums.

use serde::{Deserialize, Serialize};

use crate::{Access, AgentId, Incarnation, Message, PageId, Placement, RegionConfig, RegionId};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Input {
    /// A region was declared, or its placement or configuration changed. Only a greater epoch is heeded. A region may
    /// grow and its pages may move to other homes; what does not follow from what is known here is a [`Violation`].
    Region {
        /// The region.
        region: RegionId,
        /// Its size and coherence.
        config: RegionConfig,
        /// Who homes its pages.
        placement: Placement,
    },
    /// No program of this node is attached to the region any more, and this node homes none of its pages: give back
    /// all that is here, so that no directory mentions this node. Ends with [`Output::Left`], unless a fault on the
    /// region or a placement that makes this node a home cancels it; then there is no word of it any more.
    Leave {
        /// The region.
        region: RegionId,
    },
    /// The region was deleted and nobody is attached to it: forget all about it. The caller deletes its file, after
    /// the outputs of this step. If a region of the same id is declared later, then under a greater epoch.
    Drop {
        /// The region.
        region: RegionId,
    },
    /// A program on this node touched a page. May be repeated at will.
    Fault {
        /// The page.
        page: PageId,
        /// Whether it stored or loaded.
        access: Access,
    },
    /// A message arrived. Its payload, if it has one, stays with the caller: [`Output::Store`] refers to it.
    Message {
        /// The peer at the other end of the connection.
        from: AgentId,
        /// What it says.
        message: Message,
    },
    /// A connection to a peer was made. All that was sent before and has not arrived will never arrive.
    PeerUp {
        /// The peer.
        peer: AgentId,
        /// Its incarnation, from the handshake.
        incarnation: Incarnation,
    },
    /// The connection to a peer broke.
    PeerDown {
        /// The peer.
        peer: AgentId,
    },
    /// Time has passed: [`Node::deadline`](crate::Node::deadline) was reached.
    Tick,
}

/// Something to do, at once and in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Send a message over the connection to `to`, behind all that was sent before.
    Send {
        /// The receiver.
        to: AgentId,
        /// What to say.
        message: Message,
        /// Which bytes go with it.
        payload: Payload,
    },
    /// Write the payload of the message that was this step's input into the region file. No program sees it yet.
    Store {
        /// The page.
        page: PageId,
    },
    /// Write zeros into the region file, where the page has a hole. No program sees it yet.
    Zero {
        /// The page.
        page: PageId,
    },
    /// The page may now be accessed so by all programs of this node: map it where a fault waits, and wake.
    Map {
        /// The page.
        page: PageId,
        /// `Read`: write-protected. `Write`: writable.
        access: Access,
    },
    /// Map the page, write-protected, wherever this node's programs may read it next, without waiting for a fault.
    Premap {
        /// The page.
        page: PageId,
    },
    /// Write-protect the page in every program of this node.
    Protect {
        /// The page.
        page: PageId,
    },
    /// Write-protect the page everywhere, then copy it aside, then remove it from the region file, in this order.
    Take {
        /// The page.
        page: PageId,
    },
    /// Remove the page from the region file, and so from every program.
    Discard {
        /// The page.
        page: PageId,
    },
    /// Free the copy that [`Output::Take`] put aside.
    Forget {
        /// The page.
        page: PageId,
    },
    /// The region that was to be [left](Input::Leave) has been left: nothing of it is here, and no directory mentions
    /// this node.
    Left {
        /// The region.
        region: RegionId,
    },
    /// Drop this connection: who is at its other end must not be believed, at least not now. It may try again later,
    /// for [`Violation::OtherIncarnation`] holds only as long as something here refers to the one before.
    RefusePeer {
        /// The peer.
        peer: AgentId,
        /// Why.
        reason: Violation,
    },
    /// A peer or the configuration asked for what cannot be. Nothing was done. To be counted and logged.
    Violation {
        /// Who asked; this node itself for a wrong configuration.
        from: AgentId,
        /// What was wrong.
        reason: Violation,
    },
}

/// The bytes that go with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// None.
    None,
    /// The page as it is in the region file now.
    Page,
    /// The copy that [`Output::Take`] put aside.
    Aside,
}

/// What a peer or a configuration can get wrong. Checked once, at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Violation {
    /// A page outside its region.
    NoSuchPage,
    /// A message that only a page's home (or, while it moves, its previous home) may receive came to another agent.
    NotHome,
    /// A message that only a page's home (or, while it moves, its previous home) may send came from another agent.
    NotFromHome,
    /// A request for contents that this agent does not have.
    NotHeld,
    /// A sender or requester whose id is not below [`AgentId::LIMIT`].
    BadAgent,
    /// The peer came back without its memory, and something here still refers to the agent that it was.
    OtherIncarnation,
    /// A placement that does not follow from the one known here, so that directory entries would be lost.
    HomesMoved,
    /// A placement without homes.
    NoHomes,
    /// A region became smaller.
    Shrunk,
    /// A region is to be left by one of its homes.
    LeavesHome,
    /// A transaction's number that no home can have reached.
    BadTransaction,
}

impl Violation {
    /// Short name for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Violation::NoSuchPage => "no_such_page",
            Violation::NotHome => "not_home",
            Violation::NotFromHome => "not_from_home",
            Violation::NotHeld => "not_held",
            Violation::BadAgent => "bad_agent",
            Violation::OtherIncarnation => "other_incarnation",
            Violation::HomesMoved => "homes_moved",
            Violation::NoHomes => "no_homes",
            Violation::Shrunk => "shrunk",
            Violation::LeavesHome => "leaves_home",
            Violation::BadTransaction => "bad_transaction",
        }
    }
}
