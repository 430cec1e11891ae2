//! Signals as facts to look at, one wait for all of them.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

/// Catches what tells us to stop, and the end of children.
pub(super) struct Signals {
    wake: UnixStream,
    /// The last signal that told us to stop; 0 if none did.
    stop: Arc<AtomicUsize>,
}

impl Signals {
    /// Begins to catch them. To be called before the first child starts, so that no end of a child is missed.
    pub(super) fn install() -> Result<Signals> {
        let (wake, waker) = UnixStream::pair().context("no pair of sockets for signals")?;
        let stop = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // The value is set before the wake-up is sent: handlers run in the order of their registration.
            signal_hook::flag::register_usize(signal, Arc::clone(&stop), signal.unsigned_abs() as usize)
                .context("a signal cannot be caught")?;
        }
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGCHLD] {
            let waker = waker.try_clone().context("no socket for signals")?;
            signal_hook::low_level::pipe::register(signal, waker).context("a signal cannot be caught")?;
        }
        Ok(Signals { wake, stop })
    }

    /// The signal that told us to stop, if one did.
    pub(super) fn stop(&self) -> Option<i32> {
        i32::try_from(self.stop.load(Ordering::SeqCst)).ok().filter(|signal| *signal != 0)
    }

    /// Goes on as if no signal had told us to stop.
    pub(super) fn forget(&self) {
        self.stop.store(0, Ordering::SeqCst);
    }

    /// Returns when a signal has come since the last call, or `timeout` is over.
    pub(super) fn wait(&self, timeout: Duration) {
        self.wake.set_read_timeout(Some(timeout)).expect("the timeout is not zero");
        // How many signals came says nothing: whoever waits looks at everything anew.
        if let Err(error) = (&self.wake).read(&mut [0; 64]).map(drop) {
            let harmless = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted];
            assert!(harmless.contains(&error.kind()), "the socket for signals broke: {error}");
        }
    }
}
