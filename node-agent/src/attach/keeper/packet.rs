//! What a keeper is told, in bytes: docs/src/attach-protocol.md is the contract.

use super::super::packet::{TEXT_MAX, cut, header};
use crate::shard::Counted;

const KEPT: u16 = 10;
const RELEASED: u16 = 11;
const STATE: u16 = 12;
const COUNTS: u16 = 14;
const LIFE: u16 = 15;

/// What the agent says to a keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Who tells. The first packet after `Keep`.
    Life {
        /// The agent's life, which goes on when a successor takes over.
        life: u64,
        /// The agent's process: another one has counted nothing yet.
        process: u64,
    },
    /// Hold the descriptors that come with it: the region file, then the userfaultfds.
    Kept {
        /// Number of the attachment.
        attachment: u64,
        /// Its region, as `namespace/name`.
        region: String,
    },
    /// The attachment has ended: let go.
    Released {
        /// Its number.
        attachment: u64,
    },
    /// Whether every region of the volume can be attached now. The first one after `Keep` also says that all attachments have
    /// been told.
    State {
        /// Why not, as a sentence.
        trouble: Option<String>,
    },
    /// What an attachment's faults have cost in this process of the agent.
    Counts {
        /// Its number.
        attachment: u64,
        /// Since it was attached, or taken up.
        counted: Counted,
    },
}

impl Told {
    /// The packet's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Told::Life { life, process } => numbers(LIFE, &[*life, *process]),
            Told::Kept { attachment, region } => {
                let mut packet = header(KEPT, 24 + TEXT_MAX - 8);
                packet[8..16].copy_from_slice(&attachment.to_le_bytes());
                packet[16..20].copy_from_slice(&(region.len() as u32).to_le_bytes());
                // Names are of 127 bytes at most.
                packet[24..24 + region.len()].copy_from_slice(region.as_bytes());
                packet
            }
            Told::Released { attachment } => numbers(RELEASED, &[*attachment]),
            Told::State { trouble } => {
                let text = cut(trouble.as_deref().unwrap_or_default());
                let mut packet = header(STATE, 16 + TEXT_MAX);
                packet[8] = u8::from(trouble.is_none());
                packet[12..16].copy_from_slice(&(text.len() as u32).to_le_bytes());
                packet[16..16 + text.len()].copy_from_slice(text.as_bytes());
                packet
            }
            Told::Counts { attachment, counted: Counted { faults, bytes, wait_nanos } } => {
                numbers(COUNTS, &[*attachment, *faults, *bytes, *wait_nanos])
            }
        }
    }
}

fn numbers(kind: u16, numbers: &[u64]) -> Vec<u8> {
    let mut packet = header(kind, 8 + 8 * numbers.len());
    for (field, number) in packet[8..].chunks_exact_mut(8).zip(numbers) {
        field.copy_from_slice(&number.to_le_bytes());
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_has_the_documented_layout() {
        let kept = Told::Kept { attachment: 0x0102, region: "team/table".into() }.encode();
        assert_eq!(kept.len(), 272);
        assert_eq!(kept[..34], *b"PMSH\x01\0\x0a\0\x02\x01\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0team/table");
        assert!(kept[34..].iter().all(|byte| *byte == 0));

        assert_eq!(Told::Released { attachment: 9 }.encode(), *b"PMSH\x01\0\x0b\0\x09\0\0\0\0\0\0\0");

        let ready = Told::State { trouble: None }.encode();
        assert_eq!(ready.len(), 272);
        assert_eq!(ready[..16], *b"PMSH\x01\0\x0c\0\x01\0\0\0\0\0\0\0");
        let not_ready = Told::State { trouble: Some("no".into()) }.encode();
        assert_eq!(not_ready[..18], *b"PMSH\x01\0\x0c\0\0\0\0\0\x02\0\0\0no");

        let counted = Counted { faults: 1, bytes: 2, wait_nanos: 3 };
        assert_eq!(
            Told::Counts { attachment: 4, counted }.encode(),
            *b"PMSH\x01\0\x0e\0\x04\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0"
        );
        assert_eq!(
            Told::Life { life: 5, process: 6 }.encode(),
            *b"PMSH\x01\0\x0f\0\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0"
        );
    }
}
