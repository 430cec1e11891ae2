//! Processes that were attached to an earlier process of the agent: whether they are still there, and their userfaultfds.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::attach::pidfd_open;
use crate::shard::Range;
use crate::uffd::{OpError, Uffd};

/// Which process: its number alone may be somebody else's by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number, as this agent sees it.
    pub pid: u32,
    /// When it began, in the kernel's ticks.
    pub began: u64,
}

impl Process {
    /// The process of this number. None if it cannot be seen.
    #[must_use]
    pub fn of(pid: u32) -> Option<Process> {
        Some(Process { pid, began: began(pid)? })
    }

    /// Opens it. None if it has ended.
    #[must_use]
    pub fn open(self) -> Option<OwnedFd> {
        let opened = pidfd_open(self.pid.cast_signed()).ok()?;
        // In this order: a number is not given away as long as the process is open.
        (began(self.pid) == Some(self.began)).then_some(opened)
    }
}

/// The 22nd field of `/proc/PID/stat`; the second is a name in parentheses, which may hold anything.
fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Those of some spans of a process that are registered with a userfaultfd as a whole. One that is not was being mapped or
/// unmapped when the agent died: the program has no answer yet, so it does not use the span, and asks again.
///
/// # Errors
/// The process has ended.
pub fn registered(process: Process, mut spans: Vec<Range>) -> io::Result<Vec<Range>> {
    let maps = fs::read_to_string(format!("/proc/{}/smaps", process.pid))?;
    let mut covered: BTreeMap<u64, u64> = spans.iter().map(|span| (span.base, 0)).collect();
    let mut mapping: Option<(u64, u64)> = None;
    for line in maps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            // "um": faults on missing pages go to a userfaultfd.
            let watched = flags.split_whitespace().any(|flag| flag == "um");
            if let Some((start, end)) = mapping.filter(|_| watched) {
                for span in &spans {
                    let part = end.min(span.base + span.len).saturating_sub(start.max(span.base));
                    *covered.entry(span.base).or_default() += part;
                }
            }
        } else if let Some(bounds) = bounds(line) {
            mapping = Some(bounds);
        }
    }
    spans.retain(|span| covered.get(&span.base) == Some(&span.len));
    Ok(spans)
}

/// Beginning and end of a mapping, if this is the first line about one.
fn bounds(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

/// Finds, among the descriptors of a process, the userfaultfd with which each of some [registered] spans is registered. None
/// where there is none: the process has unmapped the span.
#[must_use]
pub fn find_userfaultfds(process: Process, pidfd: &OwnedFd, spans: &[Range]) -> Vec<Option<Uffd>> {
    let mut found: Vec<Option<Uffd>> = spans.iter().map(|_| None).collect();
    let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", process.pid)) else { return found };
    for entry in entries.flatten() {
        let is_one =
            fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == "anon_inode:[userfaultfd]");
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|_| is_one) else { continue };
        let Ok(uffd) = pidfd_getfd(pidfd, number).and_then(Uffd::adopt_again) else { continue };
        let mut uffd = Some(uffd);
        for (span, place) in spans.iter().zip(&mut found) {
            let Some(candidate) = &uffd else { break };
            // What is registered with one userfaultfd cannot be registered with another one, and once more with the same one.
            if place.is_none() && is_registered(candidate, *span) {
                *place = uffd.take();
            }
        }
    }
    found
}

fn is_registered(uffd: &Uffd, span: Range) -> bool {
    match uffd.register(span.base, span.len) {
        Ok(()) => true,
        Err(
            OpError::Busy
            | OpError::Exists
            | OpError::Gone
            | OpError::NoPage
            | OpError::Unmapped
            | OpError::Other(_),
        ) => false,
    }
}

/// A duplicate of a descriptor of another process.
fn pidfd_getfd(pidfd: &OwnedFd, number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: three numbers go in, and no memory is touched.
    let raw = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as RawFd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uffd::testing::{Mapping, Program};

    fn span(base: u64, len: u64) -> Range {
        Range { base, len, offset: 0 }
    }

    #[test]
    fn a_process_is_its_number_and_its_beginning() {
        let me = Process::of(std::process::id()).unwrap();
        assert!(me.open().is_some());
        assert!(Process { began: me.began + 1, ..me }.open().is_none(), "somebody else has its number");
        assert_eq!(Process::of(0), None);
    }

    #[test]
    fn each_span_has_its_userfaultfd() {
        let me = Process::of(std::process::id()).unwrap();
        let pidfd = me.open().unwrap();
        let programs: Vec<Program> = (1..=3).map(|pages| Program::with_len(pages * 4096)).collect();
        let spans: Vec<Range> = programs.iter().map(|p| span(p.memory.base(), p.memory.len())).collect();
        let unwatched = Mapping::of(&programs[0].file);
        let mut all = spans.clone();
        all.push(span(unwatched.base(), unwatched.len()));
        // Half of it is not there.
        all.push(span(spans[2].base - 4096 * 64, spans[2].len + 4096 * 64));
        assert_eq!(registered(me, all).unwrap(), spans);

        for (at, found) in find_userfaultfds(me, &pidfd, &spans).into_iter().enumerate() {
            let found = found.unwrap();
            for (other, span) in spans.iter().enumerate() {
                assert_eq!(is_registered(&found, *span), at == other, "{at} and {other}");
            }
        }
    }
}
