//! What the kernel can do, for the preflight report; and how a program makes a userfaultfd.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use super::abi;

/// The device that hands out userfaultfds.
pub const DEVICE: &str = "/dev/userfaultfd";

/// One feature of userfaultfd, and what pagemesh uses it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    bit: u64,
    /// Its name in the kernel, without `UFFD_FEATURE_`.
    pub name: &'static str,
    /// What stops working without it.
    pub purpose: &'static str,
}

/// Everything that the agent asks of a userfaultfd.
pub const NEEDED: [Feature; 6] = [
    Feature {
        bit: abi::FEATURE_PAGEFAULT_FLAG_WP,
        name: "PAGEFAULT_FLAG_WP",
        purpose: "tell a store to a read-only copy from other faults",
    },
    Feature {
        bit: abi::FEATURE_MISSING_SHMEM,
        name: "MISSING_SHMEM",
        purpose: "notice the first touch of a page",
    },
    Feature {
        bit: abi::FEATURE_MINOR_SHMEM,
        name: "MINOR_SHMEM",
        purpose: "map pages that the agent has filled, without a copy",
    },
    Feature {
        bit: abi::FEATURE_EXACT_ADDRESS,
        name: "EXACT_ADDRESS",
        purpose: "know which page of a large page was touched",
    },
    Feature {
        bit: abi::FEATURE_WP_HUGETLBFS_SHMEM,
        name: "WP_HUGETLBFS_SHMEM",
        purpose: "write-protect shared memory",
    },
    Feature {
        bit: abi::FEATURE_POISON,
        name: "POISON",
        purpose: "report a lost page by SIGBUS rather than by zeros",
    },
];

pub(super) fn needed_bits() -> u64 {
    NEEDED.iter().fold(0, |bits, feature| bits | feature.bit)
}

/// The features of this kernel's userfaultfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    bits: u64,
    /// A read can be told not to wait, so that no program can make one wait. Useful, not needed.
    pub reads_nowait: bool,
}

impl Features {
    /// Whether the kernel has it.
    #[must_use]
    pub fn has(&self, feature: &Feature) -> bool {
        self.bits & feature.bit != 0
    }

    /// Those of [`NEEDED`] that the kernel lacks.
    pub fn missing(&self) -> impl Iterator<Item = &'static Feature> {
        let bits = self.bits;
        NEEDED.iter().filter(move |feature| bits & feature.bit == 0)
    }
}

/// Opens [`DEVICE`], makes a userfaultfd and asks it for its features.
///
/// # Errors
/// The device is absent or may not be opened.
pub fn probe() -> io::Result<Features> {
    let uffd = create(File::open(DEVICE)?)?;
    let reads_nowait = reads_nowait(&uffd);
    let mut api = abi::Api { api: abi::API_VERSION, features: 0, ioctls: 0 };
    abi::api(&uffd, &mut api)?;
    Ok(Features { bits: api.features, reads_nowait })
}

/// Whether this kernel reads from a userfaultfd without waiting if asked to. Asked before `UFFDIO_API`: until then a
/// read is refused, so that none takes a message away.
pub(super) fn reads_nowait(fd: &OwnedFd) -> bool {
    abi::read_nowait(fd, &mut [0; abi::MESSAGE_LEN]) != Err(Errno::EOPNOTSUPP)
}

/// A new userfaultfd of the calling process from an open [`DEVICE`], as a client makes it.
///
/// # Errors
/// Whatever the kernel says.
pub fn create(device: impl AsFd) -> io::Result<OwnedFd> {
    Ok(abi::new(device)?)
}
