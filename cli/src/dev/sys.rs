//! The system calls that nix lacks, made safe.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// Takes note of any child that has ended, as waitpid(2) does; `None` if none has.
///
/// nix's own knows no real-time signals: it answers EINVAL for a child that one of them ended, whose number and status are
/// then lost.
///
/// # Errors
/// ECHILD if there is no child at all.
pub(super) fn reap() -> Result<Option<(Pid, ExitStatus)>, Errno> {
    let mut status = 0;
    // SAFETY: `status` is ours to write to, and nothing else is written.
    let pid = Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) })?;
    Ok((pid != 0).then(|| (Pid::from_raw(pid), ExitStatus::from_raw(status))))
}

/// A process that stays the same one even when its number is given to another.
#[derive(Debug)]
pub(super) struct PidFd(OwnedFd);

impl PidFd {
    /// The process that has this number now.
    pub(super) fn open(pid: Pid) -> io::Result<PidFd> {
        // SAFETY: pidfd_open takes two numbers.
        let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
        let fd = c_int::try_from(fd).expect("descriptors are ints");
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        Ok(PidFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends it a signal.
    pub(super) fn send(&self, signal: Signal) -> io::Result<()> {
        let nothing_more = ptr::null::<libc::siginfo_t>();
        // SAFETY: without a siginfo, pidfd_send_signal reads no memory of ours.
        let result = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal as c_int, nothing_more, 0)
        };
        Ok(Errno::result(result).map(drop)?)
    }
}
