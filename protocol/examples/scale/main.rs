//! How the protocol scales: counts messages, bytes and steps for meshes of up to 1,000 agents whose programs access shared
//! memory by well-known patterns. Nothing is timed, so that the same program says the same on every machine.
//!
//! `make scale`, or `cargo run --release -p pagemesh-protocol --example scale -- DIRECTORY`: prints tables, and leaves
//! them in DIRECTORY as text and as Markdown, with a plot.

mod facts;
mod heap;
mod measure;
mod plot;
mod table;

use std::path::Path;
use std::process::ExitCode;

use measure::mesh::{Counts, Mesh};
use measure::pattern::Pattern;
use measure::{COHERENCES, run};
use plot::{Curve, Panel};
use table::{Table, number, thousands};

const AGENTS: [usize; 6] = [2, 8, 32, 128, 512, 1_000];

/// Counts of one pattern under one coherence, for each number of agents.
struct Series {
    pattern: Pattern,
    coherence: &'static str,
    counts: Vec<Counts>,
}

/// What a table is about: its title, the numbers in it, and how many decimals they have.
type Measure = (&'static str, fn(&Counts) -> f64, usize);

const MEASURES: [Measure; 4] = [
    ("Messages per access", |counts| counts.per_access(counts.messages), 2),
    ("Bytes per access", |counts| counts.per_access(counts.bytes), 0),
    ("Steps of the busiest agent per access of anybody", |counts| counts.per_access(counts.busiest()), 2),
    ("The most messages that one step has sent", |counts| counts.burst as f64, 0),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory] = arguments.as_slice() else {
        eprintln!("usage: scale DIRECTORY (where the tables and the plot are to go)");
        return ExitCode::from(2);
    };
    let meshes: Vec<Mesh> = AGENTS.iter().map(|&agents| Mesh::connected(agents)).collect();
    let all = count_all(&meshes);
    let mut tables: Vec<Table> = MEASURES.iter().map(|measure| table_of(measure, &all)).collect();
    tables.push(table_of_facts(&meshes));
    let text: Vec<String> = tables.iter().map(Table::text).collect();
    let markdown: Vec<String> = tables.iter().map(Table::markdown).collect();
    let files = [
        ("scale.txt", text.join("\n")),
        ("scale.md", markdown.join("\n")),
        ("scale.svg", plot::svg("Messages per access", &AGENTS, &panels(&all))),
    ];
    println!("{}", text.join("\n"));
    for (name, contents) in files {
        let path = Path::new(directory).join(name);
        let written = std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&path, contents));
        if let Err(error) = written {
            eprintln!("cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("{}", path.display());
    }
    ExitCode::SUCCESS
}

fn count_all(meshes: &[Mesh]) -> Vec<Series> {
    let of = |pattern| {
        COHERENCES.map(|(coherence, name)| Series {
            pattern,
            coherence: name,
            counts: meshes.iter().map(|mesh| run(mesh, pattern, coherence)).collect(),
        })
    };
    Pattern::ALL.into_iter().flat_map(of).collect()
}

fn table_of((title, value, decimals): &Measure, all: &[Series]) -> Table {
    let row = |series: &Series, coherence: &str| {
        let numbers = series.counts.iter().map(|counts| number(value(counts), *decimals));
        [format!("{}, {coherence}", series.pattern.name())].into_iter().chain(numbers).collect()
    };
    let mut rows = Vec::new();
    for [invalidate, update] in all.as_chunks().0 {
        if invalidate.counts == update.counts {
            rows.push(row(invalidate, "both"));
        } else {
            rows.extend([invalidate, update].map(|series| row(series, series.coherence)));
        }
    }
    Table { title: (*title).into(), head: head(), rows }
}

fn table_of_facts(meshes: &[Mesh]) -> Table {
    let row = |(name, count): &(&str, fn(&Mesh) -> u64)| {
        let counts = meshes.iter().map(|mesh| thousands(count(mesh)));
        [(*name).to_owned()].into_iter().chain(counts).collect()
    };
    let rows = facts::FACTS.iter().map(row).collect();
    Table { title: "What else grows".into(), head: head(), rows }
}

fn head() -> Vec<String> {
    ["agents".to_owned()].into_iter().chain(AGENTS.iter().map(|&agents| thousands(agents as u64))).collect()
}

fn panels(all: &[Series]) -> Vec<Panel> {
    let (_, value, _) = MEASURES[0];
    let curve = |series: &Series| Curve {
        name: series.pattern.name(),
        points: AGENTS.iter().zip(&series.counts).map(|(&agents, c)| (agents as f64, value(c))).collect(),
    };
    let panel = |(_, name)| Panel {
        heading: name,
        curves: all.iter().filter(|series| series.coherence == name).map(curve).collect(),
    };
    COHERENCES.map(panel).into()
}
