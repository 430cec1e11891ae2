//! Descriptors of regions that came through an exec. Such a descriptor only names its file (`O_PATH`), so nothing can go
//! wrong if it is not recognised: it cannot be mapped. Whether it was opened for writing is not known, so it may write if the
//! region may be written to.

use core::ffi::CStr;

use pagemesh_attach::attachment::awaiting_successor;
use pagemesh_attach::sys::{self, Descriptor};
use pagemesh_attach::{Error, RegionName};

use crate::regions::FileId;
use crate::report::{outcome, say};
use crate::state::State;

/// Attaches to the regions that this process has inherited descriptors of.
pub(crate) fn adopt(state: &mut State) {
    let Some(directory) = open_descriptors() else { return };
    let mut entries = [0_u8; 2048];
    loop {
        // SAFETY: the buffer lives through the call and has that many bytes.
        let length = unsafe {
            libc::syscall(libc::SYS_getdents64, directory.raw(), entries.as_mut_ptr(), entries.len())
        };
        let Ok(length @ 1..) = usize::try_from(length) else { return };
        let mut rest = &entries[..length];
        // Inode (8 bytes), offset (8), record length (2), type (1), name, NUL.
        while rest.len() > 19 {
            let record = usize::from(u16::from_le_bytes([rest[16], rest[17]])).clamp(20, rest.len());
            let name = CStr::from_bytes_until_nul(&rest[19..record]).unwrap_or_default();
            if let Some(fd) = name.to_str().ok().and_then(|name| name.parse().ok()) {
                adopt_one(state, fd, name);
            }
            rest = &rest[record..];
        }
    }
}

fn open_descriptors() -> Option<Descriptor> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let path = c"/proc/self/fd".as_ptr();
    // SAFETY: the path ends with NUL.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, 0) };
    // High, so that it is not in the way of a listing that is under way.
    outcome(fd).ok().map(|fd| Descriptor::adopt(fd).moved_high())
}

fn adopt_one(state: &mut State, fd: i32, entry: &CStr) {
    if !sys::fcntl(fd, libc::F_GETFL, 0).is_ok_and(|flags| flags & libc::O_PATH as usize != 0) {
        return;
    }
    let Some(name) = region_of(entry) else { return };
    // The name of its file is a guess; that the agent's file of that name is the same one is the proof.
    // It may take a while, but the program has not begun to run.
    match awaiting_successor(|| state.attach_inherited(&name)) {
        Ok(header) => {
            let slot = header.unpinned(state);
            if FileId::of(fd) == Ok(state.region(slot).file) {
                let writable = !state.region(slot).read_only();
                state.remember(fd, slot, writable);
            }
            state.end_if_unused(slot);
        }
        Err(Error::Refused(_)) => {}
        Err(error) => say!("descriptor {fd} may be region {name}, but {error}"),
    }
}

/// The region that a descriptor's file is named after, if it is named like a region's.
fn region_of(entry: &CStr) -> Option<RegionName> {
    let prefix = b"/proc/self/fd/";
    let entry = entry.to_bytes_with_nul();
    let mut link = [0_u8; 32];
    link.get_mut(..prefix.len())?.copy_from_slice(prefix);
    link.get_mut(prefix.len()..prefix.len() + entry.len())?.copy_from_slice(entry);
    region_of_link(&link)
}

/// The same of a descriptor's path, which ends with NUL.
pub(crate) fn region_of_link(link: &[u8]) -> Option<RegionName> {
    CStr::from_bytes_until_nul(link).ok()?;
    let mut path = [0_u8; 1024];
    // SAFETY: the link's path ends with NUL; the kernel writes at most as many bytes as the buffer has.
    let length = unsafe {
        libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, link.as_ptr(), path.as_mut_ptr(), path.len())
    };
    region_of_path(path.get(..usize::try_from(length).ok()?)?)
}

/// Agents name region files `region-NAMESPACE.NAME`, and those of regions with a UID, as Kubernetes gives them one,
/// `region-NAMESPACE.NAME.` and 16 hexadecimal digits. The parts have no dots.
fn region_of_path(path: &[u8]) -> Option<RegionName> {
    let file = path.rsplit(|byte| *byte == b'/').next()?;
    let file = file.strip_suffix(b" (deleted)").unwrap_or(file);
    let mut parts = file.strip_prefix(b"region-")?.split(|byte| *byte == b'.');
    let (namespace, name, number) = (parts.next()?, parts.next()?, parts.next());
    let is_number = |digits: &[u8]| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit);
    if !number.is_none_or(is_number) || parts.next().is_some() {
        return None;
    }
    let mut full = [0_u8; 127];
    let full = full.get_mut(..namespace.len() + 1 + name.len())?;
    full[..namespace.len()].copy_from_slice(namespace);
    full[namespace.len()] = b'/';
    full[namespace.len() + 1..].copy_from_slice(name);
    RegionName::new(full).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_region_files() {
        let name = |path: &str| region_of_path(path.as_bytes()).map(|name| name.as_str().to_owned());
        assert_eq!(name("/dev/shm/mesh/region-default.table").as_deref(), Some("default/table"));
        assert_eq!(name("/region-a.b (deleted)").as_deref(), Some("a/b"));
        assert_eq!(name("/region-a.b.00f067aa0ba902b7").as_deref(), Some("a/b"));
        assert_eq!(name("/region-a.b.00f067aa0ba902b7 (deleted)").as_deref(), Some("a/b"));
        assert_eq!(name("/region-a.00f067aa0ba902b7").as_deref(), Some("a/00f067aa0ba902b7"));
        let longest = format!("{0}/{0}", "x".repeat(63));
        let file = format!("/region-{}.00f067aa0ba902b7", longest.replace('/', "."));
        assert_eq!(name(&file).as_deref(), Some(longest.as_str()));
        for other in [
            "",
            "/etc/passwd",
            "pipe:[1]",
            "/x/region-",
            "/x/region-a",
            "/x/region-a.",
            "/x/region-a.b.",
            "/x/region-a.b.c",
            "/x/region-a.b.00f067aa0ba902b",
            "/x/region-a.b.00f067aa0ba902b70",
            "/x/region-a.b.00f067aa0ba902b7.00f067aa0ba902b7",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
