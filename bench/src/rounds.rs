//! Rounds, and what is made of them.

use anyhow::{Context, Result};

use crate::floor::Floor;
use crate::floor::setup::FREE;
use crate::floor::table::Table;
use crate::limits::Limits;
use crate::report::{Report, Row};
use crate::series::{Series, middle};
use crate::steal::Ticks;
use crate::workloads::{self, Beside, Mesh, Unit, Workload};
use crate::{Options, STREAM_PAGES};

/// Rounds that only warm up.
const WARM_UP: usize = 2;
/// Rounds for one of the floor in all setups.
const FLOOR_EVERY: usize = 4;

/// Does `rounds` of each workload that is chosen, each after a round of what it is beside.
pub(crate) fn measure(options: &Options, chosen: &dyn Fn(&str) -> bool) -> Result<Report> {
    let (sockets, rounds) = (&options.sockets, options.rounds.max(1));
    let mut limits = options.limits.as_deref().map(Limits::new);
    let mut floor = Floor::start(STREAM_PAGES).context("the floor cannot be measured")?;
    let mut mesh = Mesh::start(sockets)?;
    let all: Vec<Workload> = workloads::ALL.into_iter().filter(|workload| chosen(workload.name)).collect();
    let mut pairs: Vec<Pair> = all.iter().map(|_| Pair::default()).collect();
    let mut table = Table::new();
    let before = Ticks::now();
    for round in 0..WARM_UP + rounds {
        // It takes as long as several workloads, and changes little.
        if round % FLOOR_EVERY == 0 {
            table.round(&mut floor).context("the floor cannot be measured")?;
            limits.as_mut().map_or(Ok(()), Limits::round)?;
        }
        for (workload, pair) in all.iter().zip(&mut pairs) {
            // Numbers of rounds make what pages hold: no two are the same.
            let number = 2 * round as u64;
            let beside = workloads::beside(&mut floor, &mut mesh, workload.beside, number)?;
            let ours = (workload.round)(&mut mesh, number + 1)
                .with_context(|| format!("in round {round} of {}", workload.name))?;
            let beside = if workload.beside == Beside::Itself { ours.beside } else { beside };
            if round >= WARM_UP {
                pair.enter(beside, ours.ours);
            }
        }
    }
    let steal = Ticks::now().percent_since(before);
    let rows = all.iter().zip(pairs).map(|(workload, pair)| pair.row(workload)).collect();
    let floor = table.rows();
    let free = floor.iter().find(|row| row.setup == FREE.name);
    let limits = limits.iter().zip(free).flat_map(|(limits, free)| limits.agreements(free)).collect();
    Ok(Report { floor, limits, rows, rounds, steal_percent: steal })
}

/// What has been measured of a workload.
#[derive(Debug, Default)]
struct Pair {
    beside: Series,
    ours: Series,
    ratios: Vec<f64>,
}

impl Pair {
    fn enter(&mut self, beside: Vec<u64>, ours: Vec<u64>) {
        let (beside, ours) = (self.beside.enter(beside), self.ours.enter(ours));
        self.ratios.push(ours / beside.max(1.0));
    }

    fn row(self, workload: &Workload) -> Row {
        let ratio = middle(self.ratios);
        let is_rate = matches!(workload.beside, Beside::Stream | Beside::Storm(_));
        let scale = if workload.unit == Unit::Times { 1.0 } else { 1e3 };
        let ratio = if is_rate { 1.0 / ratio } else { ratio };
        Row {
            name: workload.name.into(),
            what: workload.what.into(),
            beside: match workload.beside {
                Beside::RemoteRead => "free_block.remote_fault",
                Beside::RemoteUpgrade => "free_block.remote_upgrade",
                Beside::Stream => "free_block.stream",
                Beside::Storm(_) => "free_block.local_faults",
                Beside::OwnRemoteRead => "remote-read",
                Beside::Itself if workload.unit == Unit::Times => "values",
                Beside::Itself => "own memory",
            }
            .into(),
            unit: if workload.unit == Unit::Times { "times" } else { "µs" }.into(),
            is_rate,
            beside_median: self.beside.middle() / scale,
            ours_median: self.ours.middle() / scale,
            ours_p99: self.ours.p99() / scale,
            ratio,
            limit: workload.limit,
            good: workload.limit.map(|limit| if is_rate { ratio >= limit } else { ratio <= limit }),
        }
    }
}
