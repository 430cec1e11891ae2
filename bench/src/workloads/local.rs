//! What costs no message, and beginnings.

use super::{Beside, Of, Taken, Unit, Workload};
use crate::PAGES;
use crate::program::Order;

/// Passes through all pages in a round.
const TIMES: usize = 50;

pub(super) const LOCAL: Workload = Workload {
    name: "local",
    what: "1 MiB added up that is here, beside the same in a process' own memory",
    beside: Beside::Itself,
    limit: Some(1.01),
    unit: Unit::Micros,
    round: |mesh, _| {
        let ours = mesh.ask(Of::Third, 0, &Order::Pass { pages: PAGES, times: TIMES })?;
        let beside = mesh.ask(Of::Third, 0, &Order::PlainPass { pages: PAGES, times: TIMES })?;
        Ok(Taken { ours, beside })
    },
};

pub(super) const ATTACH: Workload = Workload {
    name: "attach",
    what: "from nothing to the first load of a region of 4 MiB",
    beside: Beside::OwnRemoteRead,
    limit: None,
    unit: Unit::Micros,
    round: |mesh, _| mesh.ask(Of::Third, 0, &Order::Attach { region: "bench-pair".into() }).map(Taken::of),
};

pub(super) const ATTACH_HUGE: Workload = Workload {
    name: "attach-1Ti",
    what: "the same of a region of 1 TiB",
    beside: Beside::OwnRemoteRead,
    limit: None,
    unit: Unit::Micros,
    round: |mesh, _| mesh.ask(Of::Third, 0, &Order::Attach { region: "bench-huge".into() }).map(Taken::of),
};
