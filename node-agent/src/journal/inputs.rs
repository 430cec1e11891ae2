//! The file of the inputs since a state, mapped into the process, so that writing one down is a copy in memory.
//!
//! | offset | what |
//! |---|---|
//! | 0 | magic, version |
//! | 16 | number of the state that the inputs follow on |
//! | 24 | bytes of records that count |
//! | 32 | outputs that were carried out, of all records |
//! | 4096 | records: length (4 bytes), checksum (4), what [`Input::save`] writes |
//!
//! The order of the stores is what makes it safe: first the record, then the number of bytes that count. A process that is
//! killed has made all stores up to some instruction and none behind it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapMut;
use nix::fcntl::{FallocateFlags, fallocate};
use pagemesh_protocol::{Input, STATE_VERSION, Time};

use super::Damaged;

const MAGIC: [u8; 8] = *b"PMINPUT\0";
const GENERATION: usize = 16;
const COMMITTED: usize = 24;
const DONE: usize = 32;
const RECORDS: usize = 4096;
/// Length and checksum of a record.
const RECORD_HEADER: usize = 8;

#[derive(Debug)]
pub(super) struct Inputs {
    path: PathBuf,
    map: MmapMut,
    /// Where the next record goes, from [`RECORDS`].
    used: usize,
    done: u64,
}

impl Inputs {
    /// Makes a file with room for `len` bytes of records, for nothing yet.
    pub(super) fn create(path: &Path, len: usize) -> io::Result<Inputs> {
        let mut inputs = Inputs { path: path.into(), map: reserved(path, RECORDS + len)?, used: 0, done: 0 };
        inputs.map[..8].copy_from_slice(&MAGIC);
        inputs.map[8..12].copy_from_slice(&STATE_VERSION.to_le_bytes());
        Ok(inputs)
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// How many bytes of records it has room for.
    pub(super) fn len(&self) -> usize {
        self.map.len() - RECORDS
    }

    /// Empties it, for what follows on state number `generation`.
    pub(super) fn reset(&mut self, generation: u64) {
        (self.used, self.done) = (0, 0);
        for (cell, value) in [(COMMITTED, 0), (DONE, 0), (GENERATION, generation)] {
            self.cell(cell).store(value, Ordering::Release);
        }
    }

    /// Opens what an earlier process has written down behind state number `generation`.
    pub(super) fn open(path: &Path, generation: u64) -> Result<Inputs, Damaged> {
        let failed = |source| Damaged::Io { path: path.into(), source };
        let file = File::options().read(true).write(true).open(path).map_err(failed)?;
        let map = map(&file).map_err(failed)?;
        let mut inputs = Inputs { path: path.into(), map, used: 0, done: 0 };
        if inputs.map.len() < RECORDS || inputs.map[..8] != MAGIC {
            return Err(inputs.damaged());
        }
        let found = u32::from_le_bytes(inputs.map[8..12].try_into().expect("four bytes"));
        if found != STATE_VERSION {
            return Err(Damaged::Version { path: path.into(), found });
        }
        if inputs.cell(GENERATION).load(Ordering::Acquire) != generation {
            return Err(inputs.damaged());
        }
        inputs.done = inputs.cell(DONE).load(Ordering::Acquire);
        Ok(inputs)
    }

    /// All records, in order; and from now on the next one goes behind them.
    pub(super) fn records(&mut self) -> Result<Vec<(Time, Input)>, Damaged> {
        let committed = self.cell(COMMITTED).load(Ordering::Acquire) as usize;
        let bytes = self.map[RECORDS..].get(..committed).ok_or_else(|| self.damaged())?;
        let mut records = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let record = record_at(bytes, at).ok_or_else(|| self.damaged())?;
            records.push(Input::load(record).map_err(|_| self.damaged())?);
            at += RECORD_HEADER + record.len();
        }
        self.used = committed;
        Ok(records)
    }

    /// Writes a record. Returns whether there was room.
    pub(super) fn append(&mut self, now: Time, input: &Input) -> bool {
        let free = &mut self.map[RECORDS + self.used..];
        let Some((header, body)) = free.split_at_mut_checked(RECORD_HEADER) else { return false };
        let Some(len) = input.save(now, body) else { return false };
        header[..4].copy_from_slice(&(len as u32).to_le_bytes());
        header[4..].copy_from_slice(&crc32fast::hash(&body[..len]).to_le_bytes());
        self.used += RECORD_HEADER + len;
        self.cell(COMMITTED).store(self.used as u64, Ordering::Release);
        true
    }

    /// How many outputs of all records have been carried out.
    pub(super) fn outputs_done(&self) -> u64 {
        self.done
    }

    pub(super) fn output_done(&mut self) {
        self.done += 1;
        self.cell(DONE).store(self.done, Ordering::Release);
    }

    fn cell(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: the map begins at a page and is longer than the offsets used here, which are multiples of eight; it lives
        // as long as `self`; nobody else in this process has it, and atomics may be written through a shared reference. No
        // slice of the map that covers the cell is alive, for all of them borrow `self`.
        unsafe { &*self.map.as_ptr().add(offset).cast::<AtomicU64>() }
    }

    fn damaged(&self) -> Damaged {
        Damaged::Checksum(self.path.clone())
    }
}

fn record_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let header = bytes.get(at..at + RECORD_HEADER)?;
    let len = u32::from_le_bytes(header[..4].try_into().ok()?) as usize;
    let body = bytes.get(at + RECORD_HEADER..)?.get(..len)?;
    (crc32fast::hash(body).to_le_bytes() == header[4..]).then_some(body)
}

/// Makes a file of zeros and maps it. Its memory is taken at once: a store into a hole that the tmpfs has no room for would
/// be a SIGBUS.
pub(super) fn reserved(path: &Path, len: usize) -> io::Result<MmapMut> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, len as i64)?;
    map(&file)
}

pub(super) fn map(file: &File) -> io::Result<MmapMut> {
    // SAFETY: the file is in a directory of the agent's own that it has locked, so nobody cuts it short.
    unsafe { MmapMut::map_mut(file) }
}
