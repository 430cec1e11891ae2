//! The memory of a region on this node: one file in a tmpfs, which every program on the node maps.
//!
//! Architecture invariant: the agent never maps a region file. A load from a mapped hole, or a system call on one,
//! would make a page of zeros that every program then takes for the region's contents. `pread`, `pwrite` and
//! `fallocate` cannot do that by accident.

mod mount;
mod pool;
mod read_only;
mod region_file;
#[cfg(test)]
mod tests;

pub use mount::{mount_on, resize, used_bytes};
pub use pool::{PageBuffer, PagePool};
pub use region_file::RegionFile;
pub(crate) use region_file::{FILE_PREFIX, remove_region_files};

/// Bytes of the smallest page.
pub const PAGE_SIZE_MIN: u32 = 4 << 10;

/// Bytes of the largest page.
pub const PAGE_SIZE_MAX: u32 = 2 << 20;

/// Whether regions may have pages of this size.
#[must_use]
pub fn is_page_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && (PAGE_SIZE_MIN..=PAGE_SIZE_MAX).contains(&bytes)
}
