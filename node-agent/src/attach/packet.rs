//! The packets of the attach protocol, in bytes: docs/src/attach-protocol.md is the contract. What a program sends is
//! hostile until [`Request::decode`] has accepted it.

/// First bytes of every packet.
const MAGIC: [u8; 4] = *b"PMSH";
/// The protocol version that this agent speaks.
pub const VERSION: u16 = 1;
/// Longest name or text in a packet.
pub const TEXT_MAX: usize = 256;
/// Longest packet, either way.
pub const PACKET_MAX: usize = 16 + TEXT_MAX;

const HEADER: usize = 8;
const HELLO: u16 = 1;
const WELCOME: u16 = 2;
const REFUSE: u16 = 3;
const BIND: u16 = 4;
const MAP: u16 = 5;
const UNMAP: u16 = 6;
const OK: u16 = 7;
const RESUME: u16 = 8;
const KEEP: u16 = 9;
const ASK: u16 = 13;
const NAMES: u16 = 16;

/// Flag of a `Hello`: the program knows read-only attachments.
const KNOWS_READ_ONLY: u32 = 1;
/// Flag of a `Hello`: the name is the region's own, and it is inherited.
const INHERITED: u32 = 2;
/// Flag of a `Hello`: the program only reads.
const READS: u32 = 4;
/// Flag of a `Welcome`: the attachment is one.
const READ_ONLY: u32 = 1;

/// Which region a program asks for, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// `NAME` or `NAMESPACE/NAME`, or a path.
    pub name: String,
    /// The program knows what to do with a read-only attachment.
    pub knows_read_only: bool,
    /// The name is the region's own, and a process of this pod, or of the node, had the region when this one came to be.
    pub inherited: bool,
    /// The program asks to read only.
    pub read_only: bool,
}

/// What a program says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Attach me to this region.
    Hello(Hello),
    /// Here are my userfaultfds.
    Bind,
    /// I have mapped a span of the region file.
    Map {
        /// Address in the program.
        base: u64,
        /// Length in bytes.
        len: u64,
        /// Offset in the region file.
        offset: u64,
    },
    /// I am about to unmap this span.
    Unmap {
        /// Address in the program.
        base: u64,
        /// Length in bytes.
        len: u64,
    },
    /// An agent before you knew me as this attachment; here are my userfaultfds once more.
    Resume {
        /// Its number.
        attachment: u64,
    },
    /// I am a keeper.
    Keep,
    /// Can every region of this volume be attached now?
    Ask,
    /// Give me a connection to the name server.
    Names,
}

/// Why a packet is not a [`Request`]. Each is a sentence that the program's log can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than a header, or another protocol.
    #[error("this is not a packet of the attach protocol")]
    Foreign,
    /// Another version.
    #[error(
        "the program speaks version {0} of the attach protocol and this agent version {VERSION}: install the same \
         release on both sides"
    )]
    Version(u16),
    /// A kind that no program may send.
    #[error("packet kind {0} is not one that a program sends")]
    Kind(u16),
    /// A length that is not the kind's.
    #[error("a packet of kind {kind} has {want} bytes, not {have}")]
    Length {
        /// The kind.
        kind: u16,
        /// Its length.
        want: usize,
        /// The packet's length.
        have: usize,
    },
    /// A field that must be zero is not.
    #[error("bytes of the packet that are reserved are not zero")]
    Reserved,
    /// The name in a `Hello`.
    #[error("the region name is not UTF-8 text of 1 to {TEXT_MAX} bytes")]
    Name,
}

impl Request {
    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// Whatever is not exactly what the contract says.
    pub fn decode(packet: &[u8]) -> Result<Request, PacketError> {
        if packet.len() < HEADER || packet[..4] != MAGIC {
            return Err(PacketError::Foreign);
        }
        let version = u16_at(packet, 4);
        if version != VERSION {
            return Err(PacketError::Version(version));
        }
        let kind = u16_at(packet, 6);
        let want = match kind {
            HELLO => 16 + TEXT_MAX,
            BIND | KEEP | ASK | NAMES => HEADER,
            MAP => 32,
            UNMAP => 24,
            RESUME => 16,
            other => return Err(PacketError::Kind(other)),
        };
        if packet.len() != want {
            return Err(PacketError::Length { kind, want, have: packet.len() });
        }
        Ok(match kind {
            // Flags that are not known here are a later program's, which does without.
            HELLO => Request::Hello(Hello {
                name: decode_name(packet)?,
                knows_read_only: u32_at(packet, 8) & KNOWS_READ_ONLY != 0,
                inherited: u32_at(packet, 8) & INHERITED != 0,
                read_only: u32_at(packet, 8) & READS != 0,
            }),
            BIND => Request::Bind,
            KEEP => Request::Keep,
            ASK => Request::Ask,
            NAMES => Request::Names,
            MAP => {
                Request::Map { base: u64_at(packet, 8), len: u64_at(packet, 16), offset: u64_at(packet, 24) }
            }
            RESUME => Request::Resume { attachment: u64_at(packet, 8) },
            _ => Request::Unmap { base: u64_at(packet, 8), len: u64_at(packet, 16) },
        })
    }
}

fn decode_name(packet: &[u8]) -> Result<String, PacketError> {
    let len = u32_at(packet, 12) as usize;
    let field = &packet[16..];
    if len == 0 || len > field.len() {
        return Err(PacketError::Name);
    }
    let (name, rest) = field.split_at(len);
    if rest.iter().any(|byte| *byte != 0) {
        return Err(PacketError::Reserved);
    }
    String::from_utf8(name.to_vec()).map_err(|_| PacketError::Name)
}

/// Why the agent says no. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// No such region is declared.
    UnknownRegion = 1,
    /// It is declared but cannot be used yet.
    NotReady = 2,
    /// The program asked for what cannot be.
    BadRequest = 3,
    /// A limit of this node is reached.
    TooMany = 4,
    /// Another version of this protocol.
    Version = 5,
    /// The agent's own trouble.
    Internal = 6,
    /// The pod may not.
    Forbidden = 7,
    /// The region is being deleted.
    Deleting = 8,
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The region, and how many userfaultfds to bring.
    Welcome {
        /// Bytes of data, without the header page.
        size: u64,
        /// Bytes of a page.
        page_size: u64,
        /// Userfaultfds wanted: one for each shard.
        userfaultfds: u32,
        /// Number of the attachment.
        attachment: u64,
        /// The program may only read.
        read_only: bool,
    },
    /// No.
    Refuse {
        /// For programs.
        reason: Reason,
        /// For people: one sentence. Cut to [`TEXT_MAX`] bytes.
        text: String,
    },
    /// Done.
    Ok,
}

impl Reply {
    /// The packet's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Reply::Welcome { size, page_size, userfaultfds, attachment, read_only } => {
                let mut packet = header(WELCOME, 40);
                packet[8..16].copy_from_slice(&size.to_le_bytes());
                packet[16..24].copy_from_slice(&page_size.to_le_bytes());
                packet[24..28].copy_from_slice(&userfaultfds.to_le_bytes());
                packet[28..32].copy_from_slice(&(if *read_only { READ_ONLY } else { 0 }).to_le_bytes());
                packet[32..40].copy_from_slice(&attachment.to_le_bytes());
                packet
            }
            Reply::Refuse { reason, text } => {
                let text = cut(text);
                let mut packet = header(REFUSE, 16 + TEXT_MAX);
                packet[8..12].copy_from_slice(&(*reason as u32).to_le_bytes());
                packet[12..16].copy_from_slice(&(text.len() as u32).to_le_bytes());
                packet[16..16 + text.len()].copy_from_slice(text.as_bytes());
                packet
            }
            Reply::Ok => header(OK, HEADER),
        }
    }
}

/// The longest beginning of `text` that fits and does not cut a character.
pub(super) fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

pub(super) fn header(kind: u16, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[..4].copy_from_slice(&MAGIC);
    packet[4..6].copy_from_slice(&VERSION.to_le_bytes());
    packet[6..8].copy_from_slice(&kind.to_le_bytes());
    packet
}

fn u16_at(packet: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([packet[at], packet[at + 1]])
}

fn u32_at(packet: &[u8], at: usize) -> u32 {
    u32::from(u16_at(packet, at)) | u32::from(u16_at(packet, at + 2)) << 16
}

fn u64_at(packet: &[u8], at: usize) -> u64 {
    u64::from(u32_at(packet, at)) | u64::from(u32_at(packet, at + 4)) << 32
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
