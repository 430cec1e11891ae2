//! Processes that were attached to an earlier process of the agent: whether they are still there, and their userfaultfds.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::attach::pidfd_open;
use crate::uffd::{USERFAULTFD, Uffd};

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

    /// Whether it has not ended, as far as can be seen.
    #[must_use]
    pub fn lives(self) -> bool {
        let Ok(Some(open)) = self.open() else { return false };
        // Of one that has ended and that nobody has waited for.
        let ended = poll(&mut [PollFd::new(open.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO);
        ended == Ok(0)
    }

    /// Opens it. None if it has ended.
    ///
    /// # Errors
    /// It may not have.
    pub fn open(self) -> io::Result<Option<OwnedFd>> {
        let opened = match pidfd_open(self.pid.cast_signed()) {
            Ok(opened) => opened,
            // The last two are what the kernel says of a thread, which has the number now.
            Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        // In this order: a number is not given away as long as the process is open.
        Ok((began(self.pid) == Some(self.began)).then_some(opened))
    }
}

/// The 22nd field of `/proc/PID/stat`; the second is a name in parentheses, which may hold anything.
fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Finds userfaultfds of a process by their inodes. None for one that it has closed.
///
/// # Errors
/// The process has ended, or there is no way to it.
pub fn find_userfaultfds(process: Process, pidfd: &OwnedFd, inodes: &[u64]) -> io::Result<Vec<Option<Uffd>>> {
    let mut found: Vec<Option<Uffd>> = inodes.iter().map(|_| None).collect();
    for entry in fs::read_dir(format!("/proc/{}/fd", process.pid))? {
        let entry = entry?;
        // Threads of the process close descriptors while we look.
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        if link.as_os_str() != USERFAULTFD {
            continue;
        }
        let inode = fs::metadata(entry.path()).map_or(0, |file| file.ino());
        let Some(place) = inodes.iter().position(|wanted| *wanted == inode) else { continue };
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let number = number.ok_or(Errno::EINVAL)?;
        match pidfd_getfd(pidfd, number).and_then(Uffd::adopt_again) {
            // What has this number may be something else by now.
            Ok(uffd) => found[place] = Some(uffd).filter(|uffd| uffd.inode().ok() == Some(inode)),
            Err(Errno::EBADF | Errno::EINVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(found)
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
    use crate::uffd::testing::Program;

    #[test]
    fn a_process_is_its_number_and_its_beginning() {
        let me = Process::of(std::process::id()).unwrap();
        assert!(me.open().unwrap().is_some());
        assert!(
            Process { began: me.began + 1, ..me }.open().unwrap().is_none(),
            "somebody else has its number"
        );
        assert_eq!(Process::of(0), None);
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw().cast_unsigned()).unwrap();
            let _ = ended.recv();
        });
        let process = Process { pid: told.recv().unwrap(), began: me.began };
        assert!(process.open().unwrap().is_none(), "a thread has its number");
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn userfaultfds_are_found_by_their_inodes() {
        let me = Process::of(std::process::id()).unwrap();
        let pidfd = me.open().unwrap().unwrap();
        let programs: Vec<Program> = (1..=3).map(|pages| Program::with_len(pages * 4096)).collect();
        let mut inodes: Vec<u64> = programs.iter().map(|program| program.uffd.inode().unwrap()).collect();
        inodes.push(1);
        let found = find_userfaultfds(me, &pidfd, &inodes).unwrap();
        assert!(found[3].is_none());
        for (at, found) in found.iter().flatten().enumerate() {
            for (other, program) in programs.iter().enumerate() {
                let registered = found.register(program.memory.base(), program.memory.len());
                assert_eq!(registered.is_ok(), at == other, "{at} and {other}");
            }
        }
    }
}
