//! The contents that came with the last message, until they are in the region file.
//!
//! | offset | what |
//! |---|---|
//! | 0 | length |
//! | 4096 | the contents |

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::MmapMut;

use super::Damaged;
use super::inputs::{map, reserved};
use crate::memory::PAGE_SIZE_MAX;

const CONTENTS: usize = 4096;
const LEN: usize = CONTENTS + PAGE_SIZE_MAX as usize;

#[derive(Debug)]
pub(super) struct Payload(MmapMut);

impl Payload {
    pub(super) fn create(path: &Path) -> io::Result<Payload> {
        Ok(Payload(reserved(path, LEN)?))
    }

    pub(super) fn open(path: &Path) -> Result<Payload, Damaged> {
        let failed = |source| Damaged::Io { path: path.into(), source };
        let file = File::options().read(true).write(true).open(path).map_err(failed)?;
        let map = map(&file).map_err(failed)?;
        if map.len() == LEN { Ok(Payload(map)) } else { Err(Damaged::Checksum(path.into())) }
    }

    /// Before the record of the message is written: what is needed is there when the record counts.
    pub(super) fn set(&mut self, contents: &[u8]) {
        self.0[CONTENTS..CONTENTS + contents.len()].copy_from_slice(contents);
        self.0[..8].copy_from_slice(&(contents.len() as u64).to_le_bytes());
    }

    pub(super) fn get(&self) -> &[u8] {
        let len = u64::from_le_bytes(self.0[..8].try_into().expect("eight bytes"));
        &self.0[CONTENTS..CONTENTS + len.min(PAGE_SIZE_MAX.into()) as usize]
    }
}
