//! The four operations of userfaultfd that a floor needs. Every argument of its ioctls is a row of 64-bit words
//! (linux/userfaultfd.h).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

const API: u64 = 0x3f;
const REGISTER: u64 = 0x00;
const COPY: u64 = 0x03;
const WRITEPROTECT: u64 = 0x06;

/// MISSING_SHMEM, MINOR_SHMEM and WP_HUGETLBFS_SHMEM: what the agent asks for, too.
const FEATURES: u64 = 1 << 5 | 1 << 10 | 1 << 12;
/// MISSING, WP and MINOR.
const MODES: u64 = 0b111;
/// Of `COPY`: write-protected.
const COPY_WP: u64 = 2;
/// Of a message: a page fault.
const EVENT_PAGEFAULT: u64 = 0x12;
/// Of a page fault: a store to a protected page.
const FLAG_WP: u64 = 2;

/// A userfaultfd over a span of a process.
#[derive(Debug)]
pub(super) struct Uffd(OwnedFd);

/// A page fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) address: u64,
    pub(super) protected: bool,
}

impl Uffd {
    /// A new one over a span of this process.
    pub(super) fn over(base: u64, len: u64) -> io::Result<Uffd> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        let fd = Errno::result(fd)? as i32;
        // SAFETY: the kernel has just made it for us.
        let uffd = Uffd(unsafe { OwnedFd::from_raw_fd(fd) });
        uffd.ioctl(API, [0xaa, FEATURES, 0])?;
        uffd.ioctl(REGISTER, [base, len, MODES, 0])?;
        Ok(uffd)
    }

    pub(super) fn from(fd: OwnedFd) -> Uffd {
        Uffd(fd)
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Whether [`Uffd::next`] does not wait.
    pub(super) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        let flags = if on { OFlag::O_NONBLOCK } else { OFlag::empty() };
        fcntl(&self.0, FcntlArg::F_SETFL(flags))?;
        Ok(())
    }

    /// Awaits the next fault; `None` if there is none and it does not wait.
    pub(super) fn next(&self) -> io::Result<Option<Fault>> {
        let mut message = [0_u8; 32];
        let read = match nix::unistd::read(&self.0, &mut message) {
            Err(Errno::EAGAIN) => return Ok(None),
            other => other?,
        };
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| message[8 * at + byte]));
        if read != message.len() || word(0) & 0xff != EVENT_PAGEFAULT {
            return Err(io::Error::other("the kernel tells of no page fault"));
        }
        Ok(Some(Fault { address: word(2), protected: word(1) & FLAG_WP != 0 }))
    }

    /// Installs bytes, write-protected, and wakes who waits for them.
    pub(super) fn copy_protected(&self, to: u64, from: &[u8]) -> io::Result<()> {
        self.ioctl(COPY, [to, from.as_ptr() as u64, from.len() as u64, COPY_WP, 0])
    }

    /// Lets a span be written to, and wakes who waits for that.
    pub(super) fn unprotect(&self, base: u64, len: u64) -> io::Result<()> {
        self.ioctl(WRITEPROTECT, [base, len, 0])
    }

    fn ioctl<const N: usize>(&self, number: u64, mut words: [u64; N]) -> io::Result<()> {
        // _IOWR(0xAA, number, [u64; N])
        let request = 3 << 30 | (N as u64 * 8) << 16 | 0xaa << 8 | number;
        // SAFETY: `words` has the size that `request` tells the kernel; what it points to outlives the call.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, words.as_mut_ptr()) };
        Errno::result(result)?;
        Ok(())
    }
}
