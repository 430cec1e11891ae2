//! userfaultfd: a thin, safe layer over its ioctls.
//!
//! Architecture invariant: no other module issues a userfaultfd ioctl. What an operation means for a page's state is
//! decided by [`crate::shard`]; here each is one system call, and each errno one value of a closed enum.

mod abi;
mod error;
mod probe;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

pub use error::{OpError, UffdError};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, readlink};
use nix::sys::stat::fstat;
pub use probe::{DEVICE, Feature, Features, NEEDED, create, probe};

/// The kernel's own page size, in which it installs and counts.
pub const KERNEL_PAGE: u64 = 4096;

/// What `/proc/PID/fd` says of a userfaultfd.
pub(crate) const USERFAULTFD: &str = "anon_inode:[userfaultfd]";

/// Messages that one [`Uffd::read`] takes at most.
pub const READ_BATCH: usize = 32;

/// A program touched memory that it may not access so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Where, to the byte.
    pub address: u64,
    /// It was a store.
    pub write: bool,
    /// The page is mapped, but write-protected.
    pub protected: bool,
}

/// What one [`Uffd::read`] brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Faults put into the caller's array.
    pub faults: usize,
    /// Messages that were no page faults and have been dropped. We ask for none, so there should be none.
    pub strange: usize,
}

/// A program's userfaultfd, set up with the features that pagemesh needs.
#[derive(Debug)]
pub struct Uffd {
    fd: OwnedFd,
    /// The kernel reads from it without waiting if asked to: see [`Uffd::read`].
    nowait: bool,
}

impl Uffd {
    /// Takes a descriptor that a program has passed. It is not trusted to be what the program says.
    ///
    /// # Errors
    /// It is no userfaultfd, it is in use already, or the kernel lacks a feature.
    pub fn adopt(fd: OwnedFd) -> Result<Uffd, UffdError> {
        // Before any ioctl: on another kind of descriptor the same numbers could mean anything.
        let link = readlink(proc_path(&fd).as_str())?;
        if link != USERFAULTFD {
            return Err(UffdError::NotUserfaultfd(link.to_string_lossy().into_owned()));
        }
        set_nonblocking(&fd)?;
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;

        let nowait = probe::reads_nowait(&fd);
        let needed = probe::needed_bits();
        let mut api = abi::Api { api: abi::API_VERSION, features: needed, ioctls: 0 };
        match abi::api(&fd, &mut api) {
            Ok(()) => Ok(Uffd { fd, nowait }),
            // EINVAL has two causes.
            Err(Errno::EINVAL) if probe().is_ok_and(|features| features.missing().count() == 0) => {
                Err(UffdError::AlreadyOpened)
            }
            Err(Errno::EINVAL) => Err(UffdError::Unsupported),
            Err(errno) => Err(UffdError::System(errno)),
        }
    }

    /// Takes over a userfaultfd that an earlier process of this agent has adopted.
    ///
    /// # Errors
    /// It is no userfaultfd.
    pub fn adopt_again(fd: OwnedFd) -> Result<Uffd, Errno> {
        let link = readlink(proc_path(&fd).as_str())?;
        if link != USERFAULTFD {
            return Err(Errno::EINVAL);
        }
        set_nonblocking(&fd)?;
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        let nowait = probe::reads_nowait(&fd);
        Ok(Uffd { fd, nowait })
    }

    /// What it is known by as long as somebody has it: each has an inode of its own.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn inode(&self) -> Result<u64, Errno> {
        Ok(fstat(&self.fd)?.st_ino)
    }

    /// Asks for the faults in `[base, base + len)`: missing pages, unmapped pages and stores to protected pages.
    ///
    /// # Errors
    /// The span is not a shared, writable mapping of a region file, or is registered elsewhere.
    pub fn register(&self, base: u64, len: u64) -> Result<(), OpError> {
        let mode = abi::REGISTER_MISSING | abi::REGISTER_WP | abi::REGISTER_MINOR;
        let mut register = abi::Register { span: abi::Span { start: base, len }, mode, ioctls: 0 };
        abi::register(&self.fd, &mut register).map_err(OpError::from_errno)
    }

    /// As [`Uffd::register`], for a private mapping of a region file that was opened to read: the kernel maps nothing there
    /// that could be written, so no stores are asked for. Unmapped pages are, though they could be mapped without asking: what
    /// a hole of the file was read through elsewhere has left there would be seen as the region's contents.
    ///
    /// # Errors
    /// The span is not a mapping of a region file, or is registered elsewhere.
    pub fn register_read_only(&self, base: u64, len: u64) -> Result<(), OpError> {
        let mode = abi::REGISTER_MISSING | abi::REGISTER_MINOR;
        let mut register = abi::Register { span: abi::Span { start: base, len }, mode, ioctls: 0 };
        abi::register(&self.fd, &mut register).map_err(OpError::from_errno)
    }

    /// Gives the span back to the kernel. Threads that wait there go on, onto whatever the file has: only for a
    /// program that must not see region pages any more.
    ///
    /// # Errors
    /// The span is not mapped, or the process is gone.
    pub fn unregister(&self, base: u64, len: u64) -> Result<(), OpError> {
        abi::unregister(&self.fd, &mut abi::Span { start: base, len }).map_err(OpError::from_errno)
    }

    /// Maps the pages of the file under the span, write-protected or writable, and wakes who waits there.
    ///
    /// # Errors
    /// [`OpError::Exists`] if a part was mapped already: that part is as it was, the rest has been mapped, and
    /// nobody who waits for the part that existed has been woken.
    pub fn continue_(&self, base: u64, len: u64, protected: bool) -> Result<(), OpError> {
        let mode = if protected { abi::CONTINUE_WP } else { 0 };
        over_mappings(base, len, |span| {
            let mut argument = abi::Install { span, mode, done: 0 };
            abi::continue_(&self.fd, &mut argument).map_err(|errno| (errno, argument.done))
        })
    }

    /// Makes every access to the span a SIGBUS, until it is mapped again, and wakes who waits there.
    ///
    /// # Errors
    /// [`OpError::Exists`] as for [`Uffd::continue_`].
    pub fn poison(&self, base: u64, len: u64) -> Result<(), OpError> {
        over_mappings(base, len, |span| {
            let mut argument = abi::Install { span, mode: 0, done: 0 };
            abi::poison(&self.fd, &mut argument).map_err(|errno| (errno, argument.done))
        })
    }

    /// Write-protects the span, or lets programs write to it and wakes who waits there. Parts of it that are not
    /// mapped are passed over.
    ///
    /// # Errors
    /// Nothing of the span is mapped, or the process is gone.
    pub fn write_protect(&self, base: u64, len: u64, on: bool) -> Result<(), OpError> {
        let mode = if on { abi::WRITEPROTECT_WP } else { 0 };
        over_mappings(base, len, |span| {
            let mut argument = abi::WriteProtect { span, mode };
            abi::write_protect(&self.fd, &mut argument).map_err(|errno| (errno, 0))
        })
    }

    /// Lets all who wait in the span try their access again.
    ///
    /// # Errors
    /// None that depends on the span being mapped.
    pub fn wake(&self, base: u64, len: u64) -> Result<(), OpError> {
        abi::wake(&self.fd, &mut abi::Span { start: base, len }).map_err(OpError::from_errno)
    }

    /// Takes the faults that are there, at most [`READ_BATCH`]. Never waits, whatever the program has done to the
    /// descriptor. Only before Linux 6.10 it can: a program that makes the descriptor blocking and takes the message
    /// itself, both in the instant between the two calls here, holds up the shard. The preflight warns of it.
    ///
    /// # Errors
    /// Reading failed in another way than finding nothing.
    pub fn read(&self, faults: &mut [Fault; READ_BATCH]) -> Result<Batch, Errno> {
        let mut bytes = [0; READ_BATCH * abi::MESSAGE_LEN];
        let read = if self.nowait {
            abi::read_nowait(&self.fd, &mut bytes)
        } else {
            set_nonblocking(&self.fd).and_then(|()| nix::unistd::read(&self.fd, &mut bytes))
        };
        let len = match read {
            Ok(len) => len,
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(errno) => return Err(errno),
        };
        let mut batch = Batch::default();
        for message in bytes[..len].chunks_exact(abi::MESSAGE_LEN) {
            if let Some(fault) = parse(message) {
                faults[batch.faults] = fault;
                batch.faults += 1;
            } else {
                batch.strange += 1;
            }
        }
        Ok(batch)
    }
}

impl AsFd for Uffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Without it epoll reports nothing but an error. A program shares the flag and can take it away. A userfaultfd has no
/// other flags that one could lose here.
fn set_nonblocking(fd: &OwnedFd) -> Result<(), Errno> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}

fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// A `struct uffd_msg`: event at 0, then for a page fault flags at 8 and the address at 16.
fn parse(message: &[u8]) -> Option<Fault> {
    let word = |at: usize| Some(u64::from_ne_bytes(message.get(at..at + 8)?.try_into().ok()?));
    if message.first() != Some(&abi::EVENT_PAGEFAULT) {
        return None;
    }
    let flags = word(8)?;
    Some(Fault {
        address: word(16)?,
        // A store to a protected page carries both flags; either says that it stores.
        write: flags & (abi::PAGEFAULT_WRITE | abi::PAGEFAULT_WP) != 0,
        protected: flags & abi::PAGEFAULT_WP != 0,
    })
}

/// Runs an operation over a whole span, which may be one of our larger pages. The kernel stops at the first of its own
/// pages that is there already: reclaim or the program itself may have unmapped any part, so step over it. And it
/// takes no span that lies in several of its mappings, as a page does of which a program has locked, protected or
/// replaced a part: then go on in its own pages, of which each is in one.
fn over_mappings(
    base: u64,
    len: u64,
    mut operation: impl FnMut(abi::Span) -> Result<(), (Errno, i64)>,
) -> Result<(), OpError> {
    let (mut start, end, mut step) = (base, base + len, len);
    let (mut existed, mut done_some) = (false, false);
    while start < end {
        let len = step.min(end - start);
        match operation(abi::Span { start, len }) {
            Ok(()) => {
                done_some = true;
                start += len;
            }
            Err((Errno::EAGAIN, done)) if done > 0 => {
                done_some = true;
                start += done.cast_unsigned();
            }
            Err((Errno::EEXIST, _)) => {
                existed = true;
                start += KERNEL_PAGE;
            }
            Err((Errno::ENOENT, _)) if len > KERNEL_PAGE => step = KERNEL_PAGE,
            // What is not mapped needs nothing, unless nothing is.
            Err((Errno::ENOENT, _)) => start += KERNEL_PAGE,
            Err((errno, _)) => return Err(OpError::from_errno(errno)),
        }
    }
    match (existed, done_some) {
        (true, _) => Err(OpError::Exists),
        (false, true) => Ok(()),
        (false, false) => Err(OpError::Unmapped),
    }
}
