//! libc's own functions, behind the names that we define. Those that are plain system calls are called as such; the others
//! are found once, when the library starts, for `dlsym` is not async-signal-safe.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::transmute_copy;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

use pagemesh_attach::sys::Errno;

/// The next definition of a name after ours.
struct Next {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Next {
    const fn new(name: &'static CStr) -> Next {
        Next { name, address: AtomicPtr::new(null_mut()) }
    }

    fn find(&self) {
        // SAFETY: the name ends with NUL.
        let address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.address.store(address, Ordering::Release);
    }

    /// The function, if it has been found.
    ///
    /// # Safety
    ///
    /// `F` is a function pointer of the function's type.
    unsafe fn function<F: Copy>(&self) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let address = self.address.load(Ordering::Acquire);
        // SAFETY: a function pointer is an address, and the caller answers for its type.
        (!address.is_null()).then(|| unsafe { transmute_copy(&address) })
    }
}

static CLOSE: Next = Next::new(c"close");
static OPENAT: Next = Next::new(c"openat");
static FCNTL: Next = Next::new(c"fcntl");
static FALLOCATE: Next = Next::new(c"fallocate");
static POSIX_FALLOCATE: Next = Next::new(c"posix_fallocate");
static SHM_OPEN: Next = Next::new(c"shm_open");
static SHM_UNLINK: Next = Next::new(c"shm_unlink");

/// Finds them all.
pub(crate) fn find() {
    for next in [&CLOSE, &OPENAT, &FCNTL, &FALLOCATE, &POSIX_FALLOCATE, &SHM_OPEN, &SHM_UNLINK] {
        next.find();
    }
}

/// Has libc call these around every fork. False: it could not remember them.
pub(crate) fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> bool {
    type Handler = extern "C" fn();
    // glibc has no such function that a library can find: its `pthread_atfork` is a part of each program, and calls this
    // one with the address of that part's own handle. We need none, for a preloaded library is never unloaded.
    let glibc = Next::new(c"__register_atfork");
    let others = Next::new(c"pthread_atfork");
    glibc.find();
    others.find();
    // SAFETY: these are their types, and the functions live as long as the process.
    let result = unsafe {
        if let Some(register) =
            glibc.function::<unsafe extern "C" fn(Handler, Handler, Handler, *const c_void) -> c_int>()
        {
            register(prepare, parent, child, null())
        } else if let Some(register) =
            others.function::<unsafe extern "C" fn(Handler, Handler, Handler) -> c_int>()
        {
            register(prepare, parent, child)
        } else {
            -1
        }
    };
    result == 0
}

/// What a function that libc does not have comes to.
fn missing() -> c_int {
    Errno(libc::ENOSYS).set();
    -1
}

// `close`, `openat`, `fcntl` and `fallocate` are where a thread may be cancelled, which unwinds.

/// libc's `close`.
///
/// # Safety
///
/// As for libc's.
pub(crate) unsafe fn close(fd: c_int) -> c_int {
    // SAFETY: this is its type.
    match unsafe { CLOSE.function::<unsafe extern "C-unwind" fn(c_int) -> c_int>() } {
        // SAFETY: the caller's arguments.
        Some(close) => unsafe { close(fd) },
        // Another library's start calls us before our own.
        // SAFETY: the caller's arguments.
        None => unsafe { libc::syscall(libc::SYS_close, fd) as c_int },
    }
}

/// libc's `openat`.
///
/// # Safety
///
/// As for libc's.
pub(crate) unsafe fn openat(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: libc::mode_t,
) -> c_int {
    type Function = unsafe extern "C-unwind" fn(c_int, *const c_char, c_int, ...) -> c_int;
    // SAFETY: this is its type.
    match unsafe { OPENAT.function::<Function>() } {
        // SAFETY: the caller's arguments.
        Some(openat) => unsafe { openat(directory, path, flags, mode) },
        // SAFETY: the caller's arguments.
        None => unsafe { libc::syscall(libc::SYS_openat, directory, path, flags, mode) as c_int },
    }
}

/// libc's `fcntl`.
///
/// # Safety
///
/// As for libc's.
pub(crate) unsafe fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: this is its type, as far as any call needs it.
    match unsafe { FCNTL.function::<unsafe extern "C-unwind" fn(c_int, c_int, ...) -> c_int>() } {
        // SAFETY: the caller's arguments.
        Some(fcntl) => unsafe { fcntl(fd, command, argument) },
        // SAFETY: the caller's arguments.
        None => unsafe { libc::syscall(libc::SYS_fcntl, fd, command, argument) as c_int },
    }
}

/// libc's `fallocate`.
///
/// # Safety
///
/// As for libc's.
pub(crate) unsafe fn fallocate(fd: c_int, mode: c_int, offset: libc::off_t, len: libc::off_t) -> c_int {
    type Function = unsafe extern "C-unwind" fn(c_int, c_int, libc::off_t, libc::off_t) -> c_int;
    // SAFETY: this is its type.
    match unsafe { FALLOCATE.function::<Function>() } {
        // SAFETY: the caller's arguments.
        Some(fallocate) => unsafe { fallocate(fd, mode, offset, len) },
        // SAFETY: the caller's arguments.
        None => unsafe { libc::syscall(libc::SYS_fallocate, fd, mode, offset, len) as c_int },
    }
}

/// libc's `posix_fallocate`, which returns the error number.
///
/// # Safety
///
/// As for libc's.
pub(crate) unsafe fn posix_fallocate(fd: c_int, offset: libc::off_t, len: libc::off_t) -> c_int {
    type Function = unsafe extern "C" fn(c_int, libc::off_t, libc::off_t) -> c_int;
    // SAFETY: this is its type, and the arguments are the caller's.
    unsafe { POSIX_FALLOCATE.function::<Function>() }
        .map_or(libc::ENOSYS, |next| unsafe { next(fd, offset, len) })
}

/// libc's `shm_open`.
///
/// # Safety
///
/// As for libc's.
pub(crate) unsafe fn shm_open(name: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    type Function = unsafe extern "C" fn(*const c_char, c_int, libc::mode_t) -> c_int;
    // SAFETY: this is its type, and the arguments are the caller's.
    unsafe { SHM_OPEN.function::<Function>() }.map_or_else(missing, |next| unsafe { next(name, flags, mode) })
}

/// libc's `shm_unlink`.
///
/// # Safety
///
/// As for libc's.
pub(crate) unsafe fn shm_unlink(name: *const c_char) -> c_int {
    type Function = unsafe extern "C" fn(*const c_char) -> c_int;
    // SAFETY: this is its type, and the arguments are the caller's.
    unsafe { SHM_UNLINK.function::<Function>() }.map_or_else(missing, |next| unsafe { next(name) })
}
