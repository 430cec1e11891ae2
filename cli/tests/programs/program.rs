//! One program that runs, what it says, and how it ends: each within a deadline.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// The slowest program needs a second; on a machine that is busy it gets this long.
const DEADLINE: Duration = Duration::from_secs(60);

/// A program that runs. Dropping it ends it, and what it has started.
pub(crate) struct Program {
    what: String,
    child: Child,
    /// Readable when it has ended.
    ended: OwnedFd,
    /// Its standard output and error.
    pipe: PipeReader,
    /// What came from there.
    said: Vec<u8>,
    deadline: Instant,
}

impl Program {
    /// Starts a program with nothing to read; a failure calls it `what`.
    pub(crate) fn start(what: String, mut command: Command) -> Program {
        let (pipe, writer) = io::pipe().expect("a pipe");
        let error = writer.try_clone().expect("a pipe");
        // A group of its own, so that its children end with it when it is given up.
        command.stdin(Stdio::piped()).stdout(writer).stderr(error).process_group_of_its_own();
        let child = command.spawn().unwrap_or_else(|error| panic!("{what} cannot be started: {error}"));
        let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("it is not reaped");
        Program { what, child, ended, pipe, said: Vec::new(), deadline: Instant::now() + DEADLINE }
    }

    /// Waits until it has said `text`.
    pub(crate) fn says(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.said).contains(text) {
            assert!(!self.goes_on(), "{} ended and did not say `{text}`; it said:\n{}", self.what, self.text());
        }
    }
}
