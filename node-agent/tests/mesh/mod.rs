//! A mesh of real agents for tests: one process each, joined by TCP, in a directory of their own. Everything ends when
//! the [`Mesh`] is dropped.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this module")]

pub mod http;
pub mod keeper;
pub mod load;
pub mod objects;
pub mod proxy;
mod volume;
pub mod worker;

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use objects::Placed;
use proxy::Proxy;

/// Says what was measured, past the test runner: of tests that pass it shows nothing.
pub(crate) fn say(text: &str) {
    writeln!(io::stderr(), "{text}").expect("standard error is there");
}

/// How long anything may take that must happen in the end. Generous: the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until `condition` gives a value.
///
/// # Panics
/// When the deadline passes, with what was waited for.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A region to declare.
#[derive(Clone, Debug)]
pub struct RegionSpec {
    pub name: &'static str,
    pub size: &'static str,
    pub coherence: &'static str,
}

/// How the agents reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wires {
    /// Directly.
    Direct,
    /// Through proxies, which can cut connections.
    Cuttable,
}

pub struct Mesh {
    dir: PathBuf,
    pub agents: Vec<Agent>,
    pub proxies: Vec<Proxy>,
    /// What each agent is told: where it reaches each of them.
    addresses: Vec<Vec<SocketAddr>>,
    wires: Wires,
    shards: u16,
    number: usize,
}

pub struct Agent {
    pub dir: PathBuf,
    pub process: Child,
    pub http: SocketAddr,
    listen: SocketAddr,
}

impl Agent {
    /// Asks it to end as a service manager does.
    pub fn terminate(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.process.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it is our child");
    }

    /// Ends it as a service manager does, and waits for that.
    pub fn stop(&mut self) {
        self.terminate();
        let status = until("the agent to end", || self.process.try_wait().expect("it is our child"));
        assert!(status.success(), "an agent ended with {status}");
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).expect("the agent has a log")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("agent.sock")
    }

    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Mesh {
    /// Starts `nodes` agents with these regions, every agent a home of each, and waits until all are ready.
    pub fn start(nodes: usize, regions: &[RegionSpec], wires: Wires, shards: u16) -> Mesh {
        Mesh::start_with(nodes, regions, wires, shards, |_| {})
    }

    /// The same with agents that give volumes to pods.
    pub fn with_pods(nodes: usize, regions: &[RegionSpec], shards: u16) -> Mesh {
        Mesh::start_with(nodes, regions, Wires::Direct, shards, volume::make_kubelet)
    }

    fn start_with(
        nodes: usize,
        regions: &[RegionSpec],
        wires: Wires,
        shards: u16,
        prepare: impl Fn(&Path),
    ) -> Mesh {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/dev/shm/pagemesh-test-mesh-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory in the tmpfs");
        let (agents, proxies, addresses) = (Vec::new(), Vec::new(), Vec::new());
        let mut mesh = Mesh { dir, agents, proxies, addresses, wires, shards, number };
        for node in 0..nodes {
            let dir = mesh.dir.join(format!("node-{node}"));
            prepare(&dir);
            let agent = start_agent(&dir, node, shards, mesh.listen(node));
            mesh.agents.push(agent);
        }
        mesh.connect();
        let homes: Vec<usize> = (0..nodes).collect();
        let placed: Vec<Placed> = regions.iter().map(|spec| Placed::first(spec, &homes)).collect();
        mesh.declare(&placed.iter().collect::<Vec<_>>());
        mesh.await_ready();
        mesh
    }

    /// Waits until every agent is connected to every other.
    pub fn await_ready(&self) {
        for (node, agent) in self.agents.iter().enumerate() {
            until(&format!("agent {node} to be ready"), || {
                (http::get(agent.http, "/readyz")?.0 == 200).then_some(())
            });
        }
    }

    /// Starts an agent again that has ended: another life of it, at another address. It has the objects that it had.
    pub fn restart(&mut self, node: usize) {
        self.agents[node] = start_agent(&self.agents[node].dir, node, self.shards, self.listen(node));
        self.connect();
    }

    /// Kills an agent and starts it again, at the same address, as a service manager does. Its memory is there still.
    pub fn revive(&mut self, node: usize) {
        self.revive_all(&[node]);
    }

    /// The same with several that die at the same time.
    pub fn revive_all(&mut self, nodes: &[usize]) {
        nodes.iter().for_each(|node| self.agents[*node].kill());
        for node in nodes {
            let agent = &mut self.agents[*node];
            *agent = start_agent(&agent.dir, *node, self.shards, agent.listen);
        }
    }

    /// Has another process of an agent take over from the one that runs, at the same address. Returns for how long nobody served.
    pub fn hand_over(&mut self, node: usize) -> Duration {
        let agent = &mut self.agents[node];
        let mut command = agent_command(&agent.dir, node, self.shards, agent.listen);
        let process = command.arg("--take-over").spawn().expect("the agent's program is there");
        let mut old = std::mem::replace(&mut agent.process, process);
        let status = until("the agent to end that hands over", || old.try_wait().expect("it is our child"));
        assert!(status.success(), "agent {node}, which handed over, ended with {status}");
        let pid = agent.process.id();
        let info = until(&format!("agent {node} to take over"), || {
            let info: serde_json::Value =
                serde_json::from_slice(&fs::read(agent.dir.join("agent.json")).ok()?).ok()?;
            (info["pid"] == pid).then_some(info)
        });
        let http = info["http"].as_str().and_then(|address| address.parse().ok());
        agent.http = http.expect("agent.json has addresses");
        // It says so when its shards have gone on.
        until(&format!("agent {node} to say how long nobody served"), || {
            let (_, body) = http::get(self.agents[node].http, "/metrics")?;
            let name = r#"pagemesh_take_over_seconds_sum{before="handed-over"} "#;
            let seconds = body.lines().find_map(|line| line.strip_prefix(name))?.parse().ok()?;
            Some(Duration::from_secs_f64(seconds))
        })
    }

    /// A free port of an address of the node's own: nobody connects from there, so that it is free for a successor, too.
    fn listen(&self, node: usize) -> SocketAddr {
        SocketAddr::from(([127, 77, self.number as u8, node as u8 + 1], 0))
    }

    /// Starts an agent that ends by itself, and returns what it has logged.
    pub fn fails_to_start(&self, node: usize) -> String {
        self.fails(node, self.shards, &[])
    }

    /// The same with one of so many shards that is to take over from the one that runs.
    pub fn cannot_take_over(&self, node: usize, shards: u16) -> String {
        self.fails(node, shards, &["--take-over"])
    }

    fn fails(&self, node: usize, shards: u16, flags: &[&str]) -> String {
        let agent = &self.agents[node];
        let before = agent.log();
        let mut command = agent_command(&agent.dir, node, shards, agent.listen);
        let mut process = command.args(flags).spawn().expect("it is there");
        let status = until("the agent to end", || process.try_wait().expect("it is our child"));
        assert!(!status.success(), "{status}");
        agent.log().split_off(before.len())
    }

    /// Finds out where each agent reaches the others, through new proxies if need be.
    fn connect(&mut self) {
        let listens: Vec<SocketAddr> = self.agents.iter().map(|a| a.listen).collect();
        self.proxies.clear();
        self.addresses.clear();
        for node in 0..listens.len() {
            let mut reached = listens.clone();
            // Agents of higher number dial.
            if self.wires == Wires::Cuttable {
                for address in &mut reached[..node] {
                    let proxy = Proxy::start(*address);
                    *address = proxy.address();
                    self.proxies.push(proxy);
                }
            }
            self.addresses.push(reached);
        }
    }

    /// Tells every agent, one after the other, of these regions and of where the agents are.
    pub fn declare(&self, regions: &[&Placed]) {
        (0..self.agents.len()).for_each(|node| self.declare_to(node, regions));
    }

    /// Tells one agent.
    pub fn declare_to(&self, node: usize, regions: &[&Placed]) {
        let mut text = String::new();
        self.addresses[node].iter().enumerate().for_each(|(peer, at)| text += &objects::agent(peer, *at));
        regions.iter().for_each(|region| text += &region.to_string());
        let folder = self.agents[node].dir.join("objects");
        fs::write(folder.join(".new"), text).expect("objects are written");
        fs::rename(folder.join(".new"), folder.join("mesh.yaml")).expect("objects are renamed");
    }

    /// What the agent knows of a region, as it tells people.
    pub fn region(&self, node: usize, name: &str) -> Option<serde_json::Value> {
        let (_, body) = http::get(self.agents[node].http, "/status")?;
        let status: serde_json::Value = serde_json::from_str(&body).ok()?;
        status["regions"].as_array()?.iter().find(|region| region["name"] == name).cloned()
    }

    /// Waits until all these agents act on the region's placement, with nothing still on the move.
    pub fn await_settled(&self, nodes: &[usize], region: &Placed) {
        for node in nodes {
            until(&format!("agent {node} to have settled in epoch {}", region.epoch), || {
                let told = self.region(*node, region.name)?;
                (told["actsOn"] == region.epoch && told["settled"] == true).then_some(())
            });
        }
    }

    pub fn socket(&self, node: usize) -> PathBuf {
        self.agents[node].socket()
    }

    /// The socket of the volume of a pod with these regions, at an agent that serves pods. There is one of it.
    pub fn volume(&self, node: usize, regions: &str) -> PathBuf {
        volume::publish(
            &self.agents[node].dir,
            &format!("0f0f0f0f-0000-4000-8000-00000000000{node}"),
            regions,
        )
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A counter or gauge, summed over its labels, at one agent.
    pub fn metric(&self, node: usize, name: &str) -> f64 {
        self.labelled(node, name, "")
    }

    /// The same, only of what has `part` in its labels.
    pub fn labelled(&self, node: usize, name: &str, part: &str) -> f64 {
        let (_, body) = http::get(self.agents[node].http, "/metrics").expect("the agent answers");
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let wanted = rest.starts_with(['{', ' ']) && rest.contains(part);
            wanted.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        };
        body.lines().filter_map(value).sum()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for agent in &self.agents {
                let log = fs::read_to_string(agent.dir.join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(15).collect();
                eprintln!("--- end of {}:", agent.dir.join("log").display());
                last.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
        self.agents.iter_mut().for_each(Agent::kill);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn start_agent(dir: &Path, node: usize, shards: u16, listen: SocketAddr) -> Agent {
    fs::create_dir_all(dir.join("objects")).expect("a directory for objects");
    // An earlier life that was killed has left it.
    let _ = fs::remove_file(dir.join("agent.json"));
    let process = agent_command(dir, node, shards, listen).spawn().expect("the agent's program is there");
    let info = until(&format!("agent {node} to start"), || fs::read_to_string(dir.join("agent.json")).ok());
    let info: serde_json::Value = serde_json::from_str(&info).expect("agent.json is JSON");
    let address =
        |field: &str| info[field].as_str().and_then(|a| a.parse().ok()).expect("agent.json has addresses");
    Agent { dir: dir.to_owned(), process, http: address("http"), listen: address("listen") }
}

fn agent_command(dir: &Path, node: usize, shards: u16, listen: SocketAddr) -> Command {
    let log = fs::File::options().create(true).append(true).open(dir.join("log")).expect("a log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagemesh-agent"));
    command
        .args(["--name", &format!("node-{node}"), "--id", &node.to_string(), "--shards", &shards.to_string()])
        .args([Path::new("--objects"), &dir.join("objects"), Path::new("--dir"), dir])
        .args([Path::new("--memory-dir"), &dir.join("memory")])
        .args(["--listen", &listen.to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log);
    volume::serve_pods(&mut command, dir);
    die_with_us(&mut command);
    command
}

/// Ends the command's process when the test's thread ends, however that happens.
pub fn die_with_us(command: &mut Command) -> &mut Command {
    let die = || nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).map_err(Into::into);
    // SAFETY: a single system call, which is all that may be done between fork and exec.
    unsafe { command.pre_exec(die) }
}
