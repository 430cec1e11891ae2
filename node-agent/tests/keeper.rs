//! Programs of a pod that has a keeper go on, whatever dies.

mod mesh;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;

use mesh::keeper::Keeper;
use mesh::worker::Worker;
use mesh::{Mesh, RegionSpec, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pagemesh::Region;

const COUNTERS: RegionSpec = RegionSpec { name: "counters", size: "4Mi", coherence: "WriteInvalidate" };
const PER_PAGE: usize = 512;
/// Pages that the programs sweep over.
const PAGES: usize = 64;
const STOP: usize = PAGES * PER_PAGE;
const STARTED: usize = (PAGES + 1) * PER_PAGE;
const OWN: usize = (PAGES + 2) * PER_PAGE;
const KILLS: usize = 50;

fn attach(socket: &Path) -> Region {
    Region::attach_to(socket, "counters").expect("the region is ready")
}

fn signal(process: u32, signal: Signal) {
    kill(Pid::from_raw(process.cast_signed()), signal).expect("it is our child");
}

/// A pod on node 1 of two, with a keeper, and a program that has closed all its descriptors. It and one on the other node count in
/// words of their own of the same pages, and check what is there: a page that goes back, or is zeros, ends them.
struct Pod {
    mesh: Mesh,
    socket: PathBuf,
    keeper: Keeper,
    programs: [Worker; 2],
    other: Region,
    rounds: u64,
}

impl Pod {
    fn start() -> Pod {
        let mesh = Mesh::with_pods(2, &[COUNTERS], 2);
        let socket = mesh.volume(1, "counters");
        let keeper = Keeper::start(&socket, &mesh.agents[1].dir);
        let other = attach(&mesh.socket(0));
        let (pages, stop, started) = (PAGES.to_string(), STOP.to_string(), STARTED.to_string());
        let programs = [
            Worker::start_at(&socket, "background", &["counters", &started, "0", &pages, &stop]),
            Worker::start(&mesh, 0, "sweep", &["counters", "1", &pages, &stop]),
        ];
        until("the program to be in the background", || {
            (other.words()[STARTED].load(SeqCst) == 1).then_some(())
        });
        let descriptors = fs::read_dir(format!("/proc/{}/fd", programs[0].process.id())).expect("it runs");
        assert_eq!(descriptors.count(), 3, "nothing is left to a successor of the agent but the keeper");
        keeper.await_held(1);
        Pod { mesh, socket, keeper, programs, other, rounds: 0 }
    }

    /// Waits until the program has gone on.
    fn goes_on(&mut self, after: &str) {
        for program in &mut self.programs {
            let ended = program.process.try_wait().expect("it is our child");
            assert_eq!(ended, None, "after {after}");
        }
        until(&format!("the program to go on after {after}"), || {
            let now = self.other.words()[STOP + 1].load(SeqCst);
            (now > self.rounds).then(|| self.rounds = now)
        });
    }

    fn ends(self) {
        self.other.words()[STOP].store(1, SeqCst);
        self.programs.into_iter().for_each(Worker::succeed);
        self.keeper.await_held(0);
        println!("{} rounds over {PAGES} pages", self.rounds);
    }
}

#[test]
fn a_program_that_has_closed_everything_goes_on_when_the_agent_is_killed() {
    let mut pod = Pod::start();
    pod.goes_on("it has closed everything");
    for kill in 0..KILLS {
        pod.mesh.revive(1);
        pod.goes_on(&format!("kill {kill}"));
    }
    for cost in ["faults_total", "fault_bytes_total", "fault_wait_seconds_total"] {
        let metric = format!("pagemesh_pod_{cost}");
        until(&format!("{metric} to be told"), || (pod.keeper.metric(&metric) > 0.0).then_some(()));
    }
    pod.ends();
}

#[test]
fn a_keeper_that_is_killed_is_not_missed_and_may_come_back() {
    let mut pod = Pod::start();
    for kill in 0..KILLS {
        pod.keeper.kill();
        pod.goes_on(&format!("kill {kill} of the keeper"));
        pod.keeper = Keeper::start(&pod.socket, &pod.mesh.agents[1].dir);
        pod.keeper.await_held(1);
        pod.mesh.revive(1);
        pod.goes_on(&format!("kill {kill} of the agent"));
    }
    pod.ends();
}

#[test]
fn a_program_that_has_its_descriptors_goes_on_when_agent_and_keeper_are_killed_together() {
    let mut mesh = Mesh::with_pods(2, &[COUNTERS], 2);
    let socket = mesh.volume(1, "counters");
    let mut keeper = Keeper::start(&socket, &mesh.agents[1].dir);
    let other = attach(&mesh.socket(0));
    let program = Worker::start_at(&socket, "count", &["counters", "0", &OWN.to_string(), "0"]);
    let mut counted = 0;
    for kill in 0..KILLS {
        until(&format!("the program to go on after kill {kill}"), || {
            let now = other.words()[0].load(SeqCst);
            assert!(now >= counted, "the counter went back from {counted} to {now}");
            (now > counted + 10).then(|| counted = now)
        });
        keeper.kill();
        mesh.revive(1);
        keeper = Keeper::start(&socket, &mesh.agents[1].dir);
        keeper.await_held(1);
    }
    other.words()[OWN + 1].store(1, SeqCst);
    program.succeed();
    assert_eq!(other.words()[0].load(SeqCst), other.words()[OWN].load(SeqCst));
    keeper.await_held(0);
}

#[test]
fn a_keeper_holds_on_while_the_agent_hands_over() {
    let mut pod = Pod::start();
    for hand_over in 0..5 {
        pod.mesh.hand_over(1);
        pod.goes_on(&format!("hand-over {hand_over}"));
    }
    pod.ends();
}

#[test]
fn who_is_the_keeper_stays_the_keeper() {
    let mesh = Mesh::with_pods(1, &[COUNTERS], 1);
    let socket = mesh.volume(0, "counters");
    let mut keeper = Keeper::start(&socket, &mesh.agents[0].dir);
    let dir = mesh.file("second");
    fs::create_dir(&dir).expect("it can be made");
    let second = Keeper::begin(&socket, &dir);
    until("the second to be refused", || {
        let log = fs::read_to_string(Keeper::log(&dir)).ok()?;
        log.contains("is this pod's keeper already").then_some(())
    });
    // It keeps its place when it does not read for a while, too.
    signal(keeper.process.id(), Signal::SIGSTOP);
    let programs: Vec<Region> = (0..4).map(|_| attach(&socket)).collect();
    programs.iter().for_each(|program| _ = program.words()[0].fetch_add(1, SeqCst));
    // More than a socket takes that nobody reads.
    (0..300).for_each(|_| drop(attach(&socket)));
    assert_eq!(second.metric("pagemesh_pod_attachments"), 0.0);
    signal(keeper.process.id(), Signal::SIGCONT);
    keeper.await_held(4);
    keeper.kill();
    second.await_held(4);
}

#[test]
fn probes_say_why_a_pod_cannot_start_or_is_not_ready() {
    let mut mesh = Mesh::with_pods(1, &[COUNTERS], 1);
    let socket = mesh.volume(0, "counters");
    let keeper = Keeper::start(&socket, &mesh.agents[0].dir);
    for probe in ["startup", "ready"] {
        assert_eq!(keeper.probe(&socket, probe), (true, String::new()), "{probe}");
        let (well, why) = keeper.probe(&mesh.socket(0), probe);
        assert!(!well && why.contains("socket of a pod's volume"), "{probe}: {why}");
    }
    let (well, why) = keeper.probe(&mesh.file("nowhere"), "startup");
    assert!(!well && why.contains("no such file"), "{why}");

    mesh.agents[0].kill();
    let (well, why) = keeper.probe(&socket, "startup");
    assert!(!well && why.contains("no agent answers"), "{why}");
    assert_eq!(keeper.probe(&socket, "ready"), (true, String::new()), "the agent is being started again");
    assert_eq!((keeper.get("/readyz").0, keeper.get("/healthz").0), (200, 200));
    mesh.revive(0);

    mesh.declare(&[]);
    until("the region to be gone", || (keeper.get("/readyz").0 == 503).then_some(()));
    for probe in ["startup", "ready"] {
        let (well, why) = keeper.probe(&socket, probe);
        assert!(!well && why.contains("default/counters is not declared"), "{probe}: {why}");
    }
    assert_eq!(keeper.metric("pagemesh_pod_regions_ready"), 0.0);
}

#[test]
fn a_keeper_is_small_and_ends_when_it_is_told() {
    let mesh = Mesh::with_pods(1, &[COUNTERS], 4);
    let socket = mesh.volume(0, "counters");
    let mut keeper = Keeper::start(&socket, &mesh.agents[0].dir);
    let memory = |keeper: &Keeper| (keeper.memory_kib("VmRSS"), keeper.memory_kib("RssAnon"));
    let idle = memory(&keeper);
    let programs: Vec<Region> = (0..8).map(|_| attach(&socket)).collect();
    keeper.await_held(8);
    let (total, anonymous) = memory(&keeper);
    println!(
        "keeper: {} KiB idle, of these {} anonymous; {total} and {anonymous} with 8 attachments",
        idle.0, idle.1
    );
    assert!(total < 10 << 10);
    assert_eq!(keeper.memory_kib("Threads"), 1);
    drop(programs);
    keeper.await_held(0);
    signal(keeper.process.id(), Signal::SIGTERM);
    let status = until("the keeper to end", || keeper.process.try_wait().expect("it is our child"));
    assert!(status.success(), "{status}");
}
