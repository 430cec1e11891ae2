//! A program that runs: what it says, and how it ends, each by a deadline.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// The slowest program needs a second. On a machine that is busy it gets this long.
const DEADLINE: Duration = Duration::from_secs(60);

/// A program that runs. Dropping it ends it and what it has started.
pub(crate) struct Program {
    what: String,
    child: Child,
    /// At its end when the program has ended; what it leaves running may still have `output` open.
    ended: PipeReader,
    /// Its standard output and error.
    output: PipeReader,
    said: Vec<u8>,
    /// Nobody has `output` open any more.
    silent: bool,
    /// Its number, which is that of its group, may be somebody else's by now.
    reaped: bool,
    deadline: Instant,
}

impl Program {
    /// Starts a program, which a failure calls `what`.
    pub(crate) fn start(what: String, mut command: Command) -> Program {
        let (output, writer) = io::pipe().expect("a pipe");
        let errors = writer.try_clone().expect("a pipe");
        // A group of its own, so that its children can be ended with it.
        command.stdin(Stdio::piped()).stdout(writer).stderr(errors).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{what} cannot be started: {error}"));
        let pid = pid(&child);
        let (ended, alive) = io::pipe().expect("a pipe");
        thread::spawn(move || {
            // It stays a zombie, so that nobody else gets the number of its group.
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            drop(alive);
        });
        Program {
            what,
            child,
            ended,
            output,
            said: Vec::new(),
            silent: false,
            reaped: false,
            deadline: Instant::now() + DEADLINE,
        }
    }

    /// Waits until it has said `text`.
    pub(crate) fn says(&mut self, text: &str) {
        while !self.text().contains(text) {
            let goes_on = self.listen();
            assert!(goes_on, "{} ended without `{text}`; it said:\n{}", self.what, self.text());
        }
    }

    /// Gives it a line to read.
    pub(crate) fn hears(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{line}").unwrap_or_else(|error| panic!("{} does not read: {error}", self.what));
    }

    /// Waits until it has ended, and ended well; all that it said.
    pub(crate) fn succeeds(mut self) -> String {
        while self.listen() {}
        let status = self.end();
        assert!(status.success(), "{}: {status}; it said:\n{}", self.what, self.text());
        self.text()
    }

    /// Kills it. Until then it must have run.
    pub(crate) fn killed(mut self) {
        killpg(pid(&self.child), Signal::SIGKILL).expect("it is not reaped");
        while self.listen() {}
        let status = self.end();
        let by_us = status.signal() == Some(Signal::SIGKILL as i32);
        assert!(by_us, "{} has ended before: {status}; it said:\n{}", self.what, self.text());
    }

    /// Waits until it says more. False: it has ended, and all that it said is here.
    fn listen(&mut self) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{} is not done within {DEADLINE:?}; it said:\n{}", self.what, self.text());
        let mut fds = [&self.ended, &self.output].map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
        let watched = if self.silent { &mut fds[..1] } else { &mut fds[..] };
        poll(watched, PollTimeout::try_from(left).expect("a minute fits")).expect("no signal comes");
        let [ended, output] = fds.map(|fd| fd.any().expect("known flags"));
        if output {
            let mut part = [0; 4096];
            let length = self.output.read(&mut part).expect("a pipe can be read");
            self.said.extend_from_slice(&part[..length]);
            self.silent = length == 0;
        }
        output || !ended
    }

    /// How it ended, once it has. What a program that failed has left running ends as well.
    fn end(&mut self) -> ExitStatus {
        let status = waitid(Id::Pid(pid(&self.child)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        if !matches!(status, Ok(WaitStatus::Exited(_, 0))) {
            let _ = killpg(pid(&self.child), Signal::SIGKILL);
        }
        self.reaped = true;
        self.child.wait().expect("it is our child")
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = killpg(pid(&self.child), Signal::SIGKILL);
            self.end();
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}
