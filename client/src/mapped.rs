//! A whole region, mapped, and its attachment: what is common to regions that may be written to and those that may not.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pagemesh_attach::attachment::Attachment;
use pagemesh_attach::mapping::{self, Place};
use pagemesh_attach::socket::SocketPath;
use pagemesh_attach::{Error, RegionName, SOCKET_VARIABLE, sys};

/// What a program wants to do with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

/// A region's data, mapped whole. Dropping it unmaps it and ends the attachment.
#[derive(Debug)]
pub struct Mapped {
    attachment: Attachment,
    address: usize,
    size: usize,
    process: i32,
}

impl Mapped {
    /// Attaches at the agent that `PAGEMESH_SOCKET` names.
    pub(crate) fn attach(name: &str, access: Access) -> Result<Mapped, Error> {
        let socket =
            std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()).ok_or(Error::NoSocket)?;
        Mapped::attach_to(Path::new(&socket), name, access)
    }

    /// Attaches at the agent that listens at `socket`.
    pub(crate) fn attach_to(socket: &Path, name: &str, access: Access) -> Result<Mapped, Error> {
        let name = RegionName::of_path(name.as_bytes())?;
        let socket = SocketPath::new(socket.as_os_str().as_bytes())?;
        let attachment = Attachment::open(&socket, &name)?;
        let size = attachment.welcome().size as usize;
        let offset = attachment.welcome().page_size;
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        // SAFETY: it replaces nothing.
        let address = unsafe { mapping::place(&attachment, Place::Near(0), size, offset, protection) }?;
        Ok(Mapped { attachment, address, size, process: sys::getpid() })
    }

    /// Bytes of data.
    pub(crate) fn len(&self) -> usize {
        self.size
    }

    /// Bytes of a page.
    pub(crate) fn page_size(&self) -> usize {
        self.attachment.page_size()
    }

    /// The first byte of the data. Valid until `self` is dropped.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.address)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // In a forked child the memory is not mapped, and the connection is the parent's: only our descriptors go.
        if self.process == sys::getpid() {
            // SAFETY: whoever borrowed the memory borrowed `self`, so nobody has it any more.
            let _ = unsafe { mapping::remove(&self.attachment, self.address, self.size) };
        }
    }
}
