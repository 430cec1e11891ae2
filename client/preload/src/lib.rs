//! `libpagemesh_preload.so`: with it in `LD_PRELOAD`, unmodified programs reach regions through `shm_open`, `mmap` and
//! their kin. `shm_open("/NAME")` and `open("/dev/shm/NAME")` open region NAME if the agent that `PAGEMESH_SOCKET` names has
//! one, and so does `open("/pagemesh/PATH")`; whatever is not a region goes to libc untouched, and without
//! `PAGEMESH_SOCKET` everything does.
//!
//! | file | role |
//! |---|---|
//! | `shm`, `open`, `path`, `size`, `stat`, `map`, `protect`, `fd` | the functions that programs call instead of libc's |
//! | `door` | which names stand for regions, and what opening and unlinking one does |
//! | `state` | what we know of this process, behind one lock: `regions`, `claims`; `marks` is read without it |
//! | `header` | the words in a region's header page |
//! | `fork`, `lost`, `inherit`, `start` | what happens in a forked child, after an exec, and at load time |
//! | `lock`, `next`, `report`, `panic` | the lock, libc's own functions, errors and lines for people, our own mistakes |
//!
//! Rules that hold in every file, unless its head says otherwise:
//! - Nothing allocates, panics on purpose in a program's path, or prints with std: all of it may run in a signal handler
//!   or in a forked child of a program with threads. `open`ing a region is the exception that POSIX makes as well.
//! - The lock is held with all signals blocked, and never while touching a region's memory: such an access may wait for
//!   another node, or for ever if the agent is gone.
//! - Our own system calls go past libc's names ([`pagemesh_attach::sys`]), for those names are the ones that we define here.
//! - A child of `vfork` shares our memory but not our descriptors. It is recognised by its process number and changes
//!   nothing in our tables.
//!
//! A region's descriptor can be mapped, measured, duplicated and closed, and no more: `read`, `write` and file locks fail
//! with `EBADF`.
//!
//! What it cannot see: system calls that do not pass through libc's names (Go, static programs), what libc opens for itself
//! (`fopen`), paths relative to a directory, descriptors that come over a Unix socket, and children of a bare `clone` or
//! `_Fork`, which find no mapping and end with SIGSEGV if they touch it.
//!
//! It has no standard library and no C library of its own: what it needs it finds in the one that the program has, glibc or
//! musl, whichever loader loads it.
#![cfg_attr(panic = "abort", no_std)]

// Who only looks at the code, as clippy does, need not know how it is built.
#[cfg(not(any(panic = "abort", test, clippy, doc)))]
compile_error!(
    "run cargo inside of the repository, whose .cargo/config.toml builds this crate with panic=abort"
);

mod claims;
mod door;
pub mod fd;
mod fork;
mod header;
mod inherit;
mod lock;
mod lost;
pub mod map;
mod marks;
mod next;
pub mod open;
#[cfg(panic = "abort")]
mod panic;
pub mod path;
pub mod protect;
mod regions;
mod report;
pub mod shm;
pub mod size;
mod start;
pub mod stat;
mod state;
