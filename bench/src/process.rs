//! The processes of a run: this program, started once more, with a role, and a connection to the harness for its standard input.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::floor::{app, server};
use crate::program;

/// What a process is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Role {
    /// The floor's program.
    FloorApp {
        /// Pages that it maps.
        pages: usize,
    },
    /// The floor's other node.
    FloorServer {
        /// Where the harness listens.
        address: SocketAddr,
    },
    /// Keeps a processor busy.
    Spinner,
    /// A program that is attached to a region.
    Program {
        /// Of its node's agent.
        socket: PathBuf,
        /// The region.
        region: String,
    },
}

/// Plays a role until the harness has gone.
///
/// # Errors
/// What went wrong: for standard error.
pub fn play(role: &str) -> Result<()> {
    let role: Role = serde_json::from_str(role).context("`bench` starts this by itself")?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let harness = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    match role {
        Role::FloorApp { pages } => Ok(app::run(harness, pages)?),
        Role::FloorServer { address } => {
            let connection = TcpStream::connect(address)?;
            connection.set_nodelay(true)?;
            Ok(server::run(connection)?)
        }
        Role::Spinner => loop {
            std::hint::spin_loop();
        },
        Role::Program { socket, region } => program::run(harness, &socket, &region),
    }
}

/// A running process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Child(std::process::Child);

impl Child {
    /// Starts one, and returns the harness' end of its connection.
    pub(crate) fn start(role: Role) -> Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair().context("no socket can be made; raise `ulimit -n`")?;
        let own = std::env::current_exe().context("this program does not find itself")?;
        let child = Command::new(own)
            .arg0("pagemesh")
            .args(["bench-process", &serde_json::to_string(&role)?])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .context("this program cannot be started once more")?;
        Ok((Child(child), ours))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process that is asked by lines of JSON, and answers each by one.
#[derive(Debug)]
pub(crate) struct Talking {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
    _child: Child,
}

impl Talking {
    pub(crate) fn start(role: Role) -> Result<Talking> {
        let (child, writer) = Child::start(role)?;
        let reader = BufReader::new(writer.try_clone()?);
        Ok(Talking { writer, reader, _child: child })
    }

    /// Has it do something, and does not wait for it.
    pub(crate) fn tell(&mut self, order: &impl Serialize) -> Result<()> {
        writeln!(self.writer, "{}", serde_json::to_string(order)?).context("a process of the run has ended")
    }

    /// What it answers.
    pub(crate) fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("a process of the run has ended; see what it said above");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
