//! How we answer programs (errno) and people (a line on stderr). Async-signal-safe; nothing allocates.

use core::ffi::{c_long, c_void};
use core::fmt::{self, Write};

use pagemesh_attach::Error;
use pagemesh_attach::sys::Errno;
use pagemesh_attach::wire::Reason;

/// What a program's call comes to.
pub(crate) type Outcome<T> = Result<T, Errno>;

/// Runs what a program's call has become. Success leaves `errno` as it was.
pub(crate) fn answer<T>(failed: T, call: impl FnOnce() -> Outcome<T>) -> T {
    let errno = Errno::last();
    match call() {
        Ok(value) => {
            errno.set();
            value
        }
        Err(error) => {
            error.set();
            failed
        }
    }
}

/// The same for a plain system call.
pub(crate) fn outcome(result: c_long) -> Outcome<i32> {
    if result == -1 { Err(Errno::last()) } else { Ok(result as i32) }
}

/// The error number that stands for an error of ours.
pub(crate) fn errno_of(error: &Error) -> Errno {
    Errno(match error {
        Error::NoSocket | Error::SocketPath => libc::ENAMETOOLONG,
        Error::Name => libc::ENOENT,
        Error::TooManyRegions => libc::EMFILE,
        Error::Unreachable(_) | Error::Gone(_) => libc::ECONNREFUSED,
        Error::Refused(refusal) => match refusal.reason {
            Reason::UnknownRegion | Reason::Deleting => libc::ENOENT,
            Reason::NotReady => libc::EAGAIN,
            Reason::BadRequest => libc::EINVAL,
            Reason::TooMany => libc::ENOMEM,
            Reason::Version => libc::EPROTO,
            Reason::Internal => libc::EIO,
            Reason::Forbidden => libc::EACCES,
        },
        Error::ReadOnly => libc::EACCES,
        Error::Strange(_) => libc::EPROTO,
        Error::Userfaultfd(errno) | Error::Mapping(errno) | Error::Descriptors(errno) => errno.0,
    })
}

/// A line on stderr, cut at its end if it is very long.
struct Line {
    bytes: [u8; 640],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // A byte stays for the end of the line.
        let room = self.bytes.len() - 1 - self.len;
        let taken = text.len().min(room);
        self.bytes[self.len..self.len + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        Ok(())
    }
}

/// Writes `pagemesh: ...` to stderr at once, past stdio and std, whose locks a forked child may find taken.
pub(crate) fn write_line(what: fmt::Arguments<'_>) {
    let errno = Errno::last();
    let mut line = Line { bytes: [0; 640], len: 0 };
    let _ = write!(line, "pagemesh: {what}");
    line.bytes[line.len] = b'\n';
    // SAFETY: the buffer lives through the call and has that many bytes.
    unsafe {
        libc::syscall(libc::SYS_write, 2, line.bytes.as_ptr().cast::<c_void>(), line.len + 1);
    }
    errno.set();
}

/// [`write_line`] with a format string.
macro_rules! say {
    ($($format:tt)*) => { $crate::report::write_line(format_args!($($format)*)) };
}
pub(crate) use say;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_keeps_errno_and_failure_sets_it() {
        Errno(libc::ENOTTY).set();
        let value = answer(-1, || {
            Errno(libc::EIO).set();
            Ok(7)
        });
        assert_eq!((value, Errno::last()), (7, Errno(libc::ENOTTY)));
        assert_eq!(answer(-1, || Err(Errno(libc::EFBIG))), -1);
        assert_eq!(Errno::last(), Errno(libc::EFBIG));
    }

    #[test]
    fn a_long_line_is_cut() {
        let mut line = Line { bytes: [0; 640], len: 0 };
        let _ = write!(line, "{:>1000}", "x");
        assert_eq!(line.len, 639);
    }
}
