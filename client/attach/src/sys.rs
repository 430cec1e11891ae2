//! System calls without libc's wrappers: the preload library interposes `close`, `mmap` and others, and what is ours must
//! never pass through it. Async-signal-safe throughout.

use core::ffi::{c_long, c_void};
use core::fmt;

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

/// What a system call returns.
pub type Result<T> = core::result::Result<T, Errno>;

impl Errno {
    /// The calling thread's `errno`.
    #[must_use]
    pub fn last() -> Errno {
        // SAFETY: the location is this thread's own and always valid.
        Errno(unsafe { *libc::__errno_location() })
    }

    /// Makes it the calling thread's `errno`.
    pub fn set(self) {
        // SAFETY: the location is this thread's own and always valid.
        unsafe { *libc::__errno_location() = self.0 }
    }
}

impl fmt::Display for Errno {
    // Not std's: that one allocates.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            libc::EACCES => "permission denied",
            libc::EAGAIN => "try again",
            libc::EBADF => "bad descriptor",
            libc::ECONNREFUSED => "nobody listens there",
            libc::ECONNRESET | libc::EPIPE => "the connection was closed",
            libc::EEXIST => "something is there already",
            libc::EFAULT => "bad address",
            libc::EINVAL => "invalid argument",
            libc::EMFILE => "too many open descriptors in this process",
            libc::ENFILE => "too many open descriptors in the system",
            libc::ENODEV => "no such device",
            libc::ENOENT => "no such file",
            libc::ENOMEM => "out of memory or of mappings",
            libc::ENOTSOCK => "not a socket",
            libc::EPERM => "not permitted",
            libc::EPROTOTYPE => "a socket of another type",
            _ => return write!(f, "errno {}", self.0),
        };
        write!(f, "{text}, errno {}", self.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn check(result: c_long) -> Result<usize> {
    if result == -1 { Err(Errno::last()) } else { Ok(result as usize) }
}

/// Calls `number`, again if a signal interrupted it.
macro_rules! restarting {
    ($number:expr $(, $argument:expr)*) => {
        loop {
            match check(libc::syscall($number $(, $argument)*)) {
                Err(Errno(libc::EINTR)) => {}
                other => break other,
            }
        }
    };
}

/// The page size of the kernel, in which it maps and unmaps.
pub const KERNEL_PAGE: usize = 4096;

/// `mmap`.
///
/// # Safety
///
/// With `MAP_FIXED`, nobody uses what is mapped there.
///
/// # Errors
///
/// As the kernel says.
pub unsafe fn mmap(
    address: usize,
    length: usize,
    protection: i32,
    flags: i32,
    fd: i32,
    offset: u64,
) -> Result<usize> {
    // SAFETY: the caller answers for what it replaces.
    check(unsafe { libc::syscall(libc::SYS_mmap, address, length, protection, flags, fd, offset) })
}

/// `munmap`.
///
/// # Safety
///
/// Nobody uses what is mapped there.
///
/// # Errors
///
/// As the kernel says.
pub unsafe fn munmap(address: usize, length: usize) -> Result<()> {
    // SAFETY: the caller answers for what it unmaps.
    check(unsafe { libc::syscall(libc::SYS_munmap, address, length) }).map(drop)
}

/// `mprotect`.
///
/// # Safety
///
/// Nobody relies on the access that is taken away.
///
/// # Errors
///
/// As the kernel says.
pub unsafe fn mprotect(address: usize, length: usize, protection: i32) -> Result<()> {
    // SAFETY: the caller answers for it.
    check(unsafe { libc::syscall(libc::SYS_mprotect, address, length, protection) }).map(drop)
}

/// `madvise`, with advice that changes no contents.
///
/// # Errors
///
/// As the kernel says.
pub fn madvise(address: usize, length: usize, advice: i32) -> Result<()> {
    assert!(matches!(advice, libc::MADV_DONTFORK | libc::MADV_NOHUGEPAGE), "this advice may change contents");
    // SAFETY: neither advice touches the contents of memory.
    check(unsafe { libc::syscall(libc::SYS_madvise, address, length, advice) }).map(drop)
}

/// `close`. Errors do not matter: Linux has given the number up in any case.
pub fn close(fd: i32) {
    let errno = Errno::last();
    // SAFETY: closing touches no memory of ours; whoever calls this owns the descriptor.
    unsafe { libc::syscall(libc::SYS_close, fd) };
    errno.set();
}

/// `fcntl` with a number as its argument.
///
/// # Errors
///
/// As the kernel says.
pub fn fcntl(fd: i32, command: i32, argument: usize) -> Result<usize> {
    // SAFETY: the commands that we use take a number, not an address.
    check(unsafe { libc::syscall(libc::SYS_fcntl, fd, command, argument) })
}

/// The length of an open file.
///
/// # Errors
///
/// As the kernel says.
pub fn file_len(fd: i32) -> Result<u64> {
    // SAFETY: any bytes are a `stat`, and it lives through the call.
    unsafe {
        let mut stat: libc::stat = core::mem::zeroed();
        check(libc::syscall(libc::SYS_fstat, fd, &raw mut stat))?;
        Ok(stat.st_size.cast_unsigned())
    }
}

/// `ioctl` with a number as its argument.
///
/// # Errors
///
/// As the kernel says.
pub fn ioctl(fd: i32, request: usize, argument: usize) -> Result<usize> {
    // SAFETY: the requests that we use take a number, not an address.
    unsafe { restarting!(libc::SYS_ioctl, fd, request, argument) }
}

/// The soft limit of descriptor numbers, or a cautious guess.
#[must_use]
pub fn descriptor_limit() -> usize {
    let mut limit = [0_u64; 2];
    // SAFETY: `limit` has the kernel's layout (`rlimit64`) and lives through the call.
    let result = check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            libc::RLIMIT_NOFILE,
            core::ptr::null::<c_void>(),
            limit.as_mut_ptr(),
        )
    });
    if result.is_ok() { usize::try_from(limit[0]).unwrap_or(usize::MAX) } else { 256 }
}

/// A new Unix socket of packets, close-on-exec.
///
/// # Errors
///
/// As the kernel says.
pub fn packet_socket() -> Result<i32> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: no address is passed.
    check(unsafe { libc::syscall(libc::SYS_socket, libc::AF_UNIX, kind, 0) }).map(|fd| fd as i32)
}

/// `connect` to a Unix socket.
///
/// # Errors
///
/// As the kernel says.
pub fn connect(fd: i32, address: &libc::sockaddr_un, length: usize) -> Result<()> {
    assert!(length <= size_of::<libc::sockaddr_un>());
    // SAFETY: `address` lives through the call and has at least `length` bytes.
    unsafe { restarting!(libc::SYS_connect, fd, core::ptr::from_ref(address), length) }.map(drop)
}

/// `sendmsg` that raises no `SIGPIPE`.
///
/// # Safety
///
/// Every pointer and length in `message` is right.
///
/// # Errors
///
/// As the kernel says.
pub unsafe fn sendmsg(fd: i32, message: &libc::msghdr) -> Result<usize> {
    // SAFETY: the caller answers for the pointers inside.
    unsafe { restarting!(libc::SYS_sendmsg, fd, core::ptr::from_ref(message), libc::MSG_NOSIGNAL) }
}

/// `recvmsg`; descriptors that arrive are close-on-exec.
///
/// # Safety
///
/// Every pointer and length in `message` is right, and what they point to may be overwritten.
///
/// # Errors
///
/// As the kernel says.
pub unsafe fn recvmsg(fd: i32, message: &mut libc::msghdr) -> Result<usize> {
    // SAFETY: the caller answers for the pointers inside.
    unsafe { restarting!(libc::SYS_recvmsg, fd, core::ptr::from_mut(message), libc::MSG_CMSG_CLOEXEC) }
}

/// Whether the other end of a connected socket is still there.
#[must_use]
pub fn connected(fd: i32) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLRDHUP, revents: 0 };
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both structures live through the call; no signal mask is passed.
    let result = unsafe {
        restarting!(libc::SYS_ppoll, core::ptr::from_mut(&mut poll), 1, core::ptr::from_ref(&now), 0, 0)
    };
    // Nothing is ever sent to us unasked, so any event is the end.
    result == Ok(0)
}

/// Makes the number `of` stand for what `from` stands for, close-on-exec.
///
/// # Errors
/// The kernel's.
pub fn replace(from: i32, of: i32) -> Result<()> {
    // SAFETY: three numbers go in, and no memory is touched.
    unsafe { restarting!(libc::SYS_dup3, from, of, libc::O_CLOEXEC) }.map(drop)
}

/// Waits for so many nanoseconds, less than a second, or until a signal comes.
pub fn sleep(nanos: u64) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: nanos as libc::c_long };
    // SAFETY: the structure lives through the call, and nothing is written back. A signal may end it early.
    unsafe { libc::syscall(libc::SYS_nanosleep, core::ptr::from_ref(&time), 0) };
}

/// This process's number, as the kernel says now: right in a forked child as well.
#[must_use]
pub fn getpid() -> i32 {
    // SAFETY: no argument, cannot fail.
    unsafe { libc::syscall(libc::SYS_getpid) as i32 }
}

/// A descriptor of ours. It is closed when dropped, past the preload library.
#[derive(Debug)]
pub struct Descriptor(i32);

/// Where our long-lived descriptors go, so that the numbers that a program gets are the ones that it would have got
/// without us: first the best, then what a low limit still has room for.
const HIGH: [usize; 4] = [512, 192, 96, 40];

impl Descriptor {
    /// Takes over `fd`, which nobody else may close from now on.
    #[must_use]
    pub fn adopt(fd: i32) -> Descriptor {
        Descriptor(fd)
    }

    /// Its number.
    #[must_use]
    pub fn raw(&self) -> i32 {
        self.0
    }

    /// The same open file under a high number, close-on-exec. Where no high number is free it keeps the one it has.
    #[must_use]
    pub fn moved_high(self) -> Descriptor {
        let limit = descriptor_limit();
        HIGH.into_iter()
            .filter(|base| *base < limit)
            .find_map(|base| fcntl(self.0, libc::F_DUPFD_CLOEXEC, base).ok())
            .map_or(self, |fd| Descriptor(fd as i32))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        close(self.0);
    }
}
