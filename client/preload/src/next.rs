//! libc's own functions, behind the names that we define. Those that are plain system calls are called as such; the others
//! are found once, when the library starts, for `dlsym` is not async-signal-safe.
//!
//! Before glibc 2.34 `dlsym` is in a library of its own, which not every program loads. Without it all is done by system
//! calls, and the one difference is that a thread cannot be cancelled in them.

use core::arch::global_asm;
use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::mem::transmute_copy;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use pagemesh_attach::sys::Errno;

use crate::door::SHARED;

/// Longest name of a file.
const NAME_MAX: usize = 255;

/// What not every C library has. Null where it is missing: to refer to it by name would keep the program from starting.
#[repr(C)]
struct Optional {
    dlsym: Option<unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void>,
    /// glibc's. Its `pthread_atfork` is a part of each program, and calls this one with the address of that part's own
    /// handle. We need none, for a preloaded library is never unloaded.
    register_atfork: Option<unsafe extern "C" fn(Handler, Handler, Handler, *const c_void) -> c_int>,
    /// Everybody else's.
    pthread_atfork: Option<unsafe extern "C" fn(Handler, Handler, Handler) -> c_int>,
}

type Handler = extern "C" fn();

unsafe extern "C" {
    #[link_name = "pagemesh_preload_optional"]
    static OPTIONAL: Optional;
}

// In assembly, for Rust has no stable word for a weak symbol. The loader fills the words in.
global_asm!(
    ".weak dlsym",
    ".weak __register_atfork",
    ".weak pthread_atfork",
    ".pushsection .data.rel.ro.pagemesh_preload_optional, \"aw\"",
    ".balign 8",
    ".globl pagemesh_preload_optional",
    ".hidden pagemesh_preload_optional",
    ".type pagemesh_preload_optional, @object",
    ".size pagemesh_preload_optional, 24",
    "pagemesh_preload_optional:",
    ".quad dlsym",
    ".quad __register_atfork",
    ".quad pthread_atfork",
    ".popsection",
);

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
        // SAFETY: the loader has filled it in, before anything of ours runs.
        if let Some(dlsym) = unsafe { OPTIONAL.dlsym } {
            // SAFETY: the name ends with NUL.
            let address = unsafe { dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
            self.address.store(address, Ordering::Release);
        }
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
pub(crate) fn at_fork(prepare: Handler, parent: Handler, child: Handler) -> bool {
    // SAFETY: the loader has filled it in; the functions live as long as the process.
    let result = unsafe {
        match (OPTIONAL.register_atfork, OPTIONAL.pthread_atfork) {
            (Some(register), _) => register(prepare, parent, child, core::ptr::null()),
            (None, Some(register)) => register(prepare, parent, child),
            (None, None) => -1,
        }
    };
    result == 0
}

// `close`, `openat`, `fcntl` and `fallocate` are where a thread may be cancelled, which unwinds. What is not found is a system
// call: there is no `dlsym`, or another library's start calls us before our own.

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
    // SAFETY: this is its type.
    if let Some(next) = unsafe { POSIX_FALLOCATE.function::<Function>() } {
        // SAFETY: the caller's arguments.
        return unsafe { next(fd, offset, len) };
    }
    let errno = Errno::last();
    // SAFETY: it touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_fallocate, fd, 0, offset, len) };
    let error = if result == 0 { 0 } else { Errno::last().0 };
    errno.set();
    error
}

/// libc's `shm_open`.
///
/// # Safety
///
/// As for libc's.
pub(crate) unsafe fn shm_open(name: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    type Function = unsafe extern "C" fn(*const c_char, c_int, libc::mode_t) -> c_int;
    // SAFETY: this is its type.
    if let Some(next) = unsafe { SHM_OPEN.function::<Function>() } {
        // SAFETY: the caller's arguments.
        return unsafe { next(name, flags, mode) };
    }
    let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the caller's name; the path ends with NUL.
    let call =
        |path: *const c_char| unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) };
    // SAFETY: the caller's name.
    unsafe { by_path(name, call) }
}

/// libc's `shm_unlink`.
///
/// # Safety
///
/// As for libc's.
pub(crate) unsafe fn shm_unlink(name: *const c_char) -> c_int {
    type Function = unsafe extern "C" fn(*const c_char) -> c_int;
    // SAFETY: this is its type.
    if let Some(next) = unsafe { SHM_UNLINK.function::<Function>() } {
        // SAFETY: the caller's arguments.
        return unsafe { next(name) };
    }
    // SAFETY: the path ends with NUL.
    let call = |path: *const c_char| unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) };
    // SAFETY: the caller's name.
    unsafe { by_path(name, call) }
}

/// Does with the file of a name for `shm_open` what `call` does with its path.
///
/// # Safety
///
/// `name` ends with NUL.
unsafe fn by_path(name: *const c_char, call: impl FnOnce(*const c_char) -> c_long) -> c_int {
    let mut path = [0_u8; SHARED.len() + NAME_MAX + 1];
    // SAFETY: the caller answers for it.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let name = &name[name.iter().take_while(|byte| **byte == b'/').count()..];
    if name.is_empty() || name.len() > NAME_MAX || name.contains(&b'/') {
        Errno(libc::EINVAL).set();
        return -1;
    }
    path[..SHARED.len()].copy_from_slice(SHARED);
    path[SHARED.len()..SHARED.len() + name.len()].copy_from_slice(name);
    call(path.as_ptr().cast()) as c_int
}
