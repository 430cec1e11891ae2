use std::fs;
use std::path::{Path, PathBuf};

use pagemesh_protocol::{
    Access, AgentId, Coherence, Incarnation, PageId, Placement, RegionConfig, RegionId, Tuning,
};

use super::*;

const REGION: RegionId = RegionId(7);

fn directory(name: &str) -> PathBuf {
    let directory = Path::new("/dev/shm").join(format!("pagemesh-journal-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).unwrap();
    directory
}

fn region() -> Input {
    let placement = Placement { epoch: 1, homes: vec![AgentId(0)], previous: Vec::new() };
    let config = RegionConfig { pages: 1 << 20, coherence: Coherence::WriteInvalidate };
    Input::Region { region: REGION, config, placement }
}

fn fault(index: u64) -> Input {
    Input::Fault { page: PageId { region: REGION, index }, access: Access::Write }
}

/// A shard in a nutshell.
struct Run {
    node: Node,
    journal: Journal,
    now: u64,
}

impl Run {
    fn begin(directory: &Path) -> Run {
        let node = Node::new(AgentId(0), Incarnation(5), Tuning::default());
        let journal = Journal::begin(directory, 3, &node).unwrap();
        let mut run = Run { node, journal, now: 0 };
        run.step(&region(), usize::MAX);
        run
    }

    /// Takes an input, and carries out so many of its outputs. Returns the others.
    fn step(&mut self, input: &Input, carried_out: usize) -> Vec<Output> {
        self.now += 1000;
        self.journal.record(Time(self.now), input, b"payload", &self.node);
        let mut outputs = Vec::new();
        self.node.step(Time(self.now), input.clone(), &mut outputs);
        let carried_out = carried_out.min(outputs.len());
        (0..carried_out).for_each(|_| self.journal.done());
        outputs.split_off(carried_out)
    }
}

#[test]
fn what_was_taken_is_there_again_and_what_was_not_carried_out_is_left_to_do() {
    let directory = directory("again");
    let mut run = Run::begin(&directory);
    for index in 0..100 {
        run.step(&fault(index), usize::MAX);
    }
    let left = run.step(&fault(100), 1);
    assert!(!left.is_empty(), "a cold write zeroes and maps");
    let recovered = Journal::recover(&directory, 3).unwrap().unwrap();
    assert_eq!(recovered.node, run.node);
    assert_eq!(recovered.rest, Some((Time(run.now), left, b"payload".to_vec())));
    // And once more, since nobody has carried them out.
    assert!(Journal::recover(&directory, 3).unwrap().unwrap().rest.is_some());
    assert!(Journal::recover(&directory, 4).unwrap().is_none());
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn states_follow_on_each_other() {
    let directory = directory("states");
    let mut run = Run::begin(&directory);
    // Two and a half journals, each with a state of its own.
    let mut generations = std::collections::BTreeSet::new();
    for index in 0..150_000 {
        run.step(&fault(index % 1000), usize::MAX);
        generations.insert(run.journal.generation);
    }
    assert!(generations.len() > 2, "{generations:?}");
    let recovered = Journal::recover(&directory, 3).unwrap().unwrap();
    assert_eq!(recovered.node, run.node);
    assert_eq!(recovered.rest, None);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_is_damaged_is_refused() {
    let directory = directory("damaged");
    let mut run = Run::begin(&directory);
    (0..100).for_each(|index| drop(run.step(&fault(index), usize::MAX)));
    run.journal.save(&run.node).unwrap();
    (0..100).for_each(|index| drop(run.step(&fault(index), usize::MAX)));
    let good = Journal::recover(&directory, 3).unwrap().unwrap().node;
    for name in ["shard-3.state", "shard-3.inputs-1"] {
        let path = directory.join(name);
        let whole = fs::read(&path).unwrap();
        // Up to the end of what counts; behind it is free room.
        let used = if name.ends_with("state") { whole.len() } else { 4096 + run_used(&run) };
        for at in (0..used)
            .step_by(7)
            .filter(|at| name.ends_with("state") || *at < 12 || (16..40).contains(at) || *at >= 4096)
        {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            match Journal::recover(&directory, 3) {
                Err(_) => {}
                Ok(recovered) => {
                    panic!("{name}: a bit at {at} changed nothing: {}", recovered.unwrap().node == good)
                }
            }
        }
        for len in [0, 10, 30, used / 2, used - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(Journal::recover(&directory, 3).is_err(), "{name} of {len} bytes");
        }
        fs::remove_file(&path).unwrap();
        let without = Journal::recover(&directory, 3);
        assert_eq!(without.is_ok(), name.ends_with("state"), "no state is no journal: {without:?}");
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(Journal::recover(&directory, 3).unwrap().unwrap().node, good);
    fs::remove_dir_all(directory).unwrap();
}

fn run_used(run: &Run) -> usize {
    run.journal.inputs.used()
}
