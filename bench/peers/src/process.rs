//! Processes of a run. Each ends with the harness, however that ends.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::By;
use crate::order::Line;

/// How long a server may take to be there, or to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks whether it is.
const PAUSE: Duration = Duration::from_millis(10);

/// A process that is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// This program once more, as a client, and the connection to it.
    pub(crate) fn client(by: &By) -> Result<(Process, Line)> {
        let (ours, theirs) = UnixStream::pair().context("no socket can be made; raise `ulimit -n`")?;
        let mut command = own()?;
        command.args(["client", &serde_json::to_string(by)?]).stdin(Stdio::from(OwnedFd::from(theirs)));
        let child =
            command.stdout(Stdio::null()).spawn().context("this program cannot be started once more")?;
        Ok((Process(child), Line::new(ours)?))
    }

    /// A program of somebody else's. What it says goes to `log`.
    pub(crate) fn server(words: &[OsString], dir: &Path, log: &Path) -> Result<Process> {
        let log = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let mut command = own()?;
        // Only a process itself can ask to be told of its parent's end; so this program becomes that one.
        command.arg("become").arg("--").args(words).current_dir(dir).env("TMPDIR", dir);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Process(command.spawn().context("this program cannot be started once more")?))
    }

    /// Waits until `look` finds what it looks for.
    pub(crate) fn wait_until<T>(&mut self, mut look: impl FnMut() -> Option<T>, log: &Path) -> Result<T> {
        let until = Instant::now() + PATIENCE;
        let said = || fs::read_to_string(log).unwrap_or_default();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if let Some(status) = self.0.try_wait()? {
                bail!("it ended at its start ({status}): {}", said().trim());
            }
            if Instant::now() > until {
                bail!("it is not there after {} s: {}", PATIENCE.as_secs(), said().trim());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until somebody listens there.
    pub(crate) fn wait_for_port(&mut self, address: SocketAddr, log: &Path) -> Result<()> {
        self.wait_until(|| TcpStream::connect(address).ok(), log).map(drop)
    }

    fn end(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let pid = Pid::from_raw(i32::try_from(self.0.id())?);
        if self.0.try_wait()?.is_none() {
            kill(pid, Signal::SIGTERM)?;
        }
        while self.0.try_wait()?.is_none() {
            if Instant::now() > until {
                self.0.kill()?;
                self.0.wait()?;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("pagemesh-bench-peers: process {} may still run: {error:#}", self.0.id());
        }
    }
}

fn own() -> Result<Command> {
    Ok(Command::new(std::env::current_exe().context("this program does not find itself")?))
}

/// Becomes another program, which is told to end when the harness does.
pub(crate) fn become_other(words: &[OsString]) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
    let (program, args) = words.split_first().context("a program is needed")?;
    Err(anyhow!(Command::new(program).args(args).exec())
        .context(format!("{} cannot be started", program.display())))
}

/// Where a program is, in `PATH` or where Debian has what only root needs.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = dirs.find_map(|dir| Some(dir.join(name)).filter(|file| file.is_file()));
    found.with_context(|| format!("there is no `{name}` here; `bench/peers/install` installs it"))
}

/// What a program prints, all of it.
pub(crate) fn output(program: impl AsRef<OsStr>, args: &[&OsStr]) -> Result<String> {
    let program = program.as_ref();
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        bail!("{} failed ({}): {}", program.display(), output.status, text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

/// A port of loopback that nobody has. Somebody may take it before a server does: that then says so.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?.local_addr()?)
}
