//! Rounds, and what is made of them.

use anyhow::{Context, Result};

use crate::floor::Floor;
use crate::floor::setup::FREE;
use crate::floor::table::Table;
use crate::limits::Limits;
use crate::report::{Report, Row, STEAL_MAX};
use crate::series::{Series, middle};
use crate::steal::Ticks;
use crate::workloads::{self, Beside, Mesh, Unit, Workload};
use crate::{Options, STREAM_PAGES};

/// Rounds that only warm up.
const WARM_UP: usize = 2;
/// Numbers that a round of a workload may use.
const NUMBERS: u64 = 2;
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
    // What programs store: no two values of a run are the same, so that nothing stale passes for new.
    let mut number = 0;
    for apart in [false, true] {
        for round in 0..WARM_UP + rounds {
            // It takes as long as several workloads, and changes little.
            if !apart && round % FLOOR_EVERY == 0 {
                table.round(&mut floor).context("the floor cannot be measured")?;
                limits.as_mut().map_or(Ok(()), Limits::round)?;
            }
            for (workload, pair) in
                all.iter().zip(&mut pairs).filter(|(workload, _)| workload.is_apart() == apart)
            {
                number += NUMBERS;
                let beside = workloads::beside(&mut floor, &mut mesh, workload.beside, number)?;
                number += NUMBERS;
                let ours = (workload.round)(&mut mesh, number)
                    .with_context(|| format!("in round {round} of {}", workload.name))?;
                let beside = if workload.beside == Beside::Itself { ours.beside } else { beside };
                if round >= WARM_UP {
                    pair.enter(beside, ours.ours);
                }
            }
        }
    }
    let steal_percent = Ticks::now().percent_since(before);
    let disturbed = steal_percent > STEAL_MAX;
    let rows = all.iter().zip(pairs).map(|(workload, pair)| pair.row(workload, disturbed)).collect();
    let floor = table.rows();
    let free = floor.iter().find(|row| row.setup == FREE.name);
    let limits = limits.iter().zip(free).flat_map(|(limits, free)| limits.agreements(free)).collect();
    Ok(Report { floor, limits, rows, rounds, steal_percent, disturbed })
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

    fn row(self, workload: &Workload, disturbed: bool) -> Row {
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
            good: workload
                .limit
                .filter(|_| !disturbed)
                .map(|limit| if is_rate { ratio >= limit } else { ratio <= limit }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::ALL;

    fn row(name: &str, rounds: &[(u64, u64)], disturbed: bool) -> Row {
        let workload = ALL.iter().find(|workload| workload.name == name).expect("there is one");
        let mut pair = Pair::default();
        rounds.iter().for_each(|(beside, ours)| pair.enter(vec![*beside], vec![*ours]));
        pair.row(workload, disturbed)
    }

    #[test]
    fn a_time_may_be_so_much_longer_and_no_more() {
        let good = row("remote-read", &[(100_000, 110_000), (200_000, 210_000), (50_000, 500_000)], false);
        assert_eq!((good.ratio, good.good), (1.1, Some(true)), "{good:?}");
        assert_eq!((good.beside_median, good.ours_median), (100.0, 210.0));
        let bad = row("remote-read", &[(100_000, 120_000)], false);
        assert_eq!((bad.ratio, bad.good), (1.2, Some(false)));
        assert_eq!(row("remote-read", &[(100_000, 120_000)], true).good, None);
    }

    #[test]
    fn a_rate_must_be_so_high_and_no_less() {
        let good = row("sequential-read", &[(80, 100)], false);
        assert_eq!((good.ratio, good.good, good.is_rate), (0.8, Some(true), true));
        assert_eq!(row("sequential-read", &[(60, 100)], false).good, Some(false));
    }

    #[test]
    fn what_has_no_limit_has_no_verdict_and_counts_are_no_times() {
        assert_eq!(row("upgrade-2", &[(1, 100)], false).good, None);
        let counted = row("write-update", &[(50, 4)], false);
        assert_eq!((counted.ours_median, counted.beside_median, counted.good), (4.0, 50.0, Some(true)));
    }
}
