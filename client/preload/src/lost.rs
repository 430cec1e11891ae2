//! What a forked child cannot have of its parent: a region that it may not attach to any more. The child goes on without it,
//! for many use nothing of what they inherit. Where the region was mapped every access is a SIGBUS, as it is where access is
//! taken away, and its descriptors stand for nothing.

use core::fmt;

use pagemesh_attach::sys::{self, Descriptor};
use pagemesh_attach::wire::Reason;
use pagemesh_attach::{Error, RegionName};

use crate::marks::{self, Mark};
use crate::report::{outcome, say};
use crate::state::State;

/// Why a region cannot be attached again.
#[derive(Debug)]
pub(crate) enum Loss {
    /// Just so.
    Error(Error),
    /// The agent has another region of that name: what the parent had written is not in it.
    Other,
}

impl From<Error> for Loss {
    fn from(error: Error) -> Loss {
        Loss::Error(error)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Error(error) => error.fmt(f),
            Loss::Other => f.write_str("the agent has lost what it held; start the program anew"),
        }
    }
}

/// How long what is in the way may be waited for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// For ever: the agent is away, and its programs wait for it wherever they need it.
    Endless,
    /// For a while: the agent says no, and may say yes soon.
    Short,
    /// Not at all: it would be the same the next time.
    None,
}

impl Loss {
    /// How long it may be waited for.
    pub(crate) fn patience(&self) -> Patience {
        match self {
            Loss::Error(error) if error.agent_is_away() => Patience::Endless,
            Loss::Error(Error::Refused(refusal)) => match refusal.reason {
                Reason::NotReady | Reason::TooMany | Reason::Internal => Patience::Short,
                Reason::UnknownRegion
                | Reason::BadRequest
                | Reason::Version
                | Reason::Forbidden
                | Reason::Deleting => Patience::None,
            },
            Loss::Error(_) | Loss::Other => Patience::None,
        }
    }
}

/// Goes on without the region that was in a slot.
pub(crate) fn go_without(state: &mut State, slot: usize, name: &RegionName, why: &Loss) {
    say!("a forked child goes on without region {name}, and SIGBUS ends it if it uses that: {why}");
    let nothing = nothing();
    while let Some(claim) = state.claims.first_of(slot, 0) {
        if let Some(nothing) = &nothing {
            let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
            let length = claim.end - claim.start;
            // What is not mapped is a SIGSEGV, which will do.
            // SAFETY: it replaces nothing.
            let _ = unsafe { sys::mmap(claim.start, length, claim.protection, flags, nothing.raw(), 0) };
        }
        state.claims.carve(&claim, &(claim.start..claim.end));
    }
    for fd in 0..=marks::highest() {
        if matches!(marks::get(fd), Mark::Region { slot: of, .. } if usize::from(of) == slot) {
            marks::set(fd, Mark::Foreign);
        }
    }
}

/// A file without a byte: whoever touches a mapping of it gets SIGBUS, whatever `mprotect` allows.
fn nothing() -> Option<Descriptor> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_NOEXEC_SEAL;
    // SAFETY: the name ends with NUL.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_create, c"pagemesh-lost".as_ptr(), flags) };
    outcome(fd).ok().map(Descriptor::adopt)
}

#[cfg(test)]
mod tests {
    use pagemesh_attach::sys::Errno;
    use pagemesh_attach::wire::{Reply, WireError};

    use super::*;

    /// What the agent says for a reason of that number.
    fn refused(reason: u32) -> Loss {
        let mut packet = [0; 272];
        packet[..4].copy_from_slice(b"PMSH");
        packet[4..8].copy_from_slice(&[1, 0, 3, 0]);
        packet[8..12].copy_from_slice(&reason.to_le_bytes());
        match Reply::decode(&packet) {
            Ok(Reply::Refuse(refusal)) => Error::Refused(refusal).into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_child_waits_for_what_may_change() {
        for (patience, losses) in [
            (
                Patience::Endless,
                vec![
                    Error::Gone(Errno(libc::ECONNRESET)).into(),
                    Error::Unreachable(Errno(libc::ECONNREFUSED)).into(),
                    Error::Unreachable(Errno(libc::ENOENT)).into(),
                ],
            ),
            // Not ready, too many attachments, the agent's own trouble, and what a later release says.
            (Patience::Short, [2, 4, 6, 99].map(refused).into()),
            (
                Patience::None,
                vec![
                    // Unknown, a bad request, another version, forbidden, being deleted.
                    refused(1),
                    refused(3),
                    refused(5),
                    refused(7),
                    refused(8),
                    Error::Unreachable(Errno(libc::EACCES)).into(),
                    Error::Mapping(Errno(libc::ENOMEM)).into(),
                    Error::Descriptors(Errno(libc::EMFILE)).into(),
                    Error::Strange(WireError::Foreign).into(),
                    Loss::Other,
                ],
            ),
        ] {
            for loss in losses {
                assert_eq!(loss.patience(), patience, "{loss:?}");
            }
        }
    }
}
