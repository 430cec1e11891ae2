//! `pagemesh probe`: does what one node stores really arrive at another?

mod exchange;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use anyhow::{Context, Result, bail};
use pagemesh::wire::Reason;
use pagemesh::{Error, Region, SOCKET_VARIABLE};

use crate::agent_api::AgentInfo;
use crate::mesh::{DirArg, Mesh};
use crate::output;
use exchange::{Memory, Side};

/// Between two looks at memory that another node is to change.
const LOOK_PAUSE: Duration = Duration::from_millis(1);
/// Between two attempts to attach.
const ATTACH_PAUSE: Duration = Duration::from_millis(200);

/// Verify that two nodes share a region, by plain loads and stores.
///
/// Run one as the writer and one as the reader, each on another node, with the same token. The writer stores a pattern over up
/// to 1,000 pages; the reader verifies every word and stores a pattern of its own, which the writer verifies. It overwrites
/// what the region holds, so use one for this alone. Succeeds only if all was verified.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pagemesh probe --region scratch --as writer --token monday --node 0 &
  pagemesh probe --region scratch --as reader --token monday --node 1
  PAGEMESH_SOCKET=/run/pagemesh/agent.sock pagemesh probe --region team-a/scratch --as reader --token 1")]
pub(crate) struct Args {
    /// Region to use, as NAME or NAMESPACE/NAME; at least 3 pages.
    #[arg(long, value_name = "REGION")]
    region: String,
    /// Which side to be.
    #[arg(long = "as", value_name = "SIDE")]
    side: SideArg,
    /// Word by which the two sides know each other.
    #[arg(long, value_name = "TEXT")]
    token: String,
    /// How long all of it may take, as 30s or 2m.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// Socket of the agent [default: $PAGEMESH_SOCKET]
    #[arg(long, value_name = "PATH", conflicts_with = "node")]
    socket: Option<PathBuf>,
    /// Node of the mesh of `pagemesh dev`, from 0.
    #[arg(long, value_name = "K")]
    node: Option<u16>,
    #[command(flatten)]
    dir: DirArg,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SideArg {
    // The pods of an indexed Job know their number and nothing else of themselves.
    #[value(alias = "0")]
    Writer,
    #[value(alias = "1")]
    Reader,
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds = crate::logs::seconds(text)?;
    u64::try_from(seconds).map(Duration::from_secs).map_err(|_| "write it as 30s or 2m".into())
}

/// Verifies.
pub(crate) fn probe(args: &Args) -> Result<ExitCode> {
    let socket = socket(args)?;
    let side = match args.side {
        SideArg::Writer => Side::Writer,
        SideArg::Reader => Side::Reader,
    };
    let (name, token, nonce) = (args.region.clone(), args.token.clone(), nonce()?);
    let stage = Stage::new("attaching".into());
    let (done, result) = mpsc::channel();
    let started = Instant::now();
    let of_thread = stage.clone();
    // An access waits in the kernel as long as its page does not come, so it must not be this thread that keeps the time.
    thread::Builder::new()
        .spawn(move || {
            let _ = done.send(attached(&socket, &name, side, &token, nonce, &of_thread));
        })
        .context("no thread can be started")?;
    match result.recv_timeout(args.timeout) {
        Ok(pages) => {
            let seconds = started.elapsed().as_secs_f64();
            let pages = pages.with_context(|| format!("the probe of region {} failed", args.region))?;
            output::print(&format!("verified {pages} pages in each direction in {seconds:.1} s\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(RecvTimeoutError::Timeout) => bail!(
            "the probe of region {} did not end within {} s: {}",
            args.region,
            args.timeout.as_secs(),
            stage.get()
        ),
        Err(RecvTimeoutError::Disconnected) => bail!("the probe ended without a result; this is a bug"),
    }
}

/// What is being done: what a time-out is blamed on.
#[derive(Clone)]
struct Stage(Arc<Mutex<String>>);

impl Stage {
    fn new(text: String) -> Stage {
        Stage(Arc::new(Mutex::new(text)))
    }

    fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn attached(socket: &Path, name: &str, side: Side, token: &str, nonce: u64, stage: &Stage) -> Result<usize> {
    let region = attach(socket, name, stage)?;
    let memory = Memory::new(region.words(), region.page_size())?;
    memory.exchange(side, token, nonce, |waits_for| {
        stage.set(waits_for.to_string());
        thread::sleep(LOOK_PAUSE);
        Ok(())
    })
}

/// Attaches as soon as the agent lets us: it may be just starting, and so may the region. Whoever keeps the time ends it.
fn attach(socket: &Path, name: &str, stage: &Stage) -> Result<Region> {
    loop {
        match Region::attach_to(socket, name) {
            Ok(region) => return Ok(region),
            Err(error) if passes(&error) => stage.set(format!("it could not attach: {error}")),
            Err(error) => return Err(error.into()),
        }
        thread::sleep(ATTACH_PAUSE);
    }
}

/// Whether what hinders us may go by itself.
fn passes(error: &Error) -> bool {
    match error {
        Error::Unreachable(_) | Error::Gone(_) => true,
        Error::Refused(refusal) => match refusal.reason {
            Reason::UnknownRegion | Reason::NotReady | Reason::TooMany => true,
            Reason::BadRequest
            | Reason::Version
            | Reason::Internal
            | Reason::Forbidden
            | Reason::Deleting => false,
        },
        Error::ReadOnly
        | Error::NoSocket
        | Error::SocketPath
        | Error::Name
        | Error::Strange(_)
        | Error::Userfaultfd(_)
        | Error::Mapping(_)
        | Error::TooManyRegions
        | Error::Descriptors(_) => false,
    }
}

fn socket(args: &Args) -> Result<PathBuf> {
    if let Some(k) = args.node {
        let node = Mesh::find(args.dir.resolve()?)?.node(k)?;
        let agent = AgentInfo::read(&node)?;
        return Ok(agent.with_context(|| format!("the agent of node {k} is not up yet; try again"))?.socket);
    }
    let given = args.socket.clone().or_else(|| env::var_os(SOCKET_VARIABLE).map(PathBuf::from));
    match given.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => Ok(path),
        None => bail!(
            "no agent is named: give its socket with --socket or {SOCKET_VARIABLE}, or a node of `pagemesh dev` with --node"
        ),
    }
}

/// A number that no other run has, so that what an earlier one left in the region is not taken for an answer.
fn nonce() -> Result<u64> {
    let mut bytes = [0; 8];
    let read =
        fs::File::open("/dev/urandom").and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes));
    read.context("/dev/urandom cannot be read; this program needs a /dev")?;
    Ok(u64::from_le_bytes(bytes).max(1))
}
