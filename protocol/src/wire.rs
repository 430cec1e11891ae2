//! Messages as bytes: 64 of them, little-endian, one cache line. docs/src/wire-protocol.md has the table.

use crate::{
    Access, AgentId, Body, Fill, Incarnation, Message, Open, PageId, RegionId, RequestId, Roles, Txn,
};

/// Bytes of every message, payload excluded.
pub const MESSAGE_LEN: usize = 64;

const PUSH: u8 = 1;
const KEEP: u8 = 2;
const EXACT: u8 = 4;

/// Why 64 bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// No message has this number.
    UnknownKind(u8),
    /// A field that this kind does not use is not zero, or a field has a value that does not exist.
    NotCanonical,
    /// A kind with a payload came without one, or the other way round.
    Payload,
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            DecodeError::UnknownKind(kind) => write!(f, "no message has kind {kind}"),
            DecodeError::NotCanonical => {
                f.write_str("a field has a value that its kind of message cannot have")
            }
            DecodeError::Payload => f.write_str("a payload is missing or out of place"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// The fields as they lie in the bytes; what a kind does not use is zero.
#[derive(Default)]
struct Fields {
    kind: u8,
    access: u8,
    flags: u8,
    roles: u8,
    txn: u64,
    req: u64,
    version: u64,
    requester: u16,
    acks: u16,
}

impl Message {
    /// Lays the message out, to be followed by `payload_len` bytes of page contents.
    #[must_use]
    pub fn encode(&self, payload_len: u32) -> [u8; MESSAGE_LEN] {
        let f = fields(&self.body);
        let mut b = [0; MESSAGE_LEN];
        b[0..4].copy_from_slice(&payload_len.to_le_bytes());
        (b[4], b[5], b[6], b[7]) = (f.kind, f.access, f.flags, f.roles);
        b[8..16].copy_from_slice(&self.page.region.0.to_le_bytes());
        b[16..24].copy_from_slice(&self.page.index.to_le_bytes());
        b[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        b[32..40].copy_from_slice(&f.txn.to_le_bytes());
        b[40..48].copy_from_slice(&f.req.to_le_bytes());
        b[48..56].copy_from_slice(&f.version.to_le_bytes());
        b[56..58].copy_from_slice(&f.requester.to_le_bytes());
        b[58..60].copy_from_slice(&f.acks.to_le_bytes());
        b
    }

    /// Reads a message and the length of the payload that follows it.
    ///
    /// # Errors
    /// Bytes that [`Message::encode`] would not have written.
    pub fn decode(b: &[u8; MESSAGE_LEN]) -> Result<(Message, u32), DecodeError> {
        let u16_at = |at: usize| u16::from_le_bytes([b[at], b[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let payload_len = u32_at(0);
        let body = body(&Fields {
            kind: b[4],
            access: b[5],
            flags: b[6],
            roles: b[7],
            txn: u64_at(32),
            req: u64_at(40),
            version: u64_at(48),
            requester: u16_at(56),
            acks: u16_at(58),
        })?;
        if body.has_payload() != (payload_len > 0) {
            return Err(DecodeError::Payload);
        }
        let page = PageId { region: RegionId(u64_at(8)), index: u64_at(16) };
        let message = Message { page, epoch: u64_at(24), body };
        // One rule instead of one per field: what does not encode to the same bytes was not ours.
        if message.encode(payload_len) == *b {
            Ok((message, payload_len))
        } else {
            Err(DecodeError::NotCanonical)
        }
    }
}

impl Body {
    /// The kind's number on the wire; also its place in [`Body::NAMES`].
    #[must_use]
    pub fn kind(&self) -> u8 {
        fields(self).kind
    }
}

fn flag(on: bool, bit: u8) -> u8 {
    if on { bit } else { 0 }
}

fn fields(body: &Body) -> Fields {
    let zero = Fields::default();
    match *body {
        Body::Get { req, access, have } => {
            Fields { kind: 0, access: access as u8, req: req.0, version: have.0, ..zero }
        }
        Body::Fetch { txn, req, requester, access, acks, push } => Fields {
            kind: 1,
            access: access as u8,
            flags: flag(push, PUSH),
            txn: txn.0,
            req: req.0,
            requester: requester.0,
            acks,
            ..zero
        },
        Body::Invalidate { txn, req, requester } => {
            Fields { kind: 2, txn: txn.0, req: req.0, requester: requester.0, ..zero }
        }
        Body::Data { txn, req, access, acks, version, push } => Fields {
            kind: 3,
            access: access as u8,
            flags: flag(push, PUSH),
            txn: txn.0,
            req: req.0,
            version: version.0,
            acks,
            ..zero
        },
        Body::Ack { txn, req } => Fields { kind: 4, txn: txn.0, req: req.0, ..zero },
        Body::Grant { txn, req, access, fill, acks, version, push } => Fields {
            kind: 5,
            access: access as u8,
            flags: flag(push, PUSH) | flag(fill == Fill::Keep, KEEP),
            txn: txn.0,
            req: req.0,
            version: version.0,
            acks,
            ..zero
        },
        Body::Done { txn, req } => Fields { kind: 6, txn: txn.0, req: req.0, ..zero },
        Body::Probe { txn, req } => Fields { kind: 7, txn: txn.0, req: req.0, ..zero },
        Body::Release { txn } => Fields { kind: 8, txn: txn.0, ..zero },
        Body::Holding { txn } => Fields { kind: 9, txn: txn.0, ..zero },
        Body::TurnOver { version } => Fields { kind: 10, version: version.0, ..zero },
        Body::Update { txn, req, version } => {
            Fields { kind: 11, txn: txn.0, req: req.0, version: version.0, ..zero }
        }
        Body::Unsubscribe => Fields { kind: 12, ..zero },
        Body::Refused => Fields { kind: 13, ..zero },
        Body::Resumed => Fields { kind: 14, ..zero },
        Body::Claim { exact } => Fields { kind: 15, flags: flag(exact, EXACT), ..zero },
        Body::Entry { version, open: None } => Fields { kind: 16, version: version.0, ..zero },
        Body::Entry { version, open: Some(Open { txn, req, requester, access, fill, push }) } => Fields {
            kind: 16,
            access: access as u8,
            flags: flag(push, PUSH) | flag(fill == Fill::Keep, KEEP),
            txn: txn.0,
            req: req.0,
            version: version.0,
            requester: requester.0,
            ..zero
        },
        Body::Member { agent, incarnation, roles } => {
            Fields { kind: 17, roles: roles.0, req: incarnation.0, requester: agent.0, ..zero }
        }
        Body::Claimed { exact, to, last } => {
            Fields { kind: 18, flags: flag(exact, EXACT), txn: last.0, version: to, ..zero }
        }
        Body::Settled => Fields { kind: 19, ..zero },
        Body::Leave { req, keep } => Fields { kind: 20, flags: flag(keep, KEEP), req: req.0, ..zero },
        Body::Left { req, keep } => Fields { kind: 21, flags: flag(keep, KEEP), req: req.0, ..zero },
    }
}

fn body(f: &Fields) -> Result<Body, DecodeError> {
    let access = match f.access {
        0 => Access::Read,
        1 => Access::Write,
        _ => return Err(DecodeError::NotCanonical),
    };
    let (txn, req, version) = (Txn(f.txn), RequestId(f.req), Txn(f.version));
    let (requester, acks, push) = (AgentId(f.requester), f.acks, f.flags & PUSH != 0);
    let (keep, exact) = (f.flags & KEEP != 0, f.flags & EXACT != 0);
    let fill = if keep { Fill::Keep } else { Fill::Zero };
    Ok(match f.kind {
        0 => Body::Get { req, access, have: version },
        1 => Body::Fetch { txn, req, requester, access, acks, push },
        2 => Body::Invalidate { txn, req, requester },
        3 => Body::Data { txn, req, access, acks, version, push },
        4 => Body::Ack { txn, req },
        5 => Body::Grant { txn, req, access, fill, acks, version, push },
        6 => Body::Done { txn, req },
        7 => Body::Probe { txn, req },
        8 => Body::Release { txn },
        9 => Body::Holding { txn },
        10 => Body::TurnOver { version },
        11 => Body::Update { txn, req, version },
        12 => Body::Unsubscribe,
        13 => Body::Refused,
        14 => Body::Resumed,
        15 => Body::Claim { exact },
        // There is no transaction 0.
        16 => Body::Entry {
            version,
            open: (txn != Txn::NONE).then_some(Open { txn, req, requester, access, fill, push }),
        },
        17 => Body::Member { agent: requester, incarnation: Incarnation(f.req), roles: Roles(f.roles) },
        18 => Body::Claimed { exact, to: f.version, last: txn },
        19 => Body::Settled,
        20 => Body::Leave { req, keep },
        21 => Body::Left { req, keep },
        kind => return Err(DecodeError::UnknownKind(kind)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> [Body; 22] {
        let (txn, req, version) = (Txn(7), RequestId(9), Txn(u64::MAX));
        let (requester, access) = (AgentId(1023), Access::Write);
        [
            Body::Get { req, access, have: version },
            Body::Fetch { txn, req, requester, access: Access::Read, acks: 513, push: true },
            Body::Invalidate { txn, req, requester },
            Body::Data { txn, req, access, acks: 2, version, push: false },
            Body::Ack { txn, req },
            Body::Grant { txn, req, access, fill: Fill::Keep, acks: 1, version, push: true },
            Body::Done { txn, req },
            Body::Probe { txn, req },
            Body::Release { txn },
            Body::Holding { txn },
            Body::TurnOver { version },
            Body::Update { txn, req, version },
            Body::Unsubscribe,
            Body::Refused,
            Body::Resumed,
            Body::Claim { exact: true },
            Body::Entry {
                version,
                open: Some(Open { txn, req, requester, access, fill: Fill::Keep, push: true }),
            },
            Body::Member {
                agent: requester,
                incarnation: Incarnation(u64::MAX),
                roles: Roles::OWNER.and(Roles::REQUESTER),
            },
            Body::Claimed { exact: true, to: 1 << 40, last: txn },
            Body::Settled,
            Body::Leave { req, keep: true },
            Body::Left { req, keep: false },
        ]
    }

    fn message(body: Body) -> (Message, u32) {
        let page = PageId { region: RegionId(0x0102_0304_0506_0708), index: 77 };
        (Message { page, epoch: 3, body }, if body.has_payload() { 4096 } else { 0 })
    }

    #[test]
    fn every_kind_comes_back_as_it_was_sent() {
        for (number, body) in samples().into_iter().enumerate() {
            let (m, len) = message(body);
            assert_eq!(Message::decode(&m.encode(len)), Ok((m, len)));
            assert_eq!(body.kind() as usize, number);
            assert_eq!(Body::NAMES[number], body.name());
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_means_something_else() {
        for body in samples() {
            let (m, len) = message(body);
            for at in 0..MESSAGE_LEN {
                for value in [1u8, 2, 0x80, 0xFF] {
                    let mut b = m.encode(len);
                    b[at] ^= value;
                    if let Ok(decoded) = Message::decode(&b) {
                        assert_ne!(decoded, (m, len), "byte {at} ^ {value:#x} went unnoticed in {m:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn payload_and_kind_must_agree() {
        for body in samples() {
            let (m, len) = message(body);
            let wrong = if len == 0 { 4096 } else { 0 };
            assert_eq!(Message::decode(&m.encode(wrong)), Err(DecodeError::Payload));
        }
    }

    #[test]
    fn unknown_kinds_are_named() {
        let (m, _) = message(Body::Refused);
        let mut b = m.encode(0);
        b[4] = 22;
        assert_eq!(Message::decode(&b), Err(DecodeError::UnknownKind(22)));
    }
}
