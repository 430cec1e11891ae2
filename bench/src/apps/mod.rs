//! `pagemesh bench apps`: what programs of several processes cost when their shared memory is a region and each process is on another
//! node, beside the same processes on one node with memory of that node. The programs are those of `pagemesh-apps`, which
//! know nothing of pagemesh. Messages and bytes say what carries over to other machines; time is that of this one.

mod memory;
mod ranks;
mod report;

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::steal::Ticks;
use memory::Memory;
use ranks::{Ran, Ranks};
use report::Round;
pub use report::{AppReport, AppsReport, PerIteration, Run, Traffic};

/// Nodes that share a region; as many processes share the work, one on each.
const NODES: [u16; 2] = [2, 3];

/// A program.
#[derive(Debug)]
pub struct App {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// What an iteration is, of which there are several.
    pub iterations_are: &'static str,
    size: u64,
    iterations: u64,
}

/// All programs.
pub const APPS: [App; 5] = [
    App {
        name: "jacobi",
        what: "Jacobi's iteration on a square grid of that many cells a side",
        iterations_are: "sweeps",
        size: 2000,
        iterations: 20,
    },
    App {
        name: "matrix",
        what: "multiplication of square matrices of that many rows",
        iterations_are: "products",
        size: 512,
        iterations: 10,
    },
    App {
        name: "tsp",
        what: "shortest round trips through that many cities by branch and bound",
        iterations_are: "searches",
        size: 16,
        iterations: 10,
    },
    App {
        name: "sort",
        what: "bucket sort of that many integers",
        iterations_are: "sorts",
        size: 1 << 22,
        iterations: 5,
    },
    App {
        name: "index",
        what: "hash index of that many keys, 95 % look-ups",
        iterations_are: "operations",
        size: 1_000_000,
        iterations: 500_000,
    },
];

/// A program, and how much it has to do: `NAME`, `NAME=SIZE` or `NAME=SIZE,ITERATIONS`.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    app: &'static App,
    size: u64,
    iterations: u64,
}

impl Choice {
    /// All programs as they are when nobody says otherwise.
    pub fn all() -> impl Iterator<Item = Choice> {
        const ALL: &[App] = &APPS;
        ALL.iter().map(|app| Choice { app, size: app.size, iterations: app.iterations })
    }

    /// The program as a command. It takes what follows as arguments.
    fn command(&self, mut command: Command) -> Command {
        command.args([self.app.name, &self.size.to_string(), &self.iterations.to_string()]);
        command
    }

    /// How many bytes that many processes share.
    fn bytes(&self, program: &Path, ranks: u16) -> Result<u64> {
        let mut command = self.command(Command::new(program));
        let output = command.args(["bytes", &ranks.to_string()]).output();
        let output = output.with_context(|| format!("{} cannot be started", program.display()))?;
        let said =
            String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr });
        said.trim().parse().map_err(|_| anyhow!("`{self}` cannot be done: {}", said.trim().escape_debug()))
    }
}

impl FromStr for Choice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Choice> {
        let (name, rest) = text.split_once('=').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let Some(mut choice) = Choice::all().find(|choice| choice.app.name == name) else {
            bail!("there is no such program; there are {}", APPS.map(|app| app.name).join(", "));
        };
        if let Some(rest) = rest {
            let (size, iterations) = rest.split_once(',').map_or((rest, None), |(a, b)| (a, Some(b)));
            let number = |text: &str| {
                text.parse().context("SIZE and ITERATIONS are whole numbers; write them as in jacobi=500,10")
            };
            choice.size = number(size)?;
            choice.iterations = iterations.map_or(Ok(choice.iterations), number)?;
        }
        Ok(choice)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={},{}", self.app.name, self.size, self.iterations)
    }
}

/// A region that a mesh must have, unused so far, for a program.
#[derive(Clone, Debug)]
pub struct RegionNeeded {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Which nodes home it.
    pub homes: Vec<u16>,
}

/// The regions for these programs.
///
/// # Errors
/// The program `pagemesh-apps` cannot be started, or says that something is too large or too small for it.
pub fn regions(program: &Path, choices: &[Choice]) -> Result<Vec<RegionNeeded>> {
    let all =
        choices.iter().enumerate().flat_map(|(index, choice)| NODES.map(|nodes| (index, choice, nodes)));
    let region = |(index, choice, nodes): (usize, &Choice, u16)| {
        let bytes = choice.bytes(program, nodes)?;
        Ok(RegionNeeded { name: region_name(index, choice, nodes), bytes, homes: (0..nodes).collect() })
    };
    all.map(region).collect()
}

fn region_name(index: usize, choice: &Choice, nodes: u16) -> String {
    format!("apps-{index}-{}-{nodes}", choice.app.name)
}

/// The mesh that is measured.
pub trait MeasuredMesh {
    /// A program, attached to a node.
    ///
    /// # Errors
    /// The node's agent is not there.
    fn attached(&self, node: u16, program: &Path) -> Result<Command>;

    /// What all its agents have counted so far.
    ///
    /// # Errors
    /// One does not answer.
    fn traffic(&self) -> Result<Traffic>;
}

/// Runs these programs so often, each on one node and on several of a mesh that has their [`regions`].
///
/// # Errors
/// A program does not run to its end, or two runs of one have different results.
pub fn run(program: &Path, choices: &[Choice], rounds: usize, mesh: &dyn MeasuredMesh) -> Result<AppsReport> {
    let before = Ticks::now();
    let measured = choices.iter().enumerate().map(|(index, choice)| {
        measure(program, index, choice, rounds, mesh).with_context(|| format!("in `{choice}`"))
    });
    let apps = measured.collect::<Result<_>>()?;
    Ok(AppsReport { apps, rounds, steal_percent: Ticks::now().percent_since(before) })
}

fn measure(
    program: &Path,
    index: usize,
    choice: &Choice,
    rounds: usize,
    mesh: &dyn MeasuredMesh,
) -> Result<AppReport> {
    let mut alone = choice.command(Command::new(program));
    alone.arg("alone");
    let mut alone = Ranks::start(vec![alone])?;
    alone.hear("ran")?;
    let expected = same(alone.hear("result")?)?;
    alone.end()?;

    let mut runs = Vec::new();
    for nodes in NODES {
        let not_attached = |_| {
            let mut command = Command::new(program);
            // Even if this one is.
            command.env_remove("PAGEMESH_SOCKET");
            Ok(command)
        };
        let attached = |node| mesh.attached(node, program);
        let mut measured = Vec::new();
        for _ in 0..rounds {
            let memory = Memory::make(choice.bytes(program, nodes)?)?;
            let (plain, _) = run_on(choice, nodes, memory, &not_attached, &|| Ok(Traffic::default()))?;
            verify(&plain, &expected, &format!("{nodes} processes on one node"))?;
            let region = Memory::Region(format!("/{}", region_name(index, choice, nodes)));
            let (ours, traffic) = run_on(choice, nodes, region, &attached, &|| mesh.traffic())?;
            verify(&ours, &expected, &format!("{nodes} nodes"))?;
            measured.push(Round { plain_seconds: plain.seconds, seconds: ours.seconds, traffic });
        }
        runs.extend(report::runs(nodes, choice.iterations, &measured));
    }
    Ok(AppReport {
        name: choice.app.name.into(),
        what: choice.app.what.into(),
        size: choice.size,
        iterations: choice.iterations,
        iterations_are: choice.app.iterations_are.into(),
        result: expected,
        runs,
    })
}

/// Runs one process on each of so many nodes, and returns what came of it, and the traffic meanwhile.
fn run_on(
    choice: &Choice,
    nodes: u16,
    memory: Memory,
    start: &dyn Fn(u16) -> Result<Command>,
    traffic: &dyn Fn() -> Result<Traffic>,
) -> Result<(Ran, Traffic)> {
    let command = |node: u16| {
        let mut command = choice.command(start(node)?);
        command.args(["rank", &node.to_string(), &nodes.to_string(), memory.name()]);
        Ok(command)
    };
    let mut ranks = Ranks::start((0..nodes).map(command).collect::<Result<_>>()?)?;
    ranks.hear("ready")?;
    // All have mapped it, and nobody asks for its name any more.
    drop(memory);
    let before = traffic()?;
    ranks.go_on()?;
    let seconds = ranks::longest_seconds(&ranks.hear("ran")?)?;
    let traffic = traffic()?.since(before);
    ranks.go_on()?;
    let result = same(ranks.hear("result")?)?;
    ranks.end()?;
    Ok((Ran { seconds, result }, traffic))
}

/// What all processes say, if it is the same.
fn same(results: Vec<String>) -> Result<String> {
    let mut results = results.into_iter();
    let first = results.next().context("there is no process")?;
    for other in results {
        ensure!(
            other == first,
            "two processes read different results in the same memory: {first} and {other}"
        );
    }
    Ok(first)
}

fn verify(ran: &Ran, expected: &str, by: &str) -> Result<()> {
    ensure!(
        ran.result == expected,
        "the result of {by} is {}, and that of one process {expected}",
        ran.result
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices() {
        let parse = |text: &str| text.parse::<Choice>().map(|choice| choice.to_string());
        assert_eq!(parse("jacobi").expect("good"), "jacobi=2000,20");
        assert_eq!(parse("tsp=12").expect("good"), "tsp=12,10");
        assert_eq!(parse("sort=100,3").expect("good"), "sort=100,3");
        for bad in
            ["", "nothing", "jacobi=", "jacobi=x", "jacobi=1,", "jacobi=1,2,3", "jacobi=-1", "jacobi 5"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn results_must_agree() {
        let all = |results: &[&str]| same(results.iter().map(|result| (*result).to_owned()).collect());
        assert_eq!(all(&["a", "a"]).expect("the same"), "a");
        assert!(all(&["a", "b"]).is_err());
        let ran = Ran { seconds: 1.0, result: "a".into() };
        assert!(verify(&ran, "a", "2 nodes").is_ok());
        assert!(verify(&ran, "b", "2 nodes").is_err());
    }
}
