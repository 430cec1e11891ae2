//! All that the floor measures, in every setup.

use anyhow::Result;
use serde::Serialize;

use super::app::PAGE;
use super::setup::{self, Setup};
use super::{Floor, server};
use crate::series::Series;
use crate::{PAGES, STREAM_PAGES};

/// Pages of a run of the stream.
pub(crate) const RUN: usize = 64;

/// Medians of a setup.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FloorRow {
    /// The setup: who is bound to which processor, and who sleeps.
    pub setup: String,
    /// Microseconds of a request and an answer of 64 bytes each between two processes, over TCP.
    pub tcp_64_us: f64,
    /// The same with an answer of 4 KiB.
    pub tcp_4k_us: f64,
    /// Microseconds of a load whose page only has to be installed.
    pub local_fault_us: f64,
    /// Microseconds of a load whose page comes from another process.
    pub remote_fault_us: f64,
    /// Microseconds of a store to a write-protected page that another process is asked about.
    pub remote_upgrade_us: f64,
    /// Gigabytes in a second of pages that come in runs of 64 and are installed so.
    pub stream_gbps: f64,
}

/// The measurements of one setup.
#[derive(Debug, Default)]
struct Measured {
    tcp_64: Series,
    tcp_4k: Series,
    local_fault: Series,
    remote_fault: Series,
    remote_upgrade: Series,
    stream: Series,
}

/// Every setup's measurements, taken in rounds.
#[derive(Debug)]
pub(crate) struct Table(Vec<(Setup, Measured)>);

impl Table {
    pub(crate) fn new() -> Table {
        Table(setup::ALL.map(|setup| (setup, Measured::default())).into())
    }

    /// A round of all setups.
    pub(crate) fn round(&mut self, floor: &mut Floor) -> Result<()> {
        for (setup, to) in &mut self.0 {
            floor.enter(*setup)?;
            to.tcp_64.enter(floor.round_trips(0, PAGES)?);
            to.tcp_4k.enter(floor.round_trips(PAGE, PAGES)?);
            // What is large makes sender and receiver run at a time, as they do in whatever has more to do than this.
            floor.round_trips(server::PAYLOAD_MAX, 8)?;
            to.local_fault.enter(floor.local_faults()?);
            to.remote_fault.enter(floor.remote_reads()?);
            to.remote_upgrade.enter(floor.remote_upgrades()?);
            to.stream.enter(vec![floor.stream(RUN)?]);
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> Vec<FloorRow> {
        let row = |(setup, of): &(Setup, Measured)| FloorRow {
            setup: setup.name.into(),
            tcp_64_us: of.tcp_64.micros(),
            tcp_4k_us: of.tcp_4k.micros(),
            local_fault_us: of.local_fault.micros(),
            remote_fault_us: of.remote_fault.micros(),
            remote_upgrade_us: of.remote_upgrade.micros(),
            stream_gbps: (STREAM_PAGES * PAGE) as f64 / 1e3 / of.stream.micros(),
        };
        self.0.iter().map(row).collect()
    }
}
