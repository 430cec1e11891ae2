//! `linux/userfaultfd.h` as of Linux 6.18, written down by hand: older headers lack half of it.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, Updater, opcode};

const UFFDIO: u8 = 0xAA;

/// The one version of the interface.
pub(super) const API_VERSION: u64 = 0xAA;

pub(super) const FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
pub(super) const FEATURE_MISSING_SHMEM: u64 = 1 << 5;
pub(super) const FEATURE_MINOR_SHMEM: u64 = 1 << 10;
pub(super) const FEATURE_EXACT_ADDRESS: u64 = 1 << 11;
pub(super) const FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
pub(super) const FEATURE_POISON: u64 = 1 << 14;

pub(super) const REGISTER_MISSING: u64 = 1 << 0;
pub(super) const REGISTER_WP: u64 = 1 << 1;
pub(super) const REGISTER_MINOR: u64 = 1 << 2;

pub(super) const CONTINUE_WP: u64 = 1 << 1;
pub(super) const WRITEPROTECT_WP: u64 = 1 << 0;

/// Bytes of a `struct uffd_msg`.
pub(super) const MESSAGE_LEN: usize = 32;
pub(super) const EVENT_PAGEFAULT: u8 = 0x12;
pub(super) const PAGEFAULT_WRITE: u64 = 1 << 0;
pub(super) const PAGEFAULT_WP: u64 = 1 << 1;

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Api {
    pub(super) api: u64,
    pub(super) features: u64,
    pub(super) ioctls: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) len: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Register {
    pub(super) span: Span,
    pub(super) mode: u64,
    pub(super) ioctls: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct WriteProtect {
    pub(super) span: Span,
    pub(super) mode: u64,
}

/// Argument of both `UFFDIO_CONTINUE` and `UFFDIO_POISON`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Install {
    pub(super) span: Span,
    pub(super) mode: u64,
    /// Bytes that were done, or a negative errno if none was.
    pub(super) done: i64,
}

const API: Opcode = opcode::read_write::<Api>(UFFDIO, 0x3F);
const REGISTER: Opcode = opcode::read_write::<Register>(UFFDIO, 0x00);
// The header declares these two as reads although the kernel writes nothing.
const UNREGISTER: Opcode = opcode::read::<Span>(UFFDIO, 0x01);
const WAKE: Opcode = opcode::read::<Span>(UFFDIO, 0x02);
const WRITEPROTECT: Opcode = opcode::read_write::<WriteProtect>(UFFDIO, 0x06);
const CONTINUE: Opcode = opcode::read_write::<Install>(UFFDIO, 0x07);
const POISON: Opcode = opcode::read_write::<Install>(UFFDIO, 0x08);
const NEW: Opcode = opcode::none(UFFDIO, 0x00);

macro_rules! call {
    ($name:ident, $opcode:ident, $argument:ty) => {
        pub(super) fn $name(fd: impl AsFd, argument: &mut $argument) -> Result<(), Errno> {
            // SAFETY: the opcode encodes the size of this very type, whose layout is the kernel's. The addresses in
            // it are of the program that made the userfaultfd, not of this process, so no memory of ours is touched.
            unsafe { ioctl::ioctl(fd, Updater::<'_, $opcode, $argument>::new(argument)) }
        }
    };
}

call!(api, API, Api);
call!(register, REGISTER, Register);
call!(unregister, UNREGISTER, Span);
call!(wake, WAKE, Span);
call!(write_protect, WRITEPROTECT, WriteProtect);
call!(continue_, CONTINUE, Install);
call!(poison, POISON, Install);

/// `USERFAULTFD_IOC_NEW`: flags go in by value, a descriptor comes out.
struct New {
    flags: usize,
}

// SAFETY: the opcode takes an integer and reads no memory; a result that is not an error is a new descriptor.
unsafe impl Ioctl for New {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        NEW
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::without_provenance_mut(self.flags)
    }

    unsafe fn output_from_ptr(fd: IoctlOutput, _: *mut std::ffi::c_void) -> Result<OwnedFd, Errno> {
        // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// A new userfaultfd of this process from an open `/dev/userfaultfd`.
pub(super) fn new(device: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
    // SAFETY: see the implementation of `Ioctl`.
    unsafe { ioctl::ioctl(device, New { flags: flags.bits() as usize }) }
}
