//! The region file and the pool, on the real kernel.

use std::convert::Infallible;
use std::path::Path;

use nix::unistd::{Whence, lseek};

use super::*;
use crate::uffd::testing::Directory;

const PAGE: u64 = PAGE_SIZE_MIN as u64;

fn has_page(file: &RegionFile, offset: u64) -> bool {
    let offset = offset.cast_signed();
    lseek(file.fd(), offset, Whence::SeekData).is_ok_and(|at| at == offset)
}

#[test]
fn a_page_is_there_from_write_to_punch() {
    let directory = Directory::new();
    let file = RegionFile::create(&directory.0, "r", 4 * PAGE).unwrap();
    let mut page = [0; PAGE as usize];
    file.read_page(PAGE, &mut page).unwrap();
    assert!(!has_page(&file, PAGE), "reading a hole must not make a page");

    file.write_page(PAGE, &[7; PAGE as usize]).unwrap();
    assert!(has_page(&file, PAGE) && !has_page(&file, 2 * PAGE));
    file.read_page(PAGE, &mut page).unwrap();
    assert_eq!(page, [7; PAGE as usize]);

    file.punch(PAGE, PAGE).unwrap();
    assert!(!has_page(&file, PAGE));
    assert_eq!(file.len(), 4 * PAGE);
}

#[test]
fn the_name_stays_until_it_is_removed() {
    let directory = Directory::new();
    let path = directory.0.join("r");
    std::fs::write(&path, "left by an agent that died").unwrap();
    let file = RegionFile::create(&directory.0, "r", PAGE).unwrap();
    assert!(!has_page(&file, 0), "nothing of the earlier file is left");
    file.write_page(0, &[7; PAGE as usize]).unwrap();
    file.put_aside(0, &[8; PAGE as usize]).unwrap();
    drop(file);

    let file = RegionFile::open(&directory.0, "r", PAGE).unwrap();
    let mut page = [0; PAGE as usize];
    file.read_page(0, &mut page).unwrap();
    assert_eq!((page, file.len()), ([7; PAGE as usize], PAGE));
    file.read_aside(0, &mut page).unwrap();
    assert_eq!(page, [8; PAGE as usize]);
    assert!(file.has(0, PAGE).unwrap());
    file.punch(0, PAGE).unwrap();
    assert!(!file.has(0, PAGE).unwrap());
    file.remove();
    assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 0);
    assert!(RegionFile::open(&directory.0, "r", PAGE).is_err());
}

/// Programs have the file too.
#[test]
fn what_a_program_cuts_off_is_zeros() {
    let directory = Directory::new();
    let file = RegionFile::create(&directory.0, "r", 2 * PAGE).unwrap();
    file.write_page(PAGE, &[7; PAGE as usize]).unwrap();
    nix::unistd::ftruncate(file.fd(), PAGE.cast_signed() + 100).unwrap();
    let mut page = [1; PAGE as usize];
    file.read_page(PAGE, &mut page).unwrap();
    assert_eq!(page[..100], [7; 100]);
    assert_eq!(page[100..], [0; PAGE as usize - 100]);
    assert_eq!(std::fs::metadata(directory.0.join("r")).unwrap().len(), 2 * PAGE);
}

#[test]
fn region_memory_must_be_in_a_tmpfs() {
    let error = RegionFile::create(Path::new("/proc"), "r", PAGE).unwrap_err();
    assert!(error.to_string().contains("tmpfs"), "{error}");
}

#[test]
fn a_name_cannot_leave_the_directory() {
    let directory = Directory::new();
    for name in ["", "../r", "a/b"] {
        assert!(RegionFile::create(&directory.0, name, PAGE).is_err(), "{name:?}");
    }
}

#[test]
fn a_buffer_comes_back_when_its_last_user_gives_it() {
    let mut pool = PagePool::default();
    let fill = |page: &mut [u8]| {
        page.fill(9);
        Ok::<(), Infallible>(())
    };
    let Ok(first) = pool.filled(PAGE_SIZE_MIN, fill);
    let (address, second) = (first.as_ptr(), first.clone());
    pool.give(first);
    let other = pool.take(PAGE_SIZE_MIN);
    assert_ne!(other.as_ptr(), address, "still in use");
    pool.give(second);
    assert_eq!(pool.take(PAGE_SIZE_MIN).as_ptr(), address);
    assert_eq!(pool.take(PAGE_SIZE_MAX).len(), PAGE_SIZE_MAX as usize);
}
