//! A region as Rust programs see it.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64};

use pagemesh_attach::attachment::Attachment;
use pagemesh_attach::mapping::{self, Place};
use pagemesh_attach::socket::SocketPath;
use pagemesh_attach::{Error, RegionName, SOCKET_VARIABLE, sys};

/// A region, mapped whole for reading and writing. Dropping it unmaps it and ends the attachment.
///
/// Other processes, here and on other nodes, change this memory at any time. So it is handed out as atomics, or as a
/// pointer for which the caller answers.
///
/// A first touch of a page may wait for other nodes. If the agent goes away, a thread that needs it waits at that access.
///
/// After `fork` the child has no mapping: [`attach`](Region::attach) again there. (The preload library does this by itself
/// for what a program mapped with `shm_open` and `mmap`.)
#[derive(Debug)]
pub struct Region {
    attachment: Attachment,
    address: usize,
    size: usize,
    process: i32,
}

impl Region {
    /// Attaches to region `NAME` or `NAMESPACE/NAME` at the agent that `PAGEMESH_SOCKET` names.
    ///
    /// # Errors
    ///
    /// Each [`Error`] says what to do.
    pub fn attach(name: &str) -> Result<Region, Error> {
        let socket =
            std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()).ok_or(Error::NoSocket)?;
        Region::attach_to(Path::new(&socket), name)
    }

    /// Attaches to a region at the agent that listens at `socket`.
    ///
    /// # Errors
    ///
    /// Each [`Error`] says what to do.
    pub fn attach_to(socket: &Path, name: &str) -> Result<Region, Error> {
        let name = RegionName::new(name.as_bytes())?;
        let socket = SocketPath::new(socket.as_os_str().as_bytes())?;
        let attachment = Attachment::open(&socket, &name)?;
        let size = attachment.welcome().size as usize;
        let offset = attachment.welcome().page_size;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: it replaces nothing.
        let address = unsafe { mapping::place(&attachment, Place::Near(0), size, offset, access) }?;
        Ok(Region { attachment, address, size, process: sys::getpid() })
    }

    /// Bytes of data.
    #[must_use]
    pub fn len(&self) -> usize {
        self.size
    }

    /// Never: a region has a page at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Bytes of a page: what nodes share at a time. Keep what different nodes write in different pages.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.attachment.page_size()
    }

    /// The first byte of the data, aligned to 4 KiB. Valid until the region is dropped.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.address)
    }

    /// The data as 64-bit words.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is aligned, lives as long as `self`, and any bytes are a value of an atomic word. That
        // others change it at the same time is what atomics are for.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.size / size_of::<AtomicU64>()) }
    }

    /// The data as bytes.
    #[must_use]
    pub fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: as for `words`.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.size) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // In a forked child the memory is not mapped, and the connection is the parent's: only our descriptors go.
        if self.process == sys::getpid() {
            // SAFETY: whoever borrowed the memory borrowed `self`, so nobody has it any more.
            let _ = unsafe { mapping::remove(&self.attachment, self.address, self.size) };
        }
    }
}
