//! `pagemesh-agent`: puts the parts together, and takes them apart in order.

mod args;

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pagemesh_agent::attach::{self, Server};
use pagemesh_agent::config::{Me, Objects, Watch};
use pagemesh_agent::control::Control;
use pagemesh_agent::instance::{Dirs, Info};
use pagemesh_agent::metrics::Metrics;
use pagemesh_agent::peer::{Identity, Network};
use pagemesh_agent::shard::{Command, Event, Setup, Shard, ShardHandle};
use pagemesh_agent::{http, preflight, uffd};
use pagemesh_protocol::{AgentId, Incarnation, Tuning};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use args::{Args, LogFormat, PreflightArgs, PreflightFormat, RunArgs, Subcommand};

/// Shards of an agent that is not told how many, at most: more cores than these serve programs better.
const SHARDS_DEFAULT_MAX: usize = 4;

/// How long to wait at the end for threads that the kernel holds up.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let result = match Args::parse() {
        Args { command: Some(Subcommand::Preflight(args)), .. } => return report(&args),
        Args { command: None, run: Some(args) } => run(&args),
        Args { command: None, run: None } => unreachable!("clap asks for one or the other"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn report(args: &PreflightArgs) -> ExitCode {
    let findings = preflight::evaluate(&preflight::gather(&args.memory_dir));
    let text = match args.output {
        PreflightFormat::Table => preflight::table(&findings),
        PreflightFormat::Json => preflight::json(&findings),
    };
    // Whoever does not want the whole report still wants the exit status.
    let _ = io::stdout().write_all(text.as_bytes());
    if preflight::passes(&findings) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(args: &RunArgs) -> Result<()> {
    start_log(args);
    raise_descriptor_limit();
    let dirs = Dirs::take(&args.dir, &args.memory_dir)?;
    let device = File::open(uffd::DEVICE).with_context(|| {
        format!("cannot open {}: `pagemesh-agent preflight` tells what to do", uffd::DEVICE)
    })?;
    let me = Me { name: args.name.clone(), id: AgentId(args.id) };
    let metrics = Arc::new(Metrics::new());
    let (sender, events) = mpsc::unbounded_channel();
    let identity = Identity {
        me: me.id,
        incarnation: incarnation().context("cannot read /dev/urandom")?,
        shards: shard_count(args),
    };
    let shards = spawn_shards(args, identity, &metrics, &sender).context("cannot start the shards")?;
    let control = Arc::new(Control::new(me, shards, args.memory_dir.clone()));

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let parts = Parts { control: Arc::clone(&control), metrics, identity, device, events };
    let result = runtime.block_on(serve(args, &dirs, parts));
    // First nobody talks to the shards any more, then they end, then what they worked on goes.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    for shard in control.shards() {
        shard.send(Command::Stop);
    }
    for shard in control.shards() {
        shard.join();
    }
    control.close();
    result
}

/// What `serve` works with.
struct Parts {
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    identity: Identity,
    device: File,
    events: mpsc::UnboundedReceiver<Event>,
}

/// Serves until a signal comes, or a part fails.
async fn serve(args: &RunArgs, dirs: &Dirs, parts: Parts) -> Result<()> {
    let Parts { control, metrics, identity, device, mut events } = parts;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let objects = Watch::start(&args.objects, control.me().clone())?;
    let network = Network::start(args.listen, identity, control.shards().to_vec())?;
    let apply = |objects: Arc<Objects>| {
        let peers = objects.peers(identity.me);
        // Regions first: a peer that is connected may ask for their pages at once.
        control.apply(objects);
        network.set_peers(peers);
    };
    apply(objects.in_force());
    let (publish, mut published) = watch::channel(objects.in_force());

    let listener = attach::listen(&dirs.socket(), args.socket_mode)?;
    let server = Server::new(listener, device.into(), Arc::clone(&control), args.attachments)?;
    let listener = TcpListener::bind(args.http).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {}: choose another --http", args.http))?;
    let info = Info {
        pid: std::process::id(),
        name: args.name.clone(),
        id: args.id,
        listen: network.local_addr(),
        http: listener.local_addr()?,
        socket: dirs.socket(),
    };
    if !info.http.ip().is_loopback() {
        warn!(http = %info.http, "everyone who reaches this address can read the agent's status");
    }

    let mut tasks = JoinSet::new();
    tasks.spawn(objects.run(publish));
    tasks.spawn(server.run());
    let router = http::router(Arc::clone(&control), metrics);
    tasks.spawn(async {
        axum::serve(listener, router).await.unwrap_or_else(|error| warn!(%error, "HTTP ended"))
    });

    dirs.announce(&info).context("cannot write agent.json")?;
    info!(name = info.name, id = info.id, listen = %info.listen, http = %info.http, "the agent is up");
    let reason = loop {
        tokio::select! {
            _ = interrupt.recv() => break Ok("SIGINT"),
            _ = terminate.recv() => break Ok("SIGTERM"),
            Some(event) = events.recv() => on_event(&control, &network, event),
            Ok(()) = published.changed() => apply(Arc::clone(&published.borrow_and_update())),
            Some(ended) = tasks.join_next() => break Err(anyhow!("a part of the agent has ended: {ended:?}")),
        }
    };
    // Attachments end here: the shards forget them, and their programs wait at their next remote access.
    tasks.shutdown().await;
    info!("the agent ends: {}", reason.as_ref().map_or("a part has failed", |signal| signal));
    reason.map(drop)
}

fn on_event(control: &Control, network: &Network, event: Event) {
    match event {
        Event::PeerLost { shard, peer, reason } => {
            info!(peer = peer.0, shard, reason, "lost a peer");
            network.lost(shard, peer);
        }
        Event::AttachmentEnded { attachment, reason } => {
            info!(attachment = attachment.0, reason, "an attachment ended");
            control.attachment_ended(attachment, reason);
        }
    }
}

fn start_log(args: &RunArgs) {
    let log = tracing_subscriber::fmt().with_max_level(args.log).with_writer(io::stderr);
    match args.log_format {
        LogFormat::Human => log.with_target(false).with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// Every attachment takes some descriptors, and shells and service managers set the soft limit for another age.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!(%error, "cannot raise RLIMIT_NOFILE to its hard limit");
    }
}

fn shard_count(args: &RunArgs) -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    args.shards.unwrap_or(cores.min(SHARDS_DEFAULT_MAX) as u16)
}

fn spawn_shards(
    args: &RunArgs,
    identity: Identity,
    metrics: &Arc<Metrics>,
    events: &mpsc::UnboundedSender<Event>,
) -> io::Result<Vec<ShardHandle>> {
    let Identity { me, incarnation, shards } = identity;
    let mut tuning = Tuning::default();
    if let Some(turn) = args.turn {
        tuning.turn_nanos = u64::from(turn) * 1000;
    }
    let setup = Setup { me, incarnation, shards, tuning, metrics: Arc::clone(metrics) };
    (0..shards).map(|shard| Shard::spawn(shard, setup.clone(), events.clone())).collect()
}

/// A number that no other life of this agent has.
fn incarnation() -> io::Result<Incarnation> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(Incarnation(u64::from_ne_bytes(bytes)))
}
