//! What the control path (tokio) and the shards (plain threads) say to each other. Nothing here is on the fault path.

use std::net::TcpStream;
use std::sync::Arc;

use pagemesh_protocol::{AgentId, Incarnation, Placement, RegionConfig, RegionId};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Counts;
use crate::memory::RegionFile;
use crate::uffd::Uffd;

/// Number of an attachment: one process attached to one region of this node. Never used twice in an agent's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachmentId(pub u64);

/// A span of a program's address space that maps a span of a region's file. All three in bytes, multiples of the
/// region's page size (`base`: of 4096).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Address in the program.
    pub base: u64,
    /// Length.
    pub len: u64,
    /// Offset in the region file.
    pub offset: u64,
}

/// From the control path to a shard. A shard answers a `done` or `reply` sender when the command has taken effect.
#[derive(Debug)]
pub enum Command {
    /// A region was declared or changed. Sent before the first attachment to it, and again when it has grown, when its
    /// file has grown already.
    Region {
        /// Its identity.
        region: RegionId,
        /// Its memory on this node.
        file: Arc<RegionFile>,
        /// Bytes of a page: a power of two from 4 KiB to 2 MiB.
        page_size: u32,
        /// Size in pages (header page included) and coherence.
        config: RegionConfig,
        /// Who homes it.
        placement: Placement,
    },
    /// A region that an earlier process has served. Its pages are where they were.
    Reopen {
        /// Its identity.
        region: RegionId,
        /// Its memory on this node.
        file: Arc<RegionFile>,
        /// Bytes of a page.
        page_size: u32,
    },
    /// All that an earlier process has served has been told: go on where it ended.
    TakeOver,
    /// Nobody here is attached to the region, and this agent is no home of it: give back what is here of it. Answered by
    /// [`Event::Left`], unless a fault or a new placement gets in between.
    Leave {
        /// The region.
        region: RegionId,
        /// Told again in the answer.
        attempt: u64,
    },
    /// The region was deleted, or has been left: forget it, with whoever is still attached to it.
    Drop {
        /// The region.
        region: RegionId,
    },
    /// A program attached; `uffd` is this shard's userfaultfd of it, with nothing registered yet.
    Bind {
        /// The attachment.
        attachment: AttachmentId,
        /// What it is attached to.
        region: RegionId,
        /// Its userfaultfd for this shard.
        uffd: Arc<Uffd>,
        /// What it maps is private, of a file that was opened to read.
        read_only: bool,
        /// Where this shard counts its faults.
        counts: Arc<Counts>,
    },
    /// The program may not have the region any more: take it away, and answer each access with a SIGBUS from now on. It
    /// stays bound, since what it knows may outlive its connection.
    Revoke {
        /// The attachment.
        attachment: AttachmentId,
    },
    /// The program has mapped `range`, and the shard's part of it has been registered with its userfaultfd.
    Map {
        /// The attachment.
        attachment: AttachmentId,
        /// What was mapped.
        range: Range,
        /// Answered when faults in it will be served.
        done: oneshot::Sender<()>,
    },
    /// The program is about to unmap this span, which may cover parts of what it mapped.
    Unmap {
        /// The attachment.
        attachment: AttachmentId,
        /// Address.
        base: u64,
        /// Length in bytes.
        len: u64,
        /// Answered when it is forgotten.
        done: oneshot::Sender<()>,
    },
    /// The program is gone or must go.
    Detach {
        /// The attachment.
        attachment: AttachmentId,
    },
    /// A connection to the same shard of a peer, after the handshake. It replaces an earlier one, and is dropped if a
    /// later one is here already.
    Peer {
        /// The peer.
        peer: AgentId,
        /// Its incarnation.
        incarnation: Incarnation,
        /// Its number: greater than those of all earlier ones, from 1.
        number: u64,
        /// The connection; the shard makes it non-blocking.
        stream: TcpStream,
    },
    /// Tell what there is, for `pagemesh get` and metrics.
    Report {
        /// Takes the answer.
        reply: oneshot::Sender<Report>,
    },
    /// End the thread.
    Stop,
}

/// From a shard to the control path.
#[derive(Debug)]
pub enum Event {
    /// The connection to a peer is gone; the side that dials does so again.
    PeerLost {
        /// Which shard lost it.
        shard: u16,
        /// The peer.
        peer: AgentId,
        /// Why, for the log.
        reason: String,
        /// The peer must not be believed yet: something here still refers to an earlier life of it.
        refused: bool,
    },
    /// A region has been left, as [`Command::Leave`] asked for.
    Left {
        /// Which shard has left it.
        shard: u16,
        /// The region.
        region: RegionId,
        /// The number of the attempt.
        attempt: u64,
    },
    /// The shard gave up an attachment: its process is gone, or it broke the rules.
    AttachmentEnded {
        /// Which one.
        attachment: AttachmentId,
        /// Why, for the log.
        reason: String,
    },
}

/// What a shard holds.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Per region: pages by state on this node.
    pub regions: Vec<RegionReport>,
    /// Peers that this shard is connected to.
    pub peers: Vec<AgentId>,
    /// Transactions and requests under way.
    pub in_flight: usize,
    /// Allocations of the shard's thread before this.
    #[cfg(test)]
    pub allocations: u64,
}

/// Pages of one region in one shard of this node.
#[derive(Clone, Copy, Debug)]
pub struct RegionReport {
    /// The region.
    pub region: RegionId,
    /// Pages that this node may read.
    pub shared: u64,
    /// Pages that this node may write.
    pub exclusive: u64,
    /// Epoch of the placement that the shard acts on.
    pub epoch: u64,
    /// The shard has the directory entries of all pages that are homed here under that placement.
    pub settled: bool,
}
