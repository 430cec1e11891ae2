//! The programs that tests run on the nodes: examples/worker, one process each.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use super::{Mesh, die_with_us, until};

pub struct Worker {
    pub process: Child,
    what: String,
}

impl Worker {
    /// Starts the worker on `node`: `what` to do, with which arguments.
    pub fn start(mesh: &Mesh, node: usize, what: &str, args: &[&str]) -> Worker {
        Worker::start_at(&mesh.socket(node), what, args)
    }

    /// The same with a socket of the node's.
    pub fn start_at(socket: &Path, what: &str, args: &[&str]) -> Worker {
        let mut command = Command::new(program("examples/worker"));
        command.arg(what).arg(socket).args(args);
        let process = die_with_us(&mut command)
            .spawn()
            .expect("examples/worker is built with all tests, or by `cargo build --examples`");
        Worker { process, what: format!("{what} {args:?} at {}", socket.display()) }
    }

    /// Waits for it to end.
    pub fn end(&mut self) -> ExitStatus {
        let what = format!("{} to end", self.what);
        until(&what, || self.process.try_wait().expect("it is our child"))
    }

    /// Waits for it to end well.
    pub fn succeed(mut self) {
        let status = self.end();
        assert!(status.success(), "{}: {status}", self.what);
    }

    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Cargo builds examples beside the tests that it builds, and `make test` all programs before them.
pub(super) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let target = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    target.join(name)
}
