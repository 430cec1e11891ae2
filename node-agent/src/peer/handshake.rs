//! The first 64 bytes in each direction of a connection: who speaks, and whether the two fit together.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic, the bytes `PAGEMESH` |
//! | 8 | 2 | protocol version |
//! | 10 | 2 | kind: 1 hello, 2 refusal |
//! | 12 | 2 | id of the sender |
//! | 14 | 2 | hello: id of the agent that it means to reach |
//! | 16 | 2 | hello: shard |
//! | 18 | 2 | hello: number of shards |
//! | 20 | 4 | refusal: bytes of UTF-8 text that follow, at most 256: one sentence for people |
//! | 24 | 8 | hello: incarnation of the sender |
//! | 32 | 8 | hello: number of the connection |
//! | 40 | 24 | zero |
//!
//! The dialling side says hello and awaits hello or a refusal, after which the refusing side closes. Magic, version,
//! kind and the refusal's text stay where they are in all versions, so that a refusal can always be read.
//!
//! The dialling side numbers its connections to each shard of a peer from 1; the other one repeats the number. It tells
//! which of two connections is the later one, whatever the order in which their handshakes end.

use pagemesh_protocol::{AgentId, Incarnation};
use thiserror::Error;

/// Version of handshake and messages. Agents of different versions refuse each other.
pub const PROTOCOL_VERSION: u16 = 1;

/// Bytes of a handshake packet.
pub const HANDSHAKE_LEN: usize = 64;

/// Bytes of the longest reason.
pub(super) const REASON_LEN_MAX: usize = 256;

const MAGIC: [u8; 8] = *b"PAGEMESH";
const HELLO: u16 = 1;
const REFUSAL: u16 = 2;

/// Who this agent is to its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub me: AgentId,
    /// Its life.
    pub incarnation: Incarnation,
    /// How many shards it has. All agents of a mesh have the same number.
    pub shards: u16,
}

/// What the dialling side says, and the answering side says back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) version: u16,
    pub(super) from: AgentId,
    pub(super) to: AgentId,
    pub(super) shard: u16,
    pub(super) shards: u16,
    pub(super) incarnation: Incarnation,
    pub(super) number: u64,
}

/// A handshake packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Hello(Hello),
    /// So many bytes of reason follow.
    Refusal(usize),
}

/// Why a handshake did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum HandshakeError {
    #[error("what answers there is not a pagemesh agent")]
    NotPagemesh,
    #[error("its handshake is malformed")]
    Malformed,
    #[error(
        "it speaks protocol version {theirs}, this agent {PROTOCOL_VERSION}: run the same release on both"
    )]
    Version { theirs: u16 },
    #[error("it has {theirs} shards, this agent {ours}: start all agents with the same --shards")]
    Shards { theirs: u16, ours: u16 },
    #[error("there is no shard {0}")]
    NoSuchShard(u16),
    #[error("agent {} cannot connect to itself: give each agent its own --id", .0.0)]
    Myself(AgentId),
    #[error("it looks for agent {}, this is agent {}: correct the address in the Agent object", .wanted.0, .me.0)]
    WrongAgent { wanted: AgentId, me: AgentId },
    #[error("agent {} is not known here: declare it by an Agent object", .0.0)]
    Unknown(AgentId),
    #[error("of two agents the one with the higher id connects, so agent {} must wait", .0.0)]
    WrongWay(AgentId),
    #[error("agent {} has lost its memory, and something here still refers to what it had: it is let in when that is gone", .0.0)]
    OtherIncarnation(AgentId),
}

impl Packet {
    pub(super) fn encode(&self, from: AgentId) -> [u8; HANDSHAKE_LEN] {
        let mut b = [0; HANDSHAKE_LEN];
        b[0..8].copy_from_slice(&MAGIC);
        b[8..10].copy_from_slice(&PROTOCOL_VERSION.to_le_bytes());
        b[12..14].copy_from_slice(&from.0.to_le_bytes());
        match self {
            Packet::Hello(hello) => {
                b[8..10].copy_from_slice(&hello.version.to_le_bytes());
                b[10..12].copy_from_slice(&HELLO.to_le_bytes());
                b[14..16].copy_from_slice(&hello.to.0.to_le_bytes());
                b[16..18].copy_from_slice(&hello.shard.to_le_bytes());
                b[18..20].copy_from_slice(&hello.shards.to_le_bytes());
                b[24..32].copy_from_slice(&hello.incarnation.0.to_le_bytes());
                b[32..40].copy_from_slice(&hello.number.to_le_bytes());
            }
            Packet::Refusal(len) => {
                b[10..12].copy_from_slice(&REFUSAL.to_le_bytes());
                b[20..24].copy_from_slice(&(*len as u32).to_le_bytes());
            }
        }
        b
    }

    pub(super) fn decode(b: &[u8; HANDSHAKE_LEN]) -> Result<Packet, HandshakeError> {
        let u16_at = |at: usize| u16::from_le_bytes([b[at], b[at + 1]]);
        if b[0..8] != MAGIC {
            return Err(HandshakeError::NotPagemesh);
        }
        let (version, kind) = (u16_at(8), u16_at(10));
        if kind == REFUSAL {
            let len = u32::from_le_bytes([b[20], b[21], b[22], b[23]]) as usize;
            return Ok(Packet::Refusal(len.min(REASON_LEN_MAX)));
        }
        if version != PROTOCOL_VERSION {
            return Err(HandshakeError::Version { theirs: version });
        }
        let u64_at = |at: usize| (0..4).map(|i| u64::from(u16_at(at + 2 * i)) << (16 * i)).sum();
        let hello = Hello {
            version,
            from: AgentId(u16_at(12)),
            to: AgentId(u16_at(14)),
            shard: u16_at(16),
            shards: u16_at(18),
            incarnation: Incarnation(u64_at(24)),
            number: u64_at(32),
        };
        let packet = Packet::Hello(hello);
        if kind == HELLO && hello.number > 0 && packet.encode(hello.from) == *b {
            Ok(packet)
        } else {
            Err(HandshakeError::Malformed)
        }
    }
}

impl Identity {
    /// What this agent says first on the connection for `shard` to `to` that has this number.
    pub(super) fn hello(&self, to: AgentId, shard: u16, number: u64) -> Hello {
        let Identity { me, incarnation, shards } = *self;
        Hello { version: PROTOCOL_VERSION, from: me, to, shard, shards, incarnation, number }
    }

    /// Whether the other side fits to this one. Who it is, is for the caller to judge.
    pub(super) fn fits(&self, hello: &Hello) -> Result<(), HandshakeError> {
        if hello.from == self.me {
            Err(HandshakeError::Myself(self.me))
        } else if hello.to != self.me {
            Err(HandshakeError::WrongAgent { wanted: hello.to, me: self.me })
        } else if hello.shards != self.shards {
            Err(HandshakeError::Shards { theirs: hello.shards, ours: self.shards })
        } else if hello.shard >= self.shards {
            Err(HandshakeError::NoSuchShard(hello.shard))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Identity = Identity { me: AgentId(3), incarnation: Incarnation(u64::MAX - 1), shards: 2 };

    fn hello() -> Hello {
        Identity { me: AgentId(5), ..ME }.hello(AgentId(3), 1, u64::MAX - 2)
    }

    #[test]
    fn packets_come_back_as_they_were_sent() {
        for packet in [Packet::Hello(hello()), Packet::Refusal(77)] {
            assert_eq!(Packet::decode(&packet.encode(AgentId(5))), Ok(packet));
        }
    }

    #[test]
    fn hostile_packets_are_refused() {
        let good = Packet::Hello(hello()).encode(AgentId(5));
        assert_eq!(Packet::decode(&[0; HANDSHAKE_LEN]), Err(HandshakeError::NotPagemesh));
        for (at, want) in [
            (8, HandshakeError::Version { theirs: PROTOCOL_VERSION ^ 0x80 }),
            (11, HandshakeError::Malformed),
            (20, HandshakeError::Malformed),
            (40, HandshakeError::Malformed),
        ] {
            let mut bad = good;
            bad[at] ^= 0x80;
            assert_eq!(Packet::decode(&bad), Err(want), "byte {at}");
        }
        let unnumbered = Packet::Hello(Hello { number: 0, ..hello() }).encode(AgentId(5));
        assert_eq!(Packet::decode(&unnumbered), Err(HandshakeError::Malformed));
        let long = Packet::Refusal(usize::from(u16::MAX)).encode(AgentId(5));
        assert_eq!(Packet::decode(&long), Ok(Packet::Refusal(REASON_LEN_MAX)));
    }

    #[test]
    fn agents_that_do_not_fit_say_why() {
        let fits = |change: fn(&mut Hello)| {
            let mut hello = hello();
            change(&mut hello);
            ME.fits(&hello).map_err(|e| e.to_string())
        };
        assert_eq!(fits(|_| ()), Ok(()));
        for (change, reason) in [
            ((|h| h.from = AgentId(3)) as fn(&mut Hello), "itself"),
            (|h| h.to = AgentId(4), "looks for agent 4"),
            (|h| h.shards = 4, "--shards"),
            (|h| h.shard = 2, "no shard 2"),
        ] {
            let error = fits(change).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
