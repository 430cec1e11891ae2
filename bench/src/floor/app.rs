//! The floor's program: maps memory that it has no pages of, hands its userfaultfd on, and touches pages when it is told to.

use std::io::{self, IoSlice, Write};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::ftruncate;

use super::order::Order;
use super::setup;
use super::uffd::Uffd;
use crate::clock::now_nanos;
use crate::{PAGES, STORM_PAGES};

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;

/// Runs the program, with memory of so many pages. Ends with the connection.
pub(crate) fn run(mut harness: UnixStream, pages: usize) -> io::Result<()> {
    let len = NonZeroUsize::new(pages * PAGE).ok_or(io::ErrorKind::InvalidInput)?;
    let memory = memfd_create(c"pagemesh-floor", MFdFlags::MFD_CLOEXEC)?;
    ftruncate(&memory, len.get() as i64)?;
    // As a region's memory: nothing is there until somebody installs it.
    fallocate(
        &memory,
        FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE,
        0,
        len.get() as i64,
    )?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses touches no memory that is in use.
    let base = unsafe { mmap(None, len, protection, MapFlags::MAP_SHARED, &memory, 0) }?;
    let base = base.as_ptr() as usize;
    let uffd = Uffd::over(base as u64, len.get() as u64)?;
    let descriptors = [memory.as_raw_fd(), uffd.fd().as_raw_fd()];
    pass(&harness, &(base as u64).to_le_bytes(), &descriptors)?;

    let usable = setup::usable()?;
    let mut nanos = vec![0_u64; PAGES];
    while let Some(order) = Order::receive(&harness)? {
        let store = match order {
            Order::Bind(cpu) => {
                setup::bind(&usable, cpu)?;
                harness.write_all(&[0])?;
                continue;
            }
            Order::Storm(threads) => {
                let nanos = storm(base, threads.max(1).into());
                harness.write_all(&nanos.to_le_bytes())?;
                continue;
            }
            Order::Read => false,
            Order::Write => true,
        };
        for (page, nanos) in nanos.iter_mut().enumerate() {
            let word = (base + page * PAGE) as *mut u64;
            let start = now_nanos();
            // SAFETY: the word lies in the mapping, which stays; others change it only while this thread waits for them.
            let seen = unsafe {
                if store {
                    word.add(1).write_volatile(start);
                }
                word.read_volatile()
            };
            *nanos = now_nanos() - start;
            assert_eq!(seen, page as u64, "page {page} holds the wrong data");
        }
        let bytes: Vec<u8> = nanos.iter().flat_map(|nanos| nanos.to_le_bytes()).collect();
        harness.write_all(&bytes)?;
    }
    Ok(())
}

/// Touches pages by so many threads, and returns how many nanoseconds that took.
fn storm(base: usize, threads: usize) -> u64 {
    let each = STORM_PAGES.div_ceil(threads);
    let start = now_nanos();
    std::thread::scope(|scope| {
        for first in (0..STORM_PAGES).step_by(each) {
            scope.spawn(move || {
                for page in first..STORM_PAGES.min(first + each) {
                    // SAFETY: the word lies in the mapping, which stays; nobody writes to it.
                    let seen = unsafe { ((base + page * PAGE) as *const u64).read_volatile() };
                    assert_eq!(seen, page as u64, "page {page} holds the wrong data");
                }
            });
        }
    });
    now_nanos() - start
}

fn pass(socket: &UnixStream, bytes: &[u8], descriptors: &[i32]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}
