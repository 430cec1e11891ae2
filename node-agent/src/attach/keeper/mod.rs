//! The life of a keeper's connection: docs/src/attach-protocol.md, "Keepers".
//!
//! `packet` is what it is told, in bytes, and `holdings` what there is to hold; here is who tells it. A keeper is told what is
//! new since it was told last, whenever it has read that: nothing queues up for one that does not read.

mod holdings;
mod packet;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

pub use holdings::Holdings;
pub(super) use holdings::{HeldOn, Holding};
pub use packet::Told;

use super::Shared;
use super::end::{End, bad};
use super::packet::Request;
use super::session::{self, decode};
use super::socket::{Connection, PeerCredentials};
use crate::control::{Denied, Who};
use crate::kept::Process;
use crate::memory::RegionFile;
use crate::shard::Counted;
use crate::volume::Volume;

/// How often counts are told, and looked whether regions are ready: not all that decides this tells of its changes.
const TICK: Duration = Duration::from_secs(1);

/// How long a keeper may take to read until its connection ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// Descriptors that one packet carries at most: a library's packets have room for 64.
const DESCRIPTORS_MAX: usize = 64;

/// Opens a region file for a keeper, which never writes.
pub(super) fn open_to_hold(file: &RegionFile, read_only: bool) -> Option<OwnedFd> {
    let opened = if read_only {
        // Nobody of a pod that may only read can make more of it.
        file.open_read_only()
    } else {
        File::open(format!("/proc/self/fd/{}", file.fd().as_raw_fd()))
    };
    // Without it, the file lives as long as the agent's directory of region memory has it.
    opened
        .inspect_err(|error| warn!(%error, "a keeper must do without a region file"))
        .ok()
        .map(OwnedFd::from)
}

/// Serves a keeper until its connection ends.
pub(super) async fn serve(
    connection: &Connection,
    shared: &Shared,
    volume: &Volume,
    credentials: PeerCredentials,
) -> Result<Infallible, End> {
    let Some(process) = Process::of(credentials.pid) else {
        return bad("the agent does not see the keeper's process: run the agent in the node's PID namespace");
    };
    let mut held = match shared.holdings.take_place(&volume.id, process) {
        Ok(held) => held,
        Err(another) => {
            return bad(format!("process {} is this pod's keeper already: one is enough", another.pid));
        }
    };
    info!(volume = volume.id, pod = volume.pod.name, pid = process.pid, "a keeper is here");
    let mut keeper = Keeper { connection, told: BTreeMap::new(), state: None };
    let Holdings { life, process, .. } = &*shared.holdings;
    keeper.tell(&Told::Life { life: life.0, process: *process }, &[]).await?;

    let mut changes = shared.control.changes();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now: Vec<_> = held.borrow_and_update().iter().map(|(id, what)| (*id, Arc::clone(what))).collect();
        keeper.tell_held(now.into_iter().collect()).await?;
        if let Some(denied) = keeper.tell_state(trouble(shared, volume)).await? {
            session::tell_pod(shared, volume, denied);
        }
        tokio::select! {
            // Their senders live as long as whoever asks.
            _ = held.changed() => {}
            _ = changes.changed() => {}
            _ = tick.tick() => keeper.tell_counts().await?,
            received = connection.receive() => match decode(received?, 0)? {
                (Request::Ask, _) => keeper.state = None,
                (
                    Request::Hello(_)
                    | Request::Bind
                    | Request::Map { .. }
                    | Request::Unmap { .. }
                    | Request::Resume { .. }
                    | Request::Keep
                    | Request::Names,
                    _,
                ) => return bad("a keeper says nothing but Ask"),
            },
        }
    }
}

/// Why a volume's pod should not start yet, if it should not: its table is not there, or one of its regions cannot be attached.
pub(super) fn trouble(shared: &Shared, volume: &Volume) -> Option<Denied> {
    let of_region = || {
        volume
            .regions
            .iter()
            .find_map(|region| shared.control.check(&region.name, Who::OfVolume(volume)).err())
    };
    shared.names.check_table(volume).err().or_else(of_region)
}

/// What a keeper has been told.
struct Keeper<'a> {
    connection: &'a Connection,
    told: BTreeMap<u64, (Arc<Holding>, Counted)>,
    state: Option<Option<Denied>>,
}

impl Keeper<'_> {
    async fn tell(&self, told: &Told, descriptors: &[BorrowedFd<'_>]) -> Result<(), End> {
        let sent = timeout(PATIENCE, self.connection.send(&told.encode(), descriptors)).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(End::from)
    }

    /// Tells of attachments that have begun and ended.
    async fn tell_held(&mut self, now: BTreeMap<u64, Arc<Holding>>) -> Result<(), End> {
        let ended: Vec<u64> = self.told.keys().filter(|id| !now.contains_key(id)).copied().collect();
        for attachment in ended {
            // What it has cost to the last.
            self.tell_count(attachment).await?;
            self.tell(&Told::Released { attachment }, &[]).await?;
            self.told.remove(&attachment);
        }
        for (attachment, holding) in now {
            if self.told.contains_key(&attachment) {
                continue;
            }
            let descriptors: Vec<BorrowedFd<'_>> = (holding.file.iter().map(AsFd::as_fd))
                .chain(holding.uffds.iter().map(|uffd| uffd.as_fd()))
                .collect();
            let kept = Told::Kept { attachment, region: holding.region.clone() };
            for some in descriptors.chunks(DESCRIPTORS_MAX) {
                self.tell(&kept, some).await?;
            }
            self.told.insert(attachment, (holding, Counted::default()));
        }
        Ok(())
    }

    /// Tells whether regions can be attached, if that is news. Returns new trouble.
    async fn tell_state(&mut self, trouble: Option<Denied>) -> Result<Option<Denied>, End> {
        if self.state.as_ref() == Some(&trouble) {
            return Ok(None);
        }
        self.tell(&Told::State { trouble: trouble.as_ref().map(Denied::to_string) }, &[]).await?;
        self.state = Some(trouble.clone());
        Ok(trouble)
    }

    async fn tell_counts(&mut self) -> Result<(), End> {
        let all: Vec<u64> = self.told.keys().copied().collect();
        for attachment in all {
            self.tell_count(attachment).await?;
        }
        Ok(())
    }

    /// Tells what an attachment has cost, if that is news.
    async fn tell_count(&mut self, attachment: u64) -> Result<(), End> {
        let Some((holding, told)) = self.told.get(&attachment) else { return Ok(()) };
        let counted = holding.counted();
        if counted != *told {
            self.tell(&Told::Counts { attachment, counted }, &[]).await?;
            self.told.entry(attachment).and_modify(|(_, told)| *told = counted);
        }
        Ok(())
    }
}
