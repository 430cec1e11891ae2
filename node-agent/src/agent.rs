//! The agent itself, whoever tells it what there is to serve: its data path, its doors, and the loop between them.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use pagemesh_agent::attach::{self, Holdings, Server, Serving};
use pagemesh_agent::config::{Me, Objects};
use pagemesh_agent::control::{Control, survey};
use pagemesh_agent::http::{self, Readiness, Standing};
use pagemesh_agent::instance::{Dirs, Info};
use pagemesh_agent::kept::{self, Kept, TakenUp};
use pagemesh_agent::kubernetes::PodEvents;
use pagemesh_agent::listen::candidates;
use pagemesh_agent::metrics::{Before, Metrics};
use pagemesh_agent::names::{Listeners, Names};
use pagemesh_agent::observe::{self, Observation};
use pagemesh_agent::peer::{Identity, Network};
use pagemesh_agent::shard::{Event, monotonic_nanos};
use pagemesh_agent::uffd;
use pagemesh_agent::volume::Volumes;
use pagemesh_protocol::Incarnation;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use crate::args::RunArgs;
use crate::shards::{spawn_shards, take_up};
use crate::take_over::Predecessor;

/// Shards of an agent that is not told how many, at most: more cores than these serve programs better.
const SHARDS_DEFAULT_MAX: usize = 4;

/// A number that no other life of this agent has.
fn incarnation() -> Result<Incarnation> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(Incarnation(u64::from_ne_bytes(bytes)))
}

/// The life of this agent: that of an earlier process whose memory is there, or another one.
pub(crate) fn life(memory_dir: &Path) -> Result<Incarnation> {
    kept::incarnation(memory_dir).map_or_else(incarnation, Ok)
}

/// An incarnation as objects have it.
pub(crate) fn shown(incarnation: Incarnation) -> String {
    format!("{:016x}", incarnation.0)
}

pub(crate) fn shard_count(args: &RunArgs) -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    args.shards.unwrap_or(cores.min(SHARDS_DEFAULT_MAX) as u16)
}

/// The signals that end an agent.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Signals> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Signals { interrupt, terminate })
    }

    /// Awaits the next of them.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// The HTTP pages, from the start to the end of the process.
pub(crate) struct Pages {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) standing: watch::Sender<Standing>,
    task: JoinSet<()>,
}

impl Pages {
    pub(crate) async fn start(args: &RunArgs, readiness: Readiness, why_not_yet: &str) -> Result<Pages> {
        let listener = TcpListener::bind(&*candidates(args.http)).await;
        let listener =
            listener.with_context(|| format!("cannot listen on {}: choose another --http", args.http))?;
        let address = listener.local_addr()?;
        let metrics = Arc::new(Metrics::new());
        let (standing, stands) = watch::channel(Standing::Waiting(why_not_yet.into()));
        let router = http::router(stands, readiness, Arc::clone(&metrics));
        let mut task = JoinSet::new();
        task.spawn(async {
            axum::serve(listener, router).await.unwrap_or_else(|error| warn!(%error, "HTTP ended"))
        });
        Ok(Pages { address, metrics, standing, task })
    }

    /// Answers nobody any more: the address is free.
    pub(crate) async fn end(mut self) {
        self.task.shutdown().await;
    }
}

/// What an agent serves: regions, to its node and to its pods.
pub(crate) struct Served {
    pub(crate) objects: watch::Receiver<Arc<Objects>>,
    /// By which pods attach.
    pub(crate) volumes: Volumes,
    /// By which they are told what is wrong.
    pub(crate) events: PodEvents,
}

/// A serving agent.
pub(crate) struct Agent {
    pub(crate) control: Arc<Control>,
    /// What it holds, looked at again and again.
    pub(crate) observed: watch::Receiver<Observation>,
    network: Network,
    events: mpsc::UnboundedReceiver<Event>,
    objects: watch::Receiver<Arc<Objects>>,
    /// Those that have been applied.
    in_force: watch::Sender<Arc<Objects>>,
    identity: Identity,
    memory_dir: PathBuf,
    /// Whatever of this ends, the agent must.
    tasks: JoinSet<()>,
}

impl Agent {
    /// Starts to serve what is there and whatever follows on it.
    pub(crate) async fn start(
        args: &RunArgs,
        dirs: &Dirs,
        pages: &Pages,
        me: Me,
        incarnation: Incarnation,
        served: Served,
        before: Predecessor,
    ) -> Result<Agent> {
        let device = File::open(uffd::DEVICE).with_context(|| {
            format!("cannot open {}: `pagemesh-agent preflight` tells what to do", uffd::DEVICE)
        })?;
        let listener = attach::listen(&dirs.socket(), args.socket_mode)?;
        let identity = Identity { me: me.id, incarnation, shards: shard_count(args) };
        let taken_up = take_up(&args.memory_dir, identity)?;
        let (recovered, regions, attachments, keepers) = match taken_up {
            Some(TakenUp { shards, regions, attachments, keepers, .. }) => {
                (shards, regions, attachments, keepers)
            }
            None => Default::default(),
        };
        let takes_over = !recovered.is_empty();
        let (sender, events) = mpsc::unbounded_channel();
        let shards = spawn_shards(args, identity, recovered, &pages.metrics, &sender)
            .context("cannot start the shards")?;
        let control = Control::new(me, shown(incarnation), shards, args.memory_dir.clone());
        let Served { objects, volumes, events: pods } = served;
        let control = Arc::new(control.telling(pods));
        // Before anybody is talked to: whatever programs may write must be known to be taken from them.
        let closed = control.reopen(regions);
        let holdings = Arc::new(Holdings::new(incarnation, Kept::of(&args.memory_dir), keepers));
        let adopted = match attach::adopt(&control, &holdings, attachments) {
            Ok(adopted) => adopted,
            Err(error) => {
                // A program could write what others do not see. Another life has nothing to do with it.
                Kept::of(&args.memory_dir).remove().context("cannot remove what cannot be taken up")?;
                return Err(error)
                    .context("what an earlier process of this agent held is lost; start the agent anew");
            }
        };
        if takes_over {
            control.take_over(closed);
        }
        let network = Network::start(args.listen, identity, control.shards().to_vec())?;
        let (publish, observed) = watch::channel(Observation::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(observe::observe(Arc::clone(&control), publish));
        let in_force = watch::Sender::new(Arc::clone(&objects.borrow()));
        let names = Arc::new(Names::new(args.name.clone(), shown(incarnation), in_force.subscribe()));
        let name_server = Listeners::open(args.names, dirs.dir(), args.socket_mode).await?;
        let names_at = name_server.address();
        tasks.spawn(name_server.serve(Arc::clone(&names)));
        let serving = Serving { control: Arc::clone(&control), names, holdings };
        let server = Server::new(listener, device.into(), serving, args.attachments, adopted, volumes)?;
        let memory_dir = args.memory_dir.clone();
        let mut agent =
            Agent { control, observed, network, events, objects, in_force, identity, memory_dir, tasks };
        agent.apply();
        agent.tasks.spawn(server.run());
        if let Err(error) = agent.announce(args, dirs, pages, names_at) {
            agent.end(Ending::ToBeTakenUp).await;
            return Err(error);
        }
        if takes_over {
            agent.took_over(before, &pages.metrics).await;
        }
        Ok(agent)
    }

    fn announce(&self, args: &RunArgs, dirs: &Dirs, pages: &Pages, names: SocketAddr) -> Result<()> {
        let info = Info {
            pid: std::process::id(),
            name: args.name.clone(),
            id: self.identity.me.0,
            listen: self.network.local_addr(),
            http: pages.address,
            names,
            socket: dirs.socket(),
        };
        dirs.announce(&info).context("cannot write agent.json")?;
        pages.standing.send_replace(Standing::Serving(Arc::clone(&self.control)));
        info!(name = info.name, id = info.id, listen = %info.listen, http = %info.http, "the agent is up");
        Ok(())
    }

    /// Says how long programs have waited.
    async fn took_over(&self, before: Predecessor, metrics: &Metrics) {
        // Each shard answers this after it has gone on.
        if let Err(silent) = survey(&self.control).await {
            warn!(?silent, "shards do not answer");
        }
        let (kind, since_nanos) = match before {
            Predecessor::HandedOver { stopped_nanos } => (Before::HandedOver, stopped_nanos),
            Predecessor::NotThere { begun_nanos } => (Before::Died, begun_nanos),
        };
        let pause = Duration::from_nanos(monotonic_nanos().saturating_sub(since_nanos));
        metrics.took_over(kind, pause);
        info!(before = kind.name(), pause_us = pause.as_micros(), "took over");
    }

    /// The objects that it serves, as they follow on each other.
    pub(crate) fn objects(&self) -> watch::Receiver<Arc<Objects>> {
        self.objects.clone()
    }

    /// Has the agent end with `task`.
    pub(crate) fn depend_on(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Serves until `end` comes, or a part fails.
    pub(crate) async fn serve_until<T>(&mut self, end: impl Future<Output = T>) -> Result<T> {
        tokio::pin!(end);
        loop {
            tokio::select! {
                end = &mut end => return Ok(end),
                Some(event) = self.events.recv() => self.on_event(event),
                Ok(()) = self.objects.changed() => self.apply(),
                Some(ended) = self.tasks.join_next() => {
                    return Err(anyhow!("a part of the agent has ended: {ended:?}"));
                }
            }
        }
    }

    fn apply(&mut self) {
        let objects = Arc::clone(&self.objects.borrow_and_update());
        let peers = objects.peers(self.identity.me);
        // Regions first: a peer that is connected may ask for their pages at once, and who is told a name may attach at once.
        self.control.apply(Arc::clone(&objects));
        self.in_force.send_replace(objects);
        self.network.set_peers(peers);
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::PeerLost { shard, peer, reason, refused } => {
                if self.network.lost(shard, peer, refused) {
                    info!(peer = peer.0, shard, reason, "lost a peer");
                } else {
                    debug!(peer = peer.0, shard, reason, "refused a peer again");
                }
            }
            Event::Left { shard, region, attempt } => self.control.left(shard, region, attempt),
            Event::AttachmentEnded { attachment, reason } => {
                info!(attachment = attachment.0, reason, "an attachment ended");
                self.control.attachment_ended(attachment, reason);
            }
        }
    }

    /// Ends all attachments, then gives back all that is here of regions that others home. What is left at the deadline
    /// stays with this agent, and so goes with it. Returns whether nothing was.
    pub(crate) async fn leave(&mut self, deadline: Instant) -> bool {
        let control = Arc::clone(&self.control);
        control.stop_admitting();
        control.end_attachments();
        let mut changes = control.changes();
        let leave = async {
            // The sender lives as long as the control.
            let _ = changes.wait_for(|_| control.is_detached()).await;
            control.leave_all();
            let _ = changes.wait_for(|_| control.leaving() == 0).await;
        };
        match timeout_at(deadline, self.serve_until(leave)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => warn!("left what was here without taking leave: {error:#}"),
            Err(_) => {
                warn!(
                    regions = self.control.leaving(),
                    "the time to leave is over; what is still here goes with the agent"
                );
            }
        }
        false
    }

    /// Ends all that serves, and leaves everything to the agent that takes over. Returns when that began, on the machine's clock.
    ///
    /// # Errors
    /// It does not end, so nobody may take over before this process is gone.
    pub(crate) async fn stand_down(self) -> Result<u64> {
        let stopped_nanos = monotonic_nanos();
        ensure!(
            self.end(Ending::ToBeTakenUp).await,
            "cannot hand over, since the agent does not end what it does"
        );
        Ok(stopped_nanos)
    }

    /// Ends it. First nobody talks to the shards any more, then they end, then what they worked on goes, if nobody is to take it
    /// up. Returns whether all of it has ended.
    pub(crate) async fn end(mut self, ending: Ending) -> bool {
        self.tasks.shutdown().await;
        drop(self.network);
        let control = self.control;
        // The shards are threads; waiting for them may block.
        let kept = Kept::of(&self.memory_dir);
        let ended = tokio::task::spawn_blocking(move || {
            control.stop_shards();
            if ending == Ending::ToBeTakenUp {
                return;
            }
            // First what says that there is something: a successor that found that, and not the memory, would be taken for an
            // agent that has it.
            if let Err(error) = kept.remove() {
                return warn!(%error, "cannot remove what was kept for a successor");
            }
            control.close();
        });
        tokio::time::timeout(Duration::from_secs(5), ended).await.is_ok()
    }
}

/// What becomes of what an agent that ends has held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nobody needs it any more: the agent has ended in good order.
    Over,
    /// The next process of this agent goes on with it: it hands over, or a part has failed.
    ToBeTakenUp,
}

impl Ending {
    pub(crate) fn of<T>(result: &Result<T>) -> Ending {
        if result.is_ok() { Ending::Over } else { Ending::ToBeTakenUp }
    }
}
