//! Scenarios as text: one step a line, the whole state after each. Files in tests/scenarios/; `UPDATE=1` writes the
//! states anew, to be read before they are committed.
//!
//! Steps: `n1 load 0` and `n1 store 0` (a new program on n1 makes one access to page 0), `n1 goes on` (its first
//! program that can), `n1 -> n0` (the next message arrives), `n1 time` (its deadline is reached), `cut n0 n1`,
//! `up n0 n1` (n0 sees the new connection), `settle` (everything until nothing more can happen), `homes n1 n2` (other
//! homes are decreed), `n1 learns` (the next thing that was decreed), `n1 leaves`, `n1 restarts` (as another agent).

mod world;

use std::fmt::Write as _;
use std::path::PathBuf;

use pagemesh_protocol::{AgentId, Coherence};
use world::control::Decree;
use world::machine::{load, store};
use world::{Action, Setup, World};

struct Scenario {
    setup: Setup,
    /// The first lines: what it is about and how the world is set up.
    head: String,
    steps: Vec<String>,
}

fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("the folder exists").map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

fn parse(text: &str) -> Scenario {
    let (mut head, mut steps) = (String::new(), Vec::new());
    let (mut agents, mut coherence, mut pages, mut homes) = (3, Coherence::WriteInvalidate, 1, None);
    for line in text.lines().filter(|l| !l.starts_with("  ") && !l.is_empty()) {
        match line.split_once(": ") {
            _ if line.starts_with('#') => writeln!(head, "{line}").unwrap(),
            Some(("world", rest)) => {
                let mut words = rest.split(' ');
                agents = words.next().and_then(|n| n.parse().ok()).expect("world: AGENTS COHERENCE");
                coherence = match words.next() {
                    Some("WriteInvalidate") => Coherence::WriteInvalidate,
                    Some("WriteUpdate") => Coherence::WriteUpdate,
                    other => panic!("no such coherence: {other:?}"),
                };
                while let Some(word) = words.next() {
                    match word {
                        "pages" => pages = words.next().and_then(|n| n.parse().ok()).expect("pages NUMBER"),
                        "homes" => homes = Some(words.by_ref().map(id).collect::<Vec<u16>>()),
                        other => panic!("no such setting of a world: {other}"),
                    }
                }
                writeln!(head, "{line}").unwrap();
            }
            _ => steps.push(line.to_owned()),
        }
    }
    let setup = Setup::new(agents, pages, coherence, 5);
    let setup = if let Some(homes) = homes { setup.homes(&homes) } else { setup };
    Scenario { setup, head, steps }
}

fn id(word: &str) -> u16 {
    word.strip_prefix('n').and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{word} is not a node"))
}

fn node(word: &str) -> usize {
    id(word).into()
}

/// Does one step.
fn take(world: &mut World, step: &str) -> Result<(), String> {
    let words: Vec<&str> = step.split(' ').collect();
    match words[..] {
        [n, what @ ("load" | "store"), page] => {
            let (node, page) = (node(n), page.parse().expect("a page number"));
            world.machines[node].attach(&[if what == "load" { load(page) } else { store(page) }]);
            let program = world.machines[node].attached().last().expect("just attached");
            world.act(Action::Run(node, program))
        }
        [n, "goes", "on"] => {
            let program =
                world.machines[node(n)].runnable().next().ok_or(format!("{n} has nothing to go on with"))?;
            world.act(Action::Run(node(n), program))
        }
        [a, "->", b] => possible(world, Action::Deliver(node(a), node(b))),
        [n, "time"] => possible(world, Action::Tick(node(n))),
        ["cut", a, b] => {
            world.cuts_left = 1;
            possible(world, Action::Cut(node(a), node(b)))
        }
        ["up", a, b] => possible(world, Action::Up(node(a), node(b))),
        ["settle"] => world.settle(),
        ["homes", ..] if !world.homes_are_settled() => Err("homes must not change now".to_owned()),
        ["homes", ref ids @ ..] => {
            world.decree(Decree::Homes(ids.iter().map(|n| AgentId(id(n))).collect()));
            Ok(())
        }
        [n, "learns"] => possible(world, Action::Learn(node(n))),
        [n, "leaves"] if !world.may_leave(node(n)) => Err(format!("{n} cannot leave now")),
        [n, "leaves"] => world.act(Action::Leave(node(n))),
        [n, "restarts"] if !world.may_restart(node(n)) => Err(format!("{n} cannot end now")),
        [n, "restarts"] => world.act(Action::Restart(node(n))),
        _ => panic!("no such step: {step}"),
    }
}

fn possible(world: &mut World, action: Action) -> Result<(), String> {
    if world.actions().contains(&action) {
        world.act(action)
    } else {
        Err(format!("{action:?} cannot happen now"))
    }
}

#[test]
fn every_scenario_goes_as_written() {
    let update = std::env::var("UPDATE").is_ok();
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let scenario = parse(&text);
        let mut world = World::new(&scenario.setup);
        let mut written = scenario.head.clone();
        for step in &scenario.steps {
            take(&mut world, step)
                .unwrap_or_else(|e| panic!("{}: {step}: {e}\n{}", file.display(), world.print()));
            write!(written, "\n{step}\n{}", world.print()).unwrap();
        }
        if update {
            std::fs::write(&file, &written).unwrap();
            continue;
        }
        assert_eq!(written, text, "{} (UPDATE=1 writes what happens now)", file.display());
        world.settle().unwrap_or_else(|e| panic!("{}: at the end: {e}", file.display()));
    }
}

/// The loss of every connection, and of every two, after every step of every scenario.
#[test]
fn every_scenario_survives_a_lost_connection_at_every_step() {
    let mut losses = 0;
    for file in files() {
        let scenario = parse(&std::fs::read_to_string(&file).unwrap());
        let agents = scenario.setup.agents.len();
        let pairs: Vec<_> = (0..agents).flat_map(|a| (a + 1..agents).map(move |b| (a, b))).collect();
        for taken in 0..=scenario.steps.len() {
            let mut before = World::new(&scenario.setup);
            for step in &scenario.steps[..taken] {
                take(&mut before, step).unwrap_or_else(|e| panic!("{}: {step}: {e}", file.display()));
            }
            for first in &pairs {
                for second in &pairs {
                    let mut world = before.clone();
                    world.cuts_left = 2;
                    for &(a, b) in [first, second] {
                        if world.actions().contains(&Action::Cut(a, b)) {
                            world.act(Action::Cut(a, b)).unwrap();
                        }
                    }
                    world.cuts_left = 0;
                    let lost =
                        format!("{} after {taken} steps, lost {first:?} and {second:?}", file.display());
                    world.settle().unwrap_or_else(|e| panic!("{lost}: {e}"));
                    losses += 1;
                }
            }
        }
    }
    println!("{losses} losses of connections survived");
}
