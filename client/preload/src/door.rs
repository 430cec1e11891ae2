//! Which names stand for regions, and what opening and unlinking one does. `shm_open`, `open` and their kin lead here; none
//! of it is for signal handlers.
//!
//! | name | stands for |
//! |---|---|
//! | of `shm_open`, or a path in `/dev/shm` | region `NAME` or `NAMESPACE/NAME`, if the agent knows it, else libc's |
//! | a path in `/pagemesh` | that region, or the one that a MountTable binds the path to, or nothing |

use core::ffi::{CStr, c_char, c_int};

use pagemesh_attach::attachment::awaiting_successor;
use pagemesh_attach::sys::Errno;
use pagemesh_attach::wire::Reason;
use pagemesh_attach::{Error, RegionName};

use crate::header::Header;
use crate::lock::lock;
use crate::marks;
use crate::report::{Outcome, answer, errno_of, say};
use crate::start::start;
use crate::state::{Agent, borrowed};

/// Where paths of regions begin that may be files of this machine as well.
pub(crate) const SHARED: &[u8] = b"/dev/shm/";
/// Where nothing is but regions.
const OURS: &[u8] = b"/pagemesh/";

/// What a name may stand for.
#[derive(Clone, Copy)]
pub(crate) enum Meaning {
    /// A region if the agent has it, else it is libc's.
    Perhaps(RegionName),
    /// A region or nothing.
    Surely(RegionName),
    /// Nothing.
    Nothing,
}

/// What a name for `shm_open` may stand for. None: only libc can know it.
///
/// # Safety
///
/// `name` is null or ends with NUL.
pub(crate) unsafe fn of_shm_name(name: *const c_char) -> Option<Meaning> {
    start();
    if name.is_null() || absent() {
        return None;
    }
    // SAFETY: the caller answers for it.
    perhaps(unsafe { CStr::from_ptr(name) }.to_bytes())
}

/// What a path may stand for. None: only libc can know it.
///
/// # Safety
///
/// `path` is null or ends with NUL.
pub(crate) unsafe fn of_path(path: *const c_char) -> Option<Meaning> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller answers for it.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    let (shared, ours) = (path.strip_prefix(SHARED), path.strip_prefix(OURS));
    if shared.is_none() && ours.is_none() {
        return None;
    }
    start();
    if absent() {
        return None;
    }
    match ours {
        // The directory itself.
        Some(b"") => None,
        Some(name) => Some(RegionName::of_path(name).map_or(Meaning::Nothing, Meaning::Surely)),
        None => perhaps(shared?),
    }
}

fn absent() -> bool {
    matches!(lock().agent, Agent::Absent)
}

fn perhaps(name: &[u8]) -> Option<Meaning> {
    // libc ignores them as well.
    let start = name.iter().position(|byte| *byte != b'/')?;
    RegionName::new(&name[start..]).ok().map(Meaning::Perhaps)
}

/// What is wanted of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To see what there is. While the agent is away, nothing is but what this process has open.
    Look,
    /// To have it, or to change it. A successor of the agent is awaited.
    Use,
}

/// Does with a name what is done with a region, if it stands for one, else what libc does.
pub(crate) fn through<T>(
    purpose: Purpose,
    meaning: Option<Meaning>,
    failed: T,
    region: impl FnOnce(Header) -> Outcome<T>,
    libc: impl FnOnce() -> T,
) -> T {
    let Some(meaning) = meaning else { return libc() };
    match find(purpose, &meaning) {
        Ok(None) => libc(),
        found => answer(failed, || found?.map_or(Err(Errno(libc::ENOENT)), region)),
    }
}

/// Attaches to the region of that name. None: the agent has none, and libc may have.
fn find(purpose: Purpose, meaning: &Meaning) -> Outcome<Option<Header>> {
    let name = match meaning {
        Meaning::Perhaps(name) | Meaning::Surely(name) => name,
        Meaning::Nothing => {
            say!("nothing is there in /pagemesh: {}", Error::Name);
            return Err(Errno(libc::ENOENT));
        }
    };
    if borrowed() {
        say!("cannot open region {name}: this process was made by vfork, clone or _Fork; use fork");
        return Err(Errno(libc::ENOTSUP));
    }
    let attached = match purpose {
        Purpose::Look => lock().look_at(name),
        // Not with the lock: all other calls that need it would wait as well.
        Purpose::Use => awaiting_successor(|| lock().attach(name)),
    };
    match (attached, meaning) {
        (Ok(header), _) => Ok(Some(header)),
        (Err(error), Meaning::Perhaps(_)) if purpose == Purpose::Look && error.agent_is_away() => Ok(None),
        (Err(Error::Refused(refusal)), Meaning::Perhaps(_)) if refusal.reason == Reason::UnknownRegion => {
            Ok(None)
        }
        (Err(error), _) => {
            say!("cannot open region {name}: {error}");
            Err(errno_of(&error))
        }
    }
}

/// Refuses to change what the program may only read.
fn writable(header: &Header, what: &str) -> Outcome<()> {
    if header.read_only() {
        let name = lock().region(header.slot()).name;
        say!("cannot {what} region {name}: {}", Error::ReadOnly);
        return Err(Errno(libc::EACCES));
    }
    Ok(())
}

/// Opens a region. One that is opened for writing alone can be read as well.
pub(crate) fn open(header: Header, flags: c_int) -> Outcome<c_int> {
    let writes = match flags & libc::O_ACCMODE {
        libc::O_RDWR | libc::O_WRONLY => true,
        libc::O_RDONLY => false,
        _ => return Err(Errno(libc::EINVAL)),
    };
    if flags & libc::O_DIRECTORY != 0 {
        return Err(Errno(libc::ENOTDIR));
    }
    if writes {
        writable(&header, "write to")?;
    }
    // Before the header says that it is ours: if no descriptor is left, nothing has happened.
    let named = lock().region(header.slot()).descriptor(flags);
    let named = named.inspect_err(|errno| say!("cannot make a descriptor by /proc/self/fd: {errno}"))?;
    if usize::try_from(named.raw()).is_ok_and(|fd| fd >= marks::NUMBERS) {
        return Err(Errno(libc::EMFILE));
    }
    // May wait for another node: not with the lock. Who may only read is never the first.
    let first = flags & libc::O_CREAT != 0 && !header.read_only() && header.create();
    if flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0 && !first {
        return Err(Errno(libc::EEXIST));
    }
    if flags & libc::O_TRUNC != 0 && writes {
        header.set_logical_size(0);
    }
    let fd = named.raw();
    core::mem::forget(named);
    let mut state = lock();
    state.region_mut(header.slot()).position = 0;
    state.remember(fd, header.slot(), writes);
    Ok(fd)
}

/// Gives a name up, so that `O_CREAT | O_EXCL` can win it again, and the size that a program set. The region and its data
/// stay.
pub(crate) fn unlink(header: &Header) -> Outcome<c_int> {
    writable(header, "unlink")?;
    header.unlink();
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_our_places_is_libcs() {
        for path in [
            c"",
            c"/",
            c"/dev/shm",
            c"/dev/shmx/t",
            c"/pagemesh",
            c"dev/shm/t",
            c"/etc/passwd",
            c"pagemesh/t",
        ] {
            // SAFETY: it ends with NUL.
            assert!(unsafe { of_path(path.as_ptr()) }.is_none(), "{path:?}");
        }
        // SAFETY: null is allowed.
        assert!(unsafe { of_path(core::ptr::null()) }.is_none());
    }

    #[test]
    fn names_in_dev_shm_may_be_regions() {
        let name = |text: &str| match perhaps(text.as_bytes()) {
            Some(Meaning::Perhaps(name)) => Some(name.as_str().to_owned()),
            Some(Meaning::Surely(_) | Meaning::Nothing) | None => None,
        };
        assert_eq!(name("table").as_deref(), Some("table"));
        assert_eq!(name("//team/table").as_deref(), Some("team/table"));
        for other in ["", "/", "sem.x", "psm_1f2e", "a/b/c", "PostgreSQL.1"] {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
