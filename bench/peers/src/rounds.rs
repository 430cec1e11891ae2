//! The run: all sides in each round of each work, right after one another.

use std::path::Path;

use anyhow::{Context, Result};
use pagemesh_bench::peers::{Bare, Ticks};

use crate::report::{About, Cell, Measured, Others, Report, Row};
use crate::side::{self, Side};
use crate::work::{self, Tags, Work};

/// Rounds that only warm up.
const WARM_UP: usize = 2;

/// One that takes part, unless it could not be started.
struct Entry {
    about: About,
    side: Option<Side>,
}

/// What is measured of a work: of its floor, and of each side.
struct OfWork {
    floor: Measured,
    sides: Vec<Measured>,
}

/// Measures ours in a mesh, and the peers in a place for what they need.
pub(crate) fn measure(mesh: &Path, place: &Path, rounds: usize) -> Result<Report> {
    let load_before = load();
    let mut floor = Bare::start()?;
    let (about, ours) = side::ours(mesh)?;
    let mut entries = vec![Entry { about: About::present(about), side: Some(ours) }];
    entries.extend(side::peers(place).into_iter().map(|(name, started)| match started {
        Ok((about, side)) => Entry { about: About::present(about), side: Some(side) },
        Err(reason) => {
            eprintln!("pagemesh-bench-peers: {name}: {reason:#}");
            Entry { about: About::absent(name, &reason), side: None }
        }
    }));
    let of_work = |_| OfWork {
        floor: Measured::default(),
        sides: entries.iter().map(|_| Measured::default()).collect(),
    };
    let mut measured = work::ALL.each_ref().map(of_work);
    let mut tags = Tags::new();
    let before = Ticks::now();
    for round in 0..WARM_UP + rounds {
        let is_measured = round >= WARM_UP;
        for (work, to) in work::ALL.iter().zip(&mut measured) {
            if let Some(beside) = &work.floor {
                let nanos = (beside.round)(&mut floor).context("the floor cannot be measured")?;
                to.floor.enter_if(is_measured, nanos);
            }
            // Each time from another one on, since who comes after whom may matter.
            let count = entries.len();
            for at in (0..count).map(|step| (round + step) % count) {
                let Entry { about, side: Some(side) } = &mut entries[at] else { continue };
                if work.counts && !side.counts {
                    continue;
                }
                let nanos = (work.round)(side, &mut tags)
                    .with_context(|| format!("in round {round} of `{}` with {}", work.name, about.name))?;
                to.sides[at].enter_if(is_measured, nanos);
            }
        }
    }
    let others = Others { load_before, steal_percent: Ticks::now().percent_since(before) };
    let works = work::ALL.iter().zip(&measured).map(|(work, measured)| measured.row(work)).collect();
    Ok(Report::new(works, entries.into_iter().map(|entry| entry.about).collect(), rounds, others))
}

/// How many threads of the machine wanted to run, as a mean over the last minute; 0 where the kernel does not tell.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

impl OfWork {
    fn row(&self, work: &Work) -> Row {
        let ours = &self.sides[0];
        let cell =
            |peer: &Measured| peer.is_some().then(|| Cell { us: peer.micros(), ratio: ours.ratio_to(peer) });
        Row {
            name: work.name,
            what: work.what,
            floor: work.floor.as_ref().map(|floor| floor.name),
            floor_us: work.floor.as_ref().map(|_| self.floor.micros()),
            ours_us: ours.micros(),
            peers: self.sides.iter().skip(1).map(cell).collect(),
        }
    }
}
