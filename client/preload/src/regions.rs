//! The regions that this process is attached to: one attachment each, for as long as the program has a descriptor or a
//! mapping of it. Callers have the lock. Opening one is not meant for signal handlers; the rest is async-signal-safe.

use core::ffi::c_int;

use pagemesh_attach::attachment::Attachment;
use pagemesh_attach::mapping::{self, Place};
use pagemesh_attach::socket::SocketPath;
use pagemesh_attach::sys::Descriptor;
use pagemesh_attach::wire::Hello;
use pagemesh_attach::{Error, RegionName};

use crate::inherit::region_of_link;
use crate::marks::{self, Mark};
use crate::report::{Outcome, outcome};

/// Identity of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Out of what `fstat` said.
    pub(crate) fn of_stat(stat: &libc::stat) -> FileId {
        FileId { device: stat.st_dev, inode: stat.st_ino }
    }

    /// Of a descriptor.
    pub(crate) fn of(fd: i32) -> Outcome<FileId> {
        // SAFETY: any bytes are a `stat`, and it lives through the call.
        unsafe {
            let mut stat: libc::stat = core::mem::zeroed();
            outcome(libc::syscall(libc::SYS_fstat, fd, &raw mut stat))?;
            Ok(FileId::of_stat(&stat))
        }
    }
}

/// A region that this process is attached to.
pub(crate) struct Region {
    pub(crate) name: RegionName,
    /// It came through an `exec`, and `name` is its own: of a path that reads the same a table may say something else.
    pub(crate) inherited: bool,
    pub(crate) attachment: Attachment,
    pub(crate) file: FileId,
    /// Where its header page is mapped.
    pub(crate) header: usize,
    /// Descriptors of the program that stand for it.
    pub(crate) descriptors: u32,
    /// Calls under way that use its header.
    pub(crate) pins: u32,
    /// What `lseek` says of its descriptors.
    pub(crate) position: i64,
}

impl Region {
    /// Attaches to a region and maps its header page. The caller has the lock: a successor of the agent is not awaited.
    pub(crate) fn attach(path: &SocketPath, hello: Hello<'_>) -> Result<Region, Error> {
        Region::attach_at(path, hello, Place::Near(0))
    }

    /// The same, with the header page at a place: calls that were under way at a fork know where it was.
    pub(crate) fn attach_at(path: &SocketPath, hello: Hello<'_>, place: Place) -> Result<Region, Error> {
        let attachment = Attachment::open_at_once(path, hello)?;
        let file = FileId::of(attachment.file().raw()).map_err(Error::Descriptors)?;
        let access = access(&attachment);
        // SAFETY: it replaces nothing.
        let header = unsafe { mapping::place(&attachment, place, attachment.page_size(), 0, access) }?;
        mark_ours(&attachment, Mark::Ours);
        Ok(Region {
            name: *hello.name,
            inherited: hello.inherited,
            attachment,
            file,
            header,
            descriptors: 0,
            pins: 0,
            position: 0,
        })
    }

    /// Whether the program may only read it.
    pub(crate) fn read_only(&self) -> bool {
        self.attachment.read_only()
    }

    /// Ends an attachment through which the program has nothing mapped any more.
    pub(crate) fn end(self) {
        mark_ours(&self.attachment, Mark::Foreign);
        // SAFETY: no call uses the header, for there are no pins.
        let _ = unsafe { mapping::remove(&self.attachment, self.header, self.attachment.page_size()) };
    }

    /// Gives up what a forked child has inherited of its parent's attachment, without a word to the agent: it is the
    /// parent's.
    pub(crate) fn abandon(self) {
        mark_ours(&self.attachment, Mark::Foreign);
    }

    /// A new descriptor of the program's for this region. It only names the file (`O_PATH`): no `read`, `write` or
    /// `fallocate` can reach memory past the protocol, nor a program without this library that inherits it. Of the program's
    /// flags only whether it is close-on-exec is left.
    pub(crate) fn descriptor(&self, flags: c_int) -> Outcome<Descriptor> {
        let link = self.link();
        let flags = libc::O_PATH | flags & libc::O_CLOEXEC;
        // SAFETY: the path ends with NUL.
        let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, link.as_ptr(), flags, 0) };
        outcome(fd).map(Descriptor::adopt)
    }

    /// Its own name, whatever path it was opened by: a path may lead elsewhere by now.
    pub(crate) fn own_name(&self) -> RegionName {
        region_of_link(&self.link()).unwrap_or(self.name)
    }

    /// The path of its file among those that this process has open, and NUL.
    fn link(&self) -> [u8; 26] {
        let mut link = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
        let mut number = self.attachment.file().raw();
        let prefix = b"/proc/self/fd/".len();
        let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
        for at in (prefix..prefix + digits).rev() {
            link[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        link
    }
}

/// What may be done with the memory of an attachment.
fn access(attachment: &Attachment) -> i32 {
    if attachment.read_only() { libc::PROT_READ } else { libc::PROT_READ | libc::PROT_WRITE }
}

/// Marks the descriptors that an attachment lives on.
fn mark_ours(attachment: &Attachment, mark: Mark) {
    for descriptor in attachment.descriptors() {
        marks::set(descriptor.raw(), mark);
    }
}
