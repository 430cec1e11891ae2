//! The packets of the attach protocol, in bytes: docs/src/attach-protocol.md is the contract. Fixed layouts, no
//! allocation; async-signal-safe.

pub mod keeper;

use core::fmt;

use crate::RegionName;

/// Longest packet, either way.
pub const PACKET_MAX: usize = 16 + TEXT_MAX;

const TEXT_MAX: usize = 256;
const MAGIC: [u8; 4] = *b"PMSH";
const VERSION: u16 = 1;
const HEADER: usize = 8;

const HELLO: u16 = 1;
const WELCOME: u16 = 2;
const REFUSE: u16 = 3;
const BIND: u16 = 4;
const MAP: u16 = 5;
const UNMAP: u16 = 6;
const OK: u16 = 7;
const RESUME: u16 = 8;
const NAMES: u16 = 16;

/// Flag of a `Hello`: we know what to do with a read-only attachment.
const KNOWS_READ_ONLY: u32 = 1;
/// Flag of a `Hello`: the name is the region's own, and it is inherited.
const INHERITED: u32 = 2;
/// Flag of a `Hello`: we only read.
const READS: u32 = 4;
/// Flag of a `Welcome`. Others that there are later are ignored.
const READ_ONLY: u32 = 1;

/// Which region, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The region.
    pub name: &'a RegionName,
    /// It is one that a process has from its parent, or from what it was before an `exec`, and the name is the region's own: what
    /// paths stand for by now does not matter.
    pub inherited: bool,
    /// To read only, also where the program might write.
    pub read_only: bool,
}

impl<'a> Hello<'a> {
    /// A region that is opened.
    #[must_use]
    pub fn to(name: &'a RegionName) -> Hello<'a> {
        Hello { name, inherited: false, read_only: false }
    }
}

/// What a program says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Attach me to this region.
    Hello(Hello<'a>),
    /// Here are my userfaultfds.
    Bind,
    /// I have mapped a span of the region file.
    Map {
        /// Where.
        address: u64,
        /// How much.
        length: u64,
        /// From where in the file.
        offset: u64,
    },
    /// I am about to unmap a span.
    Unmap {
        /// Where.
        address: u64,
        /// How much.
        length: u64,
    },
    /// I am attached already, as an agent before you knew. Here are my userfaultfds once more.
    Resume {
        /// Number of the attachment.
        attachment: u64,
    },
    /// Give me a connection to the name server. The answer is `Ok` with a descriptor.
    Names,
}

impl Request<'_> {
    /// Writes the packet to the front of `packet` and returns its length.
    pub fn encode(&self, packet: &mut [u8; PACKET_MAX]) -> usize {
        let (kind, length) = match self {
            Request::Hello(_) => (HELLO, PACKET_MAX),
            Request::Bind => (BIND, HEADER),
            Request::Names => (NAMES, HEADER),
            Request::Map { .. } => (MAP, 32),
            Request::Unmap { .. } => (UNMAP, 24),
            Request::Resume { .. } => (RESUME, 16),
        };
        packet.fill(0);
        packet[..4].copy_from_slice(&MAGIC);
        packet[4..6].copy_from_slice(&VERSION.to_le_bytes());
        packet[6..8].copy_from_slice(&kind.to_le_bytes());
        match self {
            Request::Hello(Hello { name, inherited, read_only }) => {
                let name = name.as_bytes();
                let flag = |set: bool, flag: u32| if set { flag } else { 0 };
                let flags = KNOWS_READ_ONLY | flag(*inherited, INHERITED) | flag(*read_only, READS);
                packet[8..12].copy_from_slice(&flags.to_le_bytes());
                packet[12..16].copy_from_slice(&(name.len() as u32).to_le_bytes());
                packet[16..16 + name.len()].copy_from_slice(name);
            }
            Request::Bind | Request::Names => {}
            Request::Map { address, length, offset } => {
                packet[8..16].copy_from_slice(&address.to_le_bytes());
                packet[16..24].copy_from_slice(&length.to_le_bytes());
                packet[24..32].copy_from_slice(&offset.to_le_bytes());
            }
            Request::Unmap { address, length } => {
                packet[8..16].copy_from_slice(&address.to_le_bytes());
                packet[16..24].copy_from_slice(&length.to_le_bytes());
            }
            Request::Resume { attachment } => packet[8..16].copy_from_slice(&attachment.to_le_bytes()),
        }
        length
    }
}

/// What the agent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The region, and how many userfaultfds to bring.
    Welcome(Welcome),
    /// No.
    Refuse(Refusal),
    /// Done.
    Ok,
}

/// What a region is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Bytes of data, without the header page.
    pub size: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// Userfaultfds that the agent wants.
    pub userfaultfds: u32,
    /// Number of the attachment.
    pub attachment: u64,
    /// The region file can only be read: it is to be mapped `MAP_PRIVATE` and `PROT_READ`. Never for a program that
    /// has not said that it knows this.
    pub read_only: bool,
}

/// Why the agent said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No such region is declared.
    UnknownRegion,
    /// It is declared but cannot be used yet.
    NotReady,
    /// We asked for what cannot be.
    BadRequest,
    /// A limit of this node is reached.
    TooMany,
    /// Another version of this protocol.
    Version,
    /// The agent's own trouble, or a reason of a later release.
    Internal,
    /// This pod may not attach to the region.
    Forbidden,
    /// The region is being deleted.
    Deleting,
}

/// The agent's no, with its sentence for people.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub reason: Reason,
    text: [u8; TEXT_MAX],
    len: u16,
}

impl Refusal {
    /// The agent's sentence.
    #[must_use]
    pub fn text(&self) -> &str {
        core::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or("(its reason is not text)")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.reason, self.text())
    }
}

/// Why a packet is not the reply that should come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Another protocol.
    Foreign,
    /// Another version.
    Version(u16),
    /// A kind or a length that the protocol does not have.
    Shape {
        /// Its kind.
        kind: u16,
        /// Its length.
        length: usize,
    },
    /// A packet at the wrong time, or without its descriptors.
    Unexpected,
    /// Numbers that cannot be a region's.
    Region,
}

impl core::error::Error for WireError {}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Foreign => {
                f.write_str("what listens at the socket does not speak the attach protocol")
            }
            WireError::Version(theirs) => write!(
                f,
                "the agent speaks version {theirs} of the attach protocol, and this library version {VERSION}"
            ),
            WireError::Shape { kind, length } => write!(
                f,
                "the agent sent a packet of kind {kind} and {length} bytes, which the attach protocol does not have"
            ),
            WireError::Unexpected => {
                f.write_str("the agent sent a packet that the attach protocol does not have at this point")
            }
            WireError::Region => f.write_str(
                "the agent described a region with an impossible size, page size or number of userfaultfds",
            ),
        }
    }
}

impl Reply {
    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// Whatever is not exactly what the contract says.
    pub fn decode(packet: &[u8]) -> Result<Reply, WireError> {
        match (kind(packet)?, packet.len()) {
            (WELCOME, 40) => Ok(Reply::Welcome(Welcome {
                size: u64_at(packet, 8),
                page_size: u64_at(packet, 16),
                userfaultfds: u32_at(packet, 24),
                attachment: u64_at(packet, 32),
                read_only: u32_at(packet, 28) & READ_ONLY != 0,
            })),
            (REFUSE, PACKET_MAX) => Ok(Reply::Refuse(decode_refusal(packet))),
            (OK, HEADER) => Ok(Reply::Ok),
            (kind, length) => Err(WireError::Shape { kind, length }),
        }
    }
}

/// The kind of a packet of this protocol.
fn kind(packet: &[u8]) -> Result<u16, WireError> {
    if packet.len() < HEADER || packet[..4] != MAGIC {
        return Err(WireError::Foreign);
    }
    match u16_at(packet, 4) {
        VERSION => Ok(u16_at(packet, 6)),
        version => Err(WireError::Version(version)),
    }
}

fn decode_refusal(packet: &[u8]) -> Refusal {
    let reason = match u32_at(packet, 8) {
        1 => Reason::UnknownRegion,
        2 => Reason::NotReady,
        3 => Reason::BadRequest,
        4 => Reason::TooMany,
        5 => Reason::Version,
        7 => Reason::Forbidden,
        8 => Reason::Deleting,
        _ => Reason::Internal,
    };
    let mut text = [0; TEXT_MAX];
    text.copy_from_slice(&packet[16..]);
    Refusal { reason, text, len: u32_at(packet, 12).min(TEXT_MAX as u32) as u16 }
}

fn u16_at(packet: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([packet[at], packet[at + 1]])
}

fn u32_at(packet: &[u8], at: usize) -> u32 {
    u32::from(u16_at(packet, at)) | (u32::from(u16_at(packet, at + 2)) << 16)
}

fn u64_at(packet: &[u8], at: usize) -> u64 {
    u64::from(u32_at(packet, at)) | (u64::from(u32_at(packet, at + 4)) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(request: Request<'_>) -> Vec<u8> {
        let mut packet = [0xee; PACKET_MAX];
        let length = request.encode(&mut packet);
        packet[..length].to_vec()
    }

    fn reply(kind: u16, length: usize) -> Vec<u8> {
        let mut packet = vec![0; length];
        packet[..4].copy_from_slice(b"PMSH");
        packet[4] = 1;
        packet[6] = kind as u8;
        packet
    }

    #[test]
    fn requests_have_the_documented_layout() {
        let name = RegionName::new(b"team/table").unwrap();
        let hello = encoded(Request::Hello(Hello::to(&name)));
        assert_eq!(hello.len(), 272);
        assert_eq!(hello[..26], *b"PMSH\x01\0\x01\0\x01\0\0\0\x0a\0\0\0team/table");
        assert!(hello[26..].iter().all(|byte| *byte == 0));
        let inherited = encoded(Request::Hello(Hello { inherited: true, ..Hello::to(&name) }));
        let reads = encoded(Request::Hello(Hello { read_only: true, ..Hello::to(&name) }));
        assert_eq!((inherited[8], reads[8]), (3, 5));

        assert_eq!(encoded(Request::Bind), *b"PMSH\x01\0\x04\0");
        assert_eq!(encoded(Request::Names), *b"PMSH\x01\0\x10\0");
        assert_eq!(
            encoded(Request::Map { address: 0x7f00_0000_1000, length: 0x2000, offset: 0x3000 }),
            *b"PMSH\x01\0\x05\0\0\x10\0\0\0\x7f\0\0\0\x20\0\0\0\0\0\0\0\x30\0\0\0\0\0\0"
        );
        assert_eq!(
            encoded(Request::Unmap { address: 0x1000, length: 1 << 40 }),
            *b"PMSH\x01\0\x06\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\x01\0\0"
        );
    }

    #[test]
    fn replies_are_read() {
        let mut welcome = reply(2, 40);
        welcome[9] = 0x10;
        welcome[17] = 0x20;
        welcome[24] = 3;
        welcome[39] = 1;
        let expected = Welcome {
            size: 0x1000,
            page_size: 0x2000,
            userfaultfds: 3,
            attachment: 1 << 56,
            read_only: false,
        };
        assert_eq!(Reply::decode(&welcome), Ok(Reply::Welcome(expected)));
        // Bit 0 counts, whatever else a later agent sets.
        for (flags, read_only) in [(1, true), (0xfe, false), (0xff, true)] {
            welcome[28] = flags;
            assert_eq!(Reply::decode(&welcome), Ok(Reply::Welcome(Welcome { read_only, ..expected })));
        }
        assert_eq!(Reply::decode(&reply(7, 8)), Ok(Reply::Ok));
    }

    #[test]
    fn a_refusal_shows_the_agents_words() {
        for (number, reason) in [(1, Reason::UnknownRegion), (2, Reason::NotReady), (77, Reason::Internal)] {
            let mut packet = reply(3, PACKET_MAX);
            packet[8] = number;
            packet[12] = 2;
            packet[16..20].copy_from_slice(b"no!!");
            let Ok(Reply::Refuse(refusal)) = Reply::decode(&packet) else { panic!("not a refusal") };
            assert_eq!((refusal.reason, refusal.text()), (reason, "no"));
        }
    }

    #[test]
    fn a_hostile_refusal_is_cut_to_what_came() {
        let mut packet = reply(3, PACKET_MAX);
        packet[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        packet[16..].fill(0xff);
        let Ok(Reply::Refuse(refusal)) = Reply::decode(&packet) else { panic!("not a refusal") };
        assert_eq!(refusal.text(), "(its reason is not text)");
    }

    #[test]
    fn every_other_length_is_refused() {
        for (kind, want) in [(2, 40), (3, PACKET_MAX), (7, 8)] {
            for length in (8..PACKET_MAX + 8).filter(|length| *length != want) {
                assert_eq!(Reply::decode(&reply(kind, length)), Err(WireError::Shape { kind, length }));
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for short in 0..8 {
            assert_eq!(Reply::decode(&reply(7, 8)[..short]), Err(WireError::Foreign));
        }
        assert_eq!(Reply::decode(b"HTTP/1.1"), Err(WireError::Foreign));
        let mut version = reply(7, 8);
        version[4] = 2;
        assert_eq!(Reply::decode(&version), Err(WireError::Version(2)));
        for kind in [0, 1, 4, 5, 6, 8] {
            assert_eq!(Reply::decode(&reply(kind, 8)), Err(WireError::Shape { kind, length: 8 }));
        }
    }
}
