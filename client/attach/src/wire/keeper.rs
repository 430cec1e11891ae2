//! What a keeper and its agent say to each other, in bytes.

use super::{PACKET_MAX, Reason, Refusal, Reply, TEXT_MAX, WireError, kind, u32_at, u64_at};
use crate::RegionName;

const KEPT: u16 = 10;
const RELEASED: u16 = 11;
const STATE: u16 = 12;
const COUNTS: u16 = 14;
const LIFE: u16 = 15;

/// `Keep`: this connection is a keeper's.
pub const KEEP: [u8; 8] = *b"PMSH\x01\0\x09\0";
/// `Ask`: can every region of this volume be attached now?
pub const ASK: [u8; 8] = *b"PMSH\x01\0\x0d\0";

/// What the agent says to a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Who tells. The first packet after `Keep`.
    Life {
        /// The agent's life, which goes on when a successor takes over.
        life: u64,
        /// The agent's process: another one has counted nothing yet.
        process: u64,
    },
    /// Hold the descriptors that come with it.
    Kept {
        /// Number of the attachment.
        attachment: u64,
        /// Its region.
        region: RegionName,
    },
    /// The attachment has ended: let go.
    Released {
        /// Its number.
        attachment: u64,
    },
    /// Whether every region of the volume can be attached now. The first one after `Keep` also says that all attachments have
    /// been told.
    State {
        /// Why not.
        trouble: Option<Refusal>,
    },
    /// What an attachment's faults have cost in this process of the agent.
    Counts {
        /// Its number.
        attachment: u64,
        /// The costs.
        counted: Counted,
    },
    /// No.
    Refuse(Refusal),
}

/// What faults have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Page faults that were served.
    pub faults: u64,
    /// Bytes of the pages that were mapped for them.
    pub bytes: u64,
    /// For how long they waited.
    pub wait_nanos: u64,
}

impl Told {
    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// Whatever is not exactly what the contract says.
    pub fn decode(packet: &[u8]) -> Result<Told, WireError> {
        Ok(match (kind(packet)?, packet.len()) {
            (LIFE, 24) => Told::Life { life: u64_at(packet, 8), process: u64_at(packet, 16) },
            (KEPT, PACKET_MAX) => {
                let name = packet[24..].get(..u32_at(packet, 16) as usize).ok_or(WireError::Region)?;
                let region = RegionName::new(name).map_err(|_| WireError::Region)?;
                Told::Kept { attachment: u64_at(packet, 8), region }
            }
            (RELEASED, 16) => Told::Released { attachment: u64_at(packet, 8) },
            (STATE, PACKET_MAX) => {
                let ready = u32_at(packet, 8) & 1 != 0;
                let trouble = (!ready).then(|| {
                    let mut text = [0; TEXT_MAX];
                    text.copy_from_slice(&packet[16..]);
                    let len = u32_at(packet, 12).min(TEXT_MAX as u32) as u16;
                    Refusal { reason: Reason::NotReady, text, len }
                });
                Told::State { trouble }
            }
            (COUNTS, 40) => {
                let [attachment, faults, bytes, wait_nanos] = [8, 16, 24, 32].map(|at| u64_at(packet, at));
                Told::Counts { attachment, counted: Counted { faults, bytes, wait_nanos } }
            }
            _ => match Reply::decode(packet)? {
                Reply::Refuse(refusal) => Told::Refuse(refusal),
                Reply::Welcome(_) | Reply::Ok => return Err(WireError::Unexpected),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, length: usize) -> Vec<u8> {
        let mut packet = vec![0; length];
        packet[..8].copy_from_slice(&[b'P', b'M', b'S', b'H', 1, 0, kind, 0]);
        packet
    }

    #[test]
    fn what_is_told_is_read() {
        let mut kept = packet(10, 272);
        kept[8] = 7;
        kept[16] = 10;
        kept[24..34].copy_from_slice(b"team/table");
        let region = RegionName::new(b"team/table").unwrap();
        assert_eq!(Told::decode(&kept), Ok(Told::Kept { attachment: 7, region }));
        assert_eq!(Told::decode(&packet(11, 16)), Ok(Told::Released { attachment: 0 }));
        assert_eq!(Told::decode(&packet(15, 24)), Ok(Told::Life { life: 0, process: 0 }));
        let mut counts = packet(14, 40);
        (counts[8], counts[16], counts[24], counts[32]) = (1, 2, 3, 4);
        let counted = Counted { faults: 2, bytes: 3, wait_nanos: 4 };
        assert_eq!(Told::decode(&counts), Ok(Told::Counts { attachment: 1, counted }));
        let mut state = packet(12, 272);
        state[12] = 2;
        state[16..20].copy_from_slice(b"no!!");
        let Ok(Told::State { trouble: Some(trouble) }) = Told::decode(&state) else { panic!("not a state") };
        assert_eq!(trouble.text(), "no");
        // Other bits are of a later release.
        state[8] = 0xff;
        assert_eq!(Told::decode(&state), Ok(Told::State { trouble: None }));
    }

    #[test]
    fn hostile_packets_are_refused() {
        for (kind, want) in [(10, 272), (11, 16), (12, 272), (14, 40), (15, 24)] {
            for length in (8..=280).filter(|length| *length != want) {
                let told = Told::decode(&packet(kind, length));
                assert_eq!(told, Err(WireError::Shape { kind: kind.into(), length }));
            }
        }
        for (length, name) in
            [(u32::MAX, &b"table"[..]), (249, b"table"), (0, b""), (3, b"a\"b"), (3, b"a\nb")]
        {
            let mut kept = packet(10, 272);
            kept[16..20].copy_from_slice(&length.to_le_bytes());
            kept[24..24 + name.len()].copy_from_slice(name);
            assert_eq!(Told::decode(&kept), Err(WireError::Region), "{length} {name:?}");
        }
        let mut state = packet(12, 272);
        state[12..].fill(0xff);
        let Ok(Told::State { trouble: Some(trouble) }) = Told::decode(&state) else { panic!("not a state") };
        assert_eq!(trouble.text(), "(its reason is not text)");
        assert_eq!(Told::decode(&packet(7, 8)), Err(WireError::Unexpected));
    }
}
