//! The keeper: a sidecar that holds duplicates of the userfaultfds and region files of its pod's programs. When the agent of the
//! node dies, whoever touches a page that is not there waits for its successor, and nobody reads zeros, even where a program has
//! closed its own.
//!
//! One thread and one `poll`: `run` is the loop, `link` the connection to the agent, `holdings` what is held, `http` and
//! `metrics` the pages for those who look after the pod, `probe` the subcommands for the kubelet.

mod holdings;
mod http;
mod link;
mod metrics;
mod probe;
mod run;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use clap::Parser;
use pagemesh_attach::SOCKET_VARIABLE;
use pagemesh_attach::socket::SocketPath;

/// Holds what a pod's programs need to outlive the agent of their node.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Hold the pod's userfaultfds and region files until it ends
    Run(Place),
    /// Exit with 0 if every region of the pod can be attached now, else say why not
    Startup(Socket),
    /// The same, but 0 too while the agent is being started again
    Ready(Place),
}

#[derive(Debug, clap::Args)]
struct Socket {
    /// The socket of the pod's volume
    #[arg(long, env = SOCKET_VARIABLE, value_name = "PATH")]
    socket: OsString,
}

impl Socket {
    fn path(&self) -> Result<SocketPath, String> {
        SocketPath::new(self.socket.as_bytes()).map_err(|error| error.to_string())
    }
}

#[derive(Debug, clap::Args)]
struct Place {
    #[command(flatten)]
    socket: Socket,
    /// Where /metrics, /healthz and /readyz are
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:9747")]
    listen: SocketAddr,
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Run(place) => place.socket.path().and_then(|path| run::run(path, place.listen)),
        Command::Startup(socket) => socket.path().and_then(|path| probe::startup(&path)),
        Command::Ready(place) => place.socket.path().and_then(|path| probe::ready(&path, place.listen)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}
