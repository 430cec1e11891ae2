//! A page that is for a moment neither in its region file nor anywhere else: what a shard has taken out of the file to take it
//! from one program, until it is back.
//!
//! | offset | what |
//! |---|---|
//! | 0 | length; 0 if nothing is held |
//! | 8 | the region |
//! | 16 | the page's number |
//! | 24 | checksum of the contents |
//! | 4096 | the contents |

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{Ordering, compiler_fence};

use memmap2::MmapMut;
use pagemesh_protocol::{PageId, RegionId};

use super::Damaged;
use super::inputs::{map, reserved};
use crate::memory::PAGE_SIZE_MAX;

const CONTENTS: usize = 4096;
const LEN: usize = CONTENTS + PAGE_SIZE_MAX as usize;

#[derive(Debug)]
pub(super) struct Held(MmapMut);

impl Held {
    pub(super) fn create(path: &Path) -> io::Result<Held> {
        Ok(Held(reserved(path, LEN)?))
    }

    /// What an earlier process has left. None if it never held anything.
    pub(super) fn open(path: &Path) -> Result<Option<Held>, Damaged> {
        let failed = |source| Damaged::Io { path: path.into(), source };
        let file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let held = Held(map(&file).map_err(failed)?);
        let sound = held.0.len() == LEN
            && held.word(0) <= PAGE_SIZE_MAX.into()
            && held.get().is_none_or(|(_, contents)| held.word(24) == u64::from(crc32fast::hash(contents)));
        if sound { Ok(Some(held)) } else { Err(Damaged::Checksum(path.into())) }
    }

    pub(super) fn set(&mut self, page: PageId, contents: &[u8]) {
        self.0[CONTENTS..CONTENTS + contents.len()].copy_from_slice(contents);
        self.put(8, page.region.0);
        self.put(16, page.index);
        self.put(24, crc32fast::hash(contents).into());
        // Whoever finds the length finds the rest. A process that is killed has done all up to some instruction.
        compiler_fence(Ordering::SeqCst);
        self.put(0, contents.len() as u64);
        compiler_fence(Ordering::SeqCst);
    }

    pub(super) fn clear(&mut self) {
        compiler_fence(Ordering::SeqCst);
        self.put(0, 0);
        compiler_fence(Ordering::SeqCst);
    }

    pub(super) fn get(&self) -> Option<(PageId, &[u8])> {
        let len = self.word(0).min(PAGE_SIZE_MAX.into()) as usize;
        let page = PageId { region: RegionId(self.word(8)), index: self.word(16) };
        (len > 0).then(|| (page, &self.0[CONTENTS..CONTENTS + len]))
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    fn put(&mut self, at: usize, word: u64) {
        self.0[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uffd::testing::Directory;

    #[test]
    fn what_is_held_is_there_until_it_is_let_go_or_damaged() {
        let directory = Directory::new();
        let path = directory.0.join("held");
        assert!(Held::open(&path).unwrap().is_none());
        let page = PageId { region: RegionId(7), index: 9 };
        let mut held = Held::create(&path).unwrap();
        assert_eq!(held.get(), None);
        held.set(page, &[5; 8192]);
        assert_eq!(Held::open(&path).unwrap().unwrap().get(), Some((page, &[5; 8192][..])));
        held.0[CONTENTS + 100] = 6;
        assert!(Held::open(&path).is_err());
        held.clear();
        assert_eq!(Held::open(&path).unwrap().unwrap().get(), None);
    }
}
