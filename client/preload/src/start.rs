//! The library's start: the loader calls it before the program begins, another library's start may need us earlier. Nothing
//! here is async-signal-safe, except that a second call returns at once.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, Ordering};

use pagemesh_attach::socket::SocketPath;
use pagemesh_attach::{Error, SOCKET_VARIABLE};

use crate::lock::lock;
use crate::report::say;
use crate::state::{self, Agent};
use crate::{fork, inherit, next};

static STARTED: AtomicBool = AtomicBool::new(false);

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;

extern "C" fn at_load() {
    start();
}

/// Finds libc's functions and the agent, once.
pub(crate) fn start() {
    if STARTED.load(Ordering::Acquire) {
        return;
    }
    let mut state = lock();
    if STARTED.load(Ordering::Acquire) {
        return;
    }
    next::find();
    state::claim_process();
    state.agent = agent();
    if !matches!(state.agent, Agent::Absent) {
        fork::watch();
        inherit::adopt(&mut state);
    }
    STARTED.store(true, Ordering::Release);
}

fn agent() -> Agent {
    let mut name = [0_u8; 32];
    name[..SOCKET_VARIABLE.len()].copy_from_slice(SOCKET_VARIABLE.as_bytes());
    // SAFETY: the name ends with NUL. The value is copied at once, and a program that changes its environment in another
    // thread before it has begun to run is none.
    let value = unsafe {
        let value = libc::getenv(name.as_ptr().cast());
        if value.is_null() {
            return Agent::Absent;
        }
        CStr::from_ptr(value).to_bytes()
    };
    if value.is_empty() {
        return Agent::Absent;
    }
    let mut path = [0_u8; 512];
    match absolute(value, &mut path).and_then(SocketPath::new) {
        Ok(path) => Agent::At(path),
        Err(error) => {
            say!("PAGEMESH_SOCKET: {error}");
            Agent::Unusable(error)
        }
    }
}

/// `path` from the root, for the program may go to another directory before it forks.
fn absolute<'a>(path: &'a [u8], buffer: &'a mut [u8; 512]) -> Result<&'a [u8], Error> {
    if path.starts_with(b"/") {
        return Ok(path);
    }
    // SAFETY: the kernel writes at most as many bytes as the buffer is told to have.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), 256) };
    // The length counts the NUL, which becomes the slash.
    let directory = usize::try_from(length).ok().filter(|length| *length > 0).ok_or(Error::SocketPath)?;
    let end = directory + path.len();
    buffer.get_mut(directory..end).ok_or(Error::SocketPath)?.copy_from_slice(path);
    buffer[directory - 1] = b'/';
    Ok(&buffer[..end])
}
