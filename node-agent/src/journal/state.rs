//! The file of a shard's state: a header and what the node has saved.

use std::fs;
use std::io;
use std::path::Path;

use pagemesh_protocol::{Node, STATE_VERSION};

use super::Damaged;

/// The beginning of both kinds of file.
pub(super) const MAGIC: [u8; 8] = *b"PMSTATE\0";

/// What is in front of a state: magic, version, checksum of the rest (all 4 bytes after the magic), number of the state.
#[derive(Debug)]
pub(super) struct Header;

impl Header {
    pub(super) const LEN: usize = 24;
}

/// A state that was read.
pub(super) struct Kept {
    pub(super) generation: u64,
    pub(super) node: Node,
}

/// Writes a state, whose first [`Header::LEN`] bytes are free for the header. Whoever opens the file finds this one or the one
/// before.
pub(super) fn write(path: &Path, generation: u64, bytes: &mut [u8]) -> io::Result<()> {
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&STATE_VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&generation.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[16..]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    let new = path.with_extension("new");
    fs::write(&new, &*bytes)?;
    fs::rename(new, path)
}

/// Reads a state. None if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Kept>, Damaged> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Damaged::Io { path: path.into(), source }),
    };
    let damaged = || Damaged::Checksum(path.into());
    let header = bytes.get(..Header::LEN).ok_or_else(damaged)?;
    let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    if header[..8] != MAGIC {
        return Err(damaged());
    }
    if number(8) != STATE_VERSION {
        return Err(Damaged::Version { path: path.into(), found: number(8) });
    }
    if crc32fast::hash(&bytes[16..]) != number(12) {
        return Err(damaged());
    }
    let generation = u64::from_le_bytes(header[16..24].try_into().expect("eight bytes"));
    let node = Node::load(&bytes[Header::LEN..]).map_err(|_| damaged())?;
    Ok(Some(Kept { generation, node }))
}
