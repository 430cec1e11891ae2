//! Agents in this process: all that the daemon has but what reads objects and volumes, which the tests hand it themselves.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::socket::{AddressFamily, SockFlag, SockType};
use pagemesh_agent::attach::{self, Holdings, Server, Serving};
use pagemesh_agent::config::{Files, Me, Objects, accept, of_files};
use pagemesh_agent::control::Control;
use pagemesh_agent::journal::Journal;
use pagemesh_agent::kept::{self, Kept, TakenUp};
use pagemesh_agent::kubernetes::{PodEvent, PodEvents};
use pagemesh_agent::metrics::Metrics;
use pagemesh_agent::names::Names;
use pagemesh_agent::peer::{Identity, Network};
use pagemesh_agent::shard::{self, Event, Setup, Shard};
use pagemesh_agent::uffd::DEVICE;
use pagemesh_agent::volume::{OpenVolume, PodIdentity, Volume, VolumeRegion};
use pagemesh_protocol::{AgentId, Incarnation, PageId, RegionId, Tuning};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::client::PAGE;

/// Shards of an agent.
const SHARDS: u16 = 2;
/// Attachments that a node has at most.
pub(crate) const ATTACHMENTS_MAX: usize = 64;
/// Nodes of a mesh.
const NODES: u16 = 2;

/// The MountTables of namespace `team`.
pub(crate) const TABLES: &str = "\
---
apiVersion: pagemesh.io/v1alpha1
kind: MountTable
metadata: {name: main, namespace: team}
spec:
  default: true
  mounts:
  - {path: data/now, region: table}
  - {path: data/fixed, region: table, readOnly: true}
  - {path: data/gone, region: gone}
  contexts: [{path: far, delegate: {context: x, to: '127.0.0.1:1'}}]
---
apiVersion: pagemesh.io/v1alpha1
kind: MountTable
metadata: {name: batch, namespace: team}
spec:
  mounts:
  - {path: data/now, region: table, readOnly: true}
  - {path: input, region: table}
";

type OpenVolumes = Arc<BTreeMap<String, OpenVolume>>;

/// What a node is while its agent runs.
struct Running {
    runtime: Runtime,
    control: Arc<Control>,
    network: Arc<Network>,
    pods: mpsc::Receiver<PodEvent>,
}

/// A node.
pub(crate) struct Node {
    id: u16,
    dir: PathBuf,
    volumes: watch::Sender<OpenVolumes>,
    objects: watch::Sender<Arc<Objects>>,
    running: Option<Running>,
}

impl Node {
    fn start(dir: &Path, id: u16) -> Node {
        let dir = dir.join(format!("node-{id}"));
        fs::create_dir_all(dir.join("memory")).unwrap();
        let (volumes, objects) = (watch::Sender::new(OpenVolumes::default()), watch::Sender::default());
        let mut node = Node { id, dir, volumes, objects, running: None };
        node.run();
        node
    }

    /// Starts an agent, which takes up what one before has left.
    fn run(&mut self) {
        let memory = self.dir.join("memory");
        let runtime = Runtime::new().unwrap();
        let me = Me { name: format!("node-{}", self.id), id: AgentId(self.id) };
        let taken_up = kept::take_up(&memory, me.id, SHARDS).unwrap();
        let (takes_over, incarnation) =
            (taken_up.is_some(), taken_up.as_ref().map_or(Incarnation(7), |taken_up| taken_up.incarnation));
        let (recovered, regions, attachments, keepers) = match taken_up {
            Some(TakenUp { shards, regions, attachments, keepers, .. }) => {
                (shards, regions, attachments, keepers)
            }
            None => Default::default(),
        };
        Kept::of(&memory).make().unwrap();
        let (sender, events) = mpsc::unbounded_channel();
        let setup = Setup {
            me: me.id,
            incarnation,
            shards: SHARDS,
            tuning: Tuning::default(),
            ahead_bytes: 1 << 20,
            metrics: Arc::new(Metrics::new()),
            state_dir: Some(Kept::of(&memory).dir().to_owned()),
        };
        let mut recovered = recovered.into_iter();
        let shards = (0..SHARDS)
            .map(|shard| Shard::spawn(shard, setup.clone(), recovered.next(), sender.clone()).unwrap())
            .collect();
        let holdings = Arc::new(Holdings::new(incarnation, Kept::of(&memory), keepers));
        let (tells, pods) = PodEvents::pair();
        let control =
            Arc::new(Control::new(me, format!("{:016x}", incarnation.0), shards, memory).telling(tells));
        let closed = control.reopen(regions);
        let adopted = attach::adopt(&control, &holdings, attachments).unwrap();
        if takes_over {
            control.take_over(closed);
        }
        let identity = Identity { me: AgentId(self.id), incarnation, shards: SHARDS };
        let entered = runtime.enter();
        let listen = "127.0.0.1:0".parse().unwrap();
        let network = Arc::new(Network::start(listen, identity, control.shards().to_vec()).unwrap());
        let device = fs::File::open(DEVICE).unwrap().into();
        let listener = attach::listen(&self.dir.join("agent.sock"), 0o600).unwrap();
        let volumes = self.volumes.subscribe();
        let names = Arc::new(Names::new(control.me().name.clone(), "7".into(), self.objects.subscribe()));
        let serving = Serving { control: Arc::clone(&control), names, holdings };
        let server = Server::new(listener, device, serving, ATTACHMENTS_MAX, adopted, volumes).unwrap();
        drop(entered);
        runtime.spawn(server.run());
        runtime.spawn(look_after(events, Arc::clone(&control), Arc::clone(&network)));
        self.running = Some(Running { runtime, control, network, pods });
    }

    /// Ends the agent as one that is killed: nothing is given back, nobody is told.
    fn end(&mut self) {
        let Some(Running { runtime, control, network, .. }) = self.running.take() else { return };
        // First nobody talks to the shards any more.
        drop(runtime);
        drop(network);
        control.stop_shards();
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the agent runs")
    }

    pub(crate) fn control(&self) -> &Control {
        &self.running().control
    }

    /// The next Event about a pod.
    pub(crate) fn event(&mut self) -> PodEvent {
        let Running { runtime, pods, .. } = self.running.as_mut().expect("the agent runs");
        runtime.block_on(pods.recv()).expect("the agent tells of pods")
    }

    /// The next Event of a pod that loses access.
    pub(crate) fn revoked(&mut self) -> PodEvent {
        loop {
            let event = self.event();
            if event.reason == "AccessRevoked" {
                return event;
            }
        }
    }

    /// Gives a pod of service account `team/NAME` a volume for some regions. Returns its socket.
    pub(crate) fn volume(&self, service_account: &str, regions: &[&str]) -> PathBuf {
        self.volume_called(service_account, service_account, regions)
    }

    /// The same, of this id: a pod may have several.
    pub(crate) fn volume_called(&self, id: &str, service_account: &str, regions: &[&str]) -> PathBuf {
        self.volume_with(id, service_account, regions, None)
    }

    /// Gives a pod of service account `team/writer` a volume for what a MountTable has.
    pub(crate) fn volume_of_table(&self, table: &str) -> PathBuf {
        self.volume_with(table, "writer", &[], Some(table.into()))
    }

    fn volume_with(
        &self,
        id: &str,
        service_account: &str,
        regions: &[&str],
        table: Option<String>,
    ) -> PathBuf {
        let dir = self.dir.join(id);
        fs::create_dir_all(&dir).unwrap();
        let socket = dir.join("agent.sock");
        let listener = Arc::new(attach::listen(&socket, 0o666).unwrap());
        let region = |text: &&str| VolumeRegion {
            name: text.trim_end_matches(":ro").into(),
            read_only: text.ends_with(":ro"),
        };
        let pod = PodIdentity {
            namespace: "team".into(),
            name: format!("{service_account}-0"),
            uid: format!("uid-of-{service_account}"),
            service_account: service_account.into(),
        };
        let regions = regions.iter().map(region).collect();
        let volume = Arc::new(Volume { id: id.into(), dir, pod, regions, table });
        self.change_volumes(|volumes| {
            volumes.insert(id.into(), OpenVolume { volume, listener });
        });
        socket
    }

    /// Takes the volume of this id away.
    pub(crate) fn remove_volume(&self, id: &str) {
        self.change_volumes(|volumes| {
            volumes.remove(id);
        });
    }

    fn change_volumes(&self, change: impl FnOnce(&mut BTreeMap<String, OpenVolume>)) {
        let mut volumes = BTreeMap::clone(&self.volumes.borrow());
        change(&mut volumes);
        self.volumes.send_replace(Arc::new(volumes));
    }
}

async fn look_after(
    mut events: mpsc::UnboundedReceiver<Event>,
    control: Arc<Control>,
    network: Arc<Network>,
) {
    while let Some(event) = events.recv().await {
        match event {
            Event::PeerLost { shard, peer, refused, .. } => _ = network.lost(shard, peer, refused),
            Event::Left { shard, region, attempt } => control.left(shard, region, attempt),
            Event::AttachmentEnded { attachment, reason } => control.attachment_ended(attachment, reason),
        }
    }
}

/// Some nodes with region `team/table`, which node 0 homes.
pub(crate) struct Mesh {
    pub(crate) nodes: Vec<Node>,
    dir: PathBuf,
}

impl Mesh {
    pub(crate) fn start() -> Mesh {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/dev/shm/pagemesh-test-{}-door-{number}", std::process::id()));
        let nodes = (0..NODES).map(|id| Node::start(&dir, id)).collect();
        let mesh = Mesh { nodes, dir };
        mesh.allow("");
        mesh
    }

    /// Declares the region with this `access`, as in `access: []`; the default if it is empty.
    pub(crate) fn allow(&self, access: &str) {
        self.declare(access, TABLES);
    }

    /// The same, with these MountTables.
    pub(crate) fn declare(&self, access: &str, tables: &str) {
        let agents = self.nodes.iter().map(|node| {
            let address = node.running().network.local_addr();
            format!(
                "---\napiVersion: pagemesh.io/v1alpha1\nkind: Agent\nmetadata: {{name: node-{0}}}\nspec: {{id: {0}}}\n\
                 status: {{address: '{address}'}}\n",
                node.id
            )
        });
        let mut text: String = agents.collect();
        text.push_str(&format!(
            "---\napiVersion: pagemesh.io/v1alpha1\nkind: Region\nmetadata: {{name: table, namespace: team}}\n\
             spec: {{size: 1Mi, {access}}}\nstatus: {{placement: {{epoch: 1, homes: [{{agent: node-0}}]}}}}\n"
        ));
        text.push_str(tables);
        let files = Files::from([("mesh.yaml".to_owned(), Ok(text))]);
        for node in &self.nodes {
            let control = node.control();
            let (objects, refusals) = accept(&Objects::default(), &of_files(&files), control.me());
            assert_eq!(refusals, []);
            let peers = objects.peers(AgentId(node.id));
            let objects = Arc::new(objects);
            control.apply(Arc::clone(&objects));
            node.objects.send_replace(objects);
            let entered = node.running().runtime.enter();
            node.running().network.set_peers(peers);
            drop(entered);
        }
    }

    /// Ends the agent of a node while a page is out of its region file to be taken from a program, and starts another one.
    pub(crate) fn restart_amid_revocation(&mut self, node: usize, region: RegionId, index: u64) {
        let node = &mut self.nodes[node];
        node.end();
        let memory = node.dir.join("memory");
        let file = fs::File::options().read(true).write(true).open(memory.join("region-team.table")).unwrap();
        let mut contents = vec![0; PAGE as usize];
        file.read_exact_at(&mut contents, index * PAGE).unwrap();
        let shard = shard::of(region, index, PAGE, SHARDS);
        let recovered = Journal::recover(Kept::of(&memory).dir(), shard).unwrap().unwrap();
        let mut journal = recovered.journal;
        journal.hold(PageId { region, index }, &contents).unwrap();
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&file, punch, (index * PAGE).cast_signed(), PAGE.cast_signed()).unwrap();
        node.run();
        self.allow("");
    }

    /// Ends the agent of a node and starts another one, which sees this `access` first.
    pub(crate) fn restart(&mut self, node: usize, access: &str) {
        self.nodes[node].end();
        self.nodes[node].run();
        self.allow(access);
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(Node::end);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A socket of this kind, for tests that only knock.
pub(crate) fn knock(path: &Path) -> Result<(), nix::errno::Errno> {
    use std::os::fd::AsRawFd;
    let socket =
        nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &nix::sys::socket::UnixAddr::new(path)?)
}
