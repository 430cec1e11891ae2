//! Signals as facts to look at, one wait for all of them.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What tells us to stop, and the end of children.
const CAUGHT: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD];

/// Catches what tells us to stop, and the end of children: they are blocked, so that they queue up in a descriptor.
pub(super) struct Signals {
    queue: SignalFd,
    /// The last signal that told us to stop.
    stop: Option<Signal>,
}

impl Signals {
    /// Begins to catch them. To be called before the first child starts, so that no end of a child is missed, and before
    /// any other thread starts: what a thread does not block, it gets.
    pub(super) fn install() -> Result<Signals> {
        let caught: SigSet = CAUGHT.into_iter().collect();
        caught.thread_block().context("signals cannot be caught")?;
        for caught in CAUGHT {
            // Who started us may ignore some, as nohup does: children would inherit that, and the kernel keeps no status
            // of children for those that ignore their end.
            // SAFETY: the default action runs no code of ours.
            unsafe { signal(caught, SigHandler::SigDfl) }.context("a signal cannot be caught")?;
        }
        let queue = SignalFd::with_flags(&caught, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Signals { queue: queue.context("no descriptor for signals")?, stop: None })
    }

    /// Lets a child of ours, between fork and exec, get signals: what is blocked stays blocked across both.
    ///
    /// Async-signal-safe: it makes one system call and allocates nothing.
    pub(super) fn unblock() -> Result<(), Errno> {
        CAUGHT.into_iter().collect::<SigSet>().thread_unblock()
    }

    /// The signal that told us to stop, if one had when [`wait`](Signals::wait) was last called.
    pub(super) fn stop(&self) -> Option<Signal> {
        self.stop
    }

    /// Goes on as if no signal had told us to stop.
    pub(super) fn forget(&mut self) {
        self.stop = None;
    }

    /// Returns when a signal has come since the last call, or `timeout` is over.
    pub(super) fn wait(&mut self, timeout: Duration) {
        let timeout = PollTimeout::try_from(timeout).expect("no wait is as long as 24 days");
        match poll(&mut [PollFd::new(self.queue.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => panic!("the descriptor for signals broke: {error}"),
        }
        // How many ends of children came says nothing: whoever waits looks at all of them anew.
        while let Some(arrived) = self.queue.read_signal().expect("a signalfd can be read") {
            let arrived = CAUGHT.into_iter().find(|caught| *caught as u32 == arrived.ssi_signo);
            self.stop = arrived.filter(|signal| *signal != Signal::SIGCHLD).or(self.stop);
        }
    }
}
