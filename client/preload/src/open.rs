//! `open` and its kin, by absolute paths: see `door`. A path below the descriptor of a directory, and what libc opens for
//! itself (`fopen`), pass us by.

use core::ffi::{c_char, c_int};

use crate::door::{self, Purpose};
use crate::next;

/// `open`.
///
/// # Safety
///
/// As for libc's.
// In C its last argument is variadic. All our platforms pass it as if it were not.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { openat(libc::AT_FDCWD, path, flags, mode) }
}

/// `openat`.
///
/// # Safety
///
/// As for libc's.
// As for `open`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn openat(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: libc::mode_t,
) -> c_int {
    // SAFETY: the caller's path.
    let meaning = unsafe { door::of_path(path) };
    // SAFETY: the caller's arguments.
    let libc = || unsafe { next::openat(directory, path, flags, mode) };
    door::through(Purpose::Use, meaning, -1, |header| door::open(header, flags), libc)
}

/// `creat`.
///
/// # Safety
///
/// As for libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn creat(path: *const c_char, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { open(path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode) }
}

/// Other names of a function that takes the same arguments: where a file size has 64 bits, and where a compiler has
/// checked that no mode is missing.
macro_rules! also {
    ($($name:ident = $of:ident($($argument:ident: $type:ty),*; $($more:expr),*);)*) => {$(
        #[doc = concat!("See [`", stringify!($of), "`].")]
        ///
        /// # Safety
        ///
        /// As for libc's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name($($argument: $type),*) -> c_int {
            // SAFETY: the caller's arguments.
            unsafe { $of($($argument,)* $($more),*) }
        }
    )*};
}

also! {
    open64 = open(path: *const c_char, flags: c_int, mode: libc::mode_t;);
    openat64 = openat(directory: c_int, path: *const c_char, flags: c_int, mode: libc::mode_t;);
    creat64 = creat(path: *const c_char, mode: libc::mode_t;);
    __open_2 = open(path: *const c_char, flags: c_int; 0);
    __open64_2 = open(path: *const c_char, flags: c_int; 0);
    __openat_2 = openat(directory: c_int, path: *const c_char, flags: c_int; 0);
    __openat64_2 = openat(directory: c_int, path: *const c_char, flags: c_int; 0);
}
