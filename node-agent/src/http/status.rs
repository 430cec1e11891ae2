//! The page `/status`, which `pagemesh get` reads.

use std::net::SocketAddr;

use pagemesh_crds::Home;
use pagemesh_protocol::AgentId;
use serde::Serialize;

use crate::control::{Attached, Control, RegionState, Survey};
use crate::shard::AttachmentId;

/// What there is on this node.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The agent's name.
    pub name: String,
    /// Its number.
    pub id: u16,
    /// Its release.
    pub version: &'static str,
    /// Its process.
    pub pid: u32,
    /// The other agents.
    pub peers: Vec<PeerStatus>,
    /// The declared regions.
    pub regions: Vec<RegionStatus>,
    /// Who is attached here.
    pub attachments: Vec<AttachmentStatus>,
}

/// Another agent.
#[derive(Clone, Debug, Serialize)]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u16,
    /// Where it is reached, if that is known.
    pub address: Option<SocketAddr>,
    /// Whether all shards are connected to it.
    pub connected: bool,
}

/// A declared region, seen from this node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Bytes of data.
    pub size: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// What a program may assume.
    pub consistency: &'static str,
    /// How copies are kept.
    pub coherence: &'static str,
    /// Number of its placement, if it has one.
    pub epoch: Option<u64>,
    /// Names of its homes.
    pub homes: Vec<String>,
    /// Names of the homes of before, while pages move from them.
    pub previous: Vec<String>,
    /// Number of the placement that this agent acts on, if the region is open here.
    pub acts_on: Option<u64>,
    /// Whether nothing moves to this agent any more under that placement.
    pub settled: bool,
    /// Whether programs can be attached to it here.
    pub ready: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Its pages on this node.
    pub pages: PageCounts,
    /// How many programs are attached to it on this node.
    pub attachments: usize,
}

/// Pages on a node, by state.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PageCounts {
    /// Pages that the node may read.
    pub shared: u64,
    /// Pages that the node may write.
    pub exclusive: u64,
}

/// An attached program.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentStatus {
    /// Number of the attachment.
    pub id: u64,
    /// The region, as `namespace/name`.
    pub region: String,
    /// The process; 0 if it cannot be seen from the agent's PID namespace.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its name.
    pub command: String,
    /// Its pod, as `namespace/name`, if it came by the volume of one.
    pub pod: Option<String>,
    /// Whether it may only read.
    pub read_only: bool,
    /// Why it may not have the region any more, if so.
    pub revoked: Option<String>,
    /// How much of the region it has mapped.
    pub mapped_bytes: u64,
}

impl Status {
    pub(super) fn of(control: &Control, survey: &Survey) -> Status {
        let attachments = control.attachments();
        let peer = |agent: pagemesh_crds::ValidAgent| PeerStatus {
            connected: survey.connected.contains(&AgentId(agent.id)),
            name: agent.name,
            id: agent.id,
            address: agent.address,
        };
        Status {
            name: control.me().name.clone(),
            id: control.me().id.0,
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            peers: control.peers().into_iter().map(peer).collect(),
            regions: control
                .regions()
                .into_iter()
                .map(|state| RegionStatus::of(state, survey, &attachments))
                .collect(),
            attachments: attachments.into_iter().map(AttachmentStatus::of).collect(),
        }
    }
}

impl RegionStatus {
    fn of(state: RegionState, survey: &Survey, attachments: &[(AttachmentId, Attached)]) -> RegionStatus {
        let RegionState { id, region, not_ready, problem: _, away: _, open: _ } = state;
        let survey = survey.regions.get(&id);
        let (shared, exclusive) = survey.map_or((0, 0), |r| (r.shared, r.exclusive));
        let placement = region.placement.as_ref();
        let names = |homes: &[Home]| homes.iter().map(|home| home.agent.clone()).collect();
        RegionStatus {
            namespace: region.namespace,
            name: region.name,
            size: region.size_bytes,
            page_size: region.page_size_bytes,
            consistency: region.consistency.name(),
            coherence: region.coherence.name(),
            epoch: placement.map(|placement| placement.epoch),
            homes: placement.map(|placement| names(&placement.homes)).unwrap_or_default(),
            previous: placement.map(|placement| names(&placement.previous)).unwrap_or_default(),
            acts_on: survey.map(|r| r.epoch),
            settled: survey.is_some_and(|r| r.settled),
            ready: not_ready.is_none(),
            reason: not_ready,
            pages: PageCounts { shared, exclusive },
            attachments: attachments.iter().filter(|(_, attached)| attached.id == id).count(),
        }
    }
}

impl AttachmentStatus {
    fn of((id, attached): (AttachmentId, Attached)) -> AttachmentStatus {
        let Attached {
            region,
            pid,
            uid,
            command,
            by_volume,
            read_only,
            revoked,
            mapped_bytes,
            id: _,
            pod: _,
        } = attached;
        let pod = by_volume.map(|by| format!("{}/{}", by.pod.namespace, by.pod.name));
        AttachmentStatus { id: id.0, region, pid, uid, command, pod, read_only, revoked, mapped_bytes }
    }
}
