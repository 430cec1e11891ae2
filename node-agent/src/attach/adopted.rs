//! Attachments of an earlier process of this agent: taken up before anybody is served, then parked until their programs
//! connect again.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pagemesh_protocol::RegionId;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval_at};
use tracing::info;

use super::attached::register;
use super::keeper::{HeldOn, Holding, Holdings, open_to_hold};
use super::ranges::Ranges;
use super::rest::hold_on;
use super::socket::watch;
use crate::control::{Admission, Attached, Attachment, Control, GivenUp};
use crate::kept::{KeptAttachment, Process, find_userfaultfds};
use crate::shard::{self, AttachmentId, Command, Counts, Range};
use crate::uffd::{KERNEL_PAGE, OpError, Uffd};
use crate::volume::ByVolume;

/// How often is looked whether a program that has no connection has anything mapped still.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// An attachment that was taken up.
#[derive(Debug)]
pub struct Adopted {
    pub(super) admission: Admission,
    pub(super) attachment: Attachment,
    pub(super) given_up: GivenUp,
    pub(super) kept: KeptAttachment,
    pub(super) ranges: Ranges,
    /// By shard.
    pub(super) uffds: Arc<[Arc<Uffd>]>,
    /// What keeps it held by a keeper, if it came by a volume.
    pub(super) held: Option<HeldOn>,
    pub(super) process: OwnedFd,
}

/// Whether anything of what it has mapped is mapped still: `exec` and `munmap` do not say a word.
async fn is_mapped(admission: &Admission, ranges: &Ranges, uffds: &Arc<[Arc<Uffd>]>, revoked: bool) -> bool {
    let (region, page_size, uffds) = (admission.region, admission.page_size, Arc::clone(uffds));
    let ranges: Vec<Range> = ranges.all().collect();
    let any = move || {
        let shards = uffds.len() as u16;
        let parts = ranges.iter().flat_map(|range| shard::split(*range, region, page_size, shards));
        parts.into_iter().any(|(shard, part)| {
            let uffd = &uffds[usize::from(shard)];
            let mapped = if revoked {
                // To map a page would undo that it is poisoned.
                uffd.poison(part.base, KERNEL_PAGE)
            } else {
                // Maps nothing that the node does not have, and nothing writable.
                uffd.continue_(part.base, KERNEL_PAGE, true)
            };
            !matches!(mapped, Err(OpError::Gone | OpError::Unmapped))
        })
    };
    // The ioctl waits for the lock of the program's address space, which the program can hold for long.
    tokio::task::spawn_blocking(any).await.unwrap_or(true)
}

/// Takes up what was attached to an earlier process, as far as it is still there: tells the shards, and notes who will have
/// to connect again.
///
/// # Errors
/// A program is there that cannot be reached, so what it may write cannot be taken from it.
pub fn adopt(
    control: &Arc<Control>,
    holdings: &Arc<Holdings>,
    attachments: Vec<KeptAttachment>,
) -> io::Result<Vec<Adopted>> {
    let mut adopted = Vec::new();
    for kept in attachments {
        let (id, name, pid) = (kept.id, kept.name.clone(), kept.process.pid);
        match adopt_one(control, holdings, kept)? {
            Ok(one) => {
                info!(attachment = id, region = name, pid, "took up an attachment");
                adopted.push(one);
            }
            Err(reason) => {
                info!(attachment = id, region = name, pid, reason, "an attachment has ended meanwhile");
                control.forget_attachment(AttachmentId(id));
            }
        }
    }
    Ok(adopted)
}

/// One attachment, or why it has ended.
fn adopt_one(
    control: &Arc<Control>,
    holdings: &Arc<Holdings>,
    kept: KeptAttachment,
) -> io::Result<Result<Adopted, &'static str>> {
    let attached = Attached {
        id: RegionId(kept.region),
        region: kept.name.clone(),
        pid: kept.process.pid,
        uid: kept.uid,
        command: kept.command.clone(),
        pod: kept.pod.clone(),
        by_volume: kept.by_volume.clone(),
        read_only: kept.read_only,
        revoked: kept.revoked.clone(),
        mapped_bytes: kept.ranges.iter().map(|range| range.len).sum(),
    };
    let id = AttachmentId(kept.id);
    // From here on every way out makes the shards forget it.
    let Some((admission, attachment, given_up)) = control.attach_again(id, attached) else {
        return Ok(Err("its region is gone"));
    };
    let Some(process) = kept.process.open()? else { return Ok(Err("its process is gone")) };
    let mut found = match find_userfaultfds(kept.process, &process, &kept.userfaultfds) {
        Ok(found) => found,
        Err(_) if kept.process.open()?.is_none() => return Ok(Err("its process is gone")),
        Err(error) => return Err(error),
    };
    let keeper = kept.by_volume.as_ref().and_then(|by| holdings.keeper(&by.volume));
    if let Some(keeper) = keeper.filter(|_| found.iter().any(Option::is_none)) {
        find_in_keeper(keeper, &kept.userfaultfds, &mut found)?;
    }
    // Without them, what it has mapped is watched by nobody: that was the program's own doing, or it is another program now.
    let Some(uffds) = found.into_iter().map(|uffd| uffd.map(Arc::new)).collect::<Option<Vec<_>>>() else {
        return Ok(Err("it has closed its userfaultfds"));
    };
    let mut ranges = Ranges::new(admission.page_size);
    for range in &kept.ranges {
        if ranges.map(*range, admission.file.len()).is_err() {
            return Err(io::Error::other(format!("what was noted of attachment {} cannot be", kept.id)));
        }
    }

    let shards = control.shards();
    if uffds.len() != shards.len() {
        return Err(io::Error::other(format!("attachment {} is of another number of shards", kept.id)));
    }
    let uffds: Arc<[Arc<Uffd>]> = uffds.into();
    let counts: Arc<[Arc<Counts>]> = uffds.iter().map(|_| Arc::default()).collect();
    for ((shard, uffd), counts) in shards.iter().zip(&*uffds).zip(&*counts) {
        let (uffd, counts) = (Arc::clone(uffd), Arc::clone(counts));
        let (region, read_only) = (admission.region, kept.read_only);
        shard.send(Command::Bind { attachment: id, region, uffd, read_only, counts });
        if kept.revoked.is_some() {
            shard.send(Command::Revoke { attachment: id });
        }
    }
    for range in &kept.ranges {
        for (shard, range) in shard::split(*range, admission.region, admission.page_size, shards.len() as u16)
        {
            // It may have died before it did this. If it fails, the program has unmapped the span without a word, which it
            // may do under a living agent, too.
            let _ = register(&uffds[usize::from(shard)], range, kept.read_only);
            let (done, _) = oneshot::channel();
            shards[usize::from(shard)].send(Command::Map { attachment: id, range, done });
        }
    }
    let held = match &kept.by_volume {
        Some(ByVolume { volume, .. }) => {
            let (region, file) = (admission.name.clone(), open_to_hold(&admission.file, kept.read_only));
            let holding = Holding { region, file, uffds: Arc::clone(&uffds), counts };
            Some(holdings.hold(volume, kept.id, holding))
        }
        None => None,
    };
    Ok(Ok(Adopted { admission, attachment, given_up, kept, ranges, uffds, held, process }))
}

/// Looks for what a program has closed in its pod's keeper.
///
/// # Errors
/// The keeper lives, and there is no way to it.
fn find_in_keeper(keeper: Process, inodes: &[u64], found: &mut [Option<Uffd>]) -> io::Result<()> {
    let Some(pidfd) = keeper.open()? else { return Ok(()) };
    let held = match find_userfaultfds(keeper, &pidfd, inodes) {
        Ok(held) => held,
        Err(_) if !keeper.lives() => return Ok(()),
        Err(error) => return Err(error),
    };
    for (found, held) in found.iter_mut().zip(held) {
        *found = found.take().or(held);
    }
    Ok(())
}

/// Who is awaited.
#[derive(Debug, Default)]
pub(super) struct Parked(Mutex<BTreeMap<u64, Place>>);

#[derive(Debug)]
struct Place {
    process: Process,
    /// The volume that it came by, if it did.
    volume: Option<String>,
    claim: oneshot::Sender<oneshot::Sender<Adopted>>,
}

/// Tells where a program waits for its attachment.
pub(super) type Claimed = oneshot::Receiver<oneshot::Sender<Adopted>>;

impl Parked {
    /// Makes a place for an attachment. From now on its program may claim it.
    pub(super) fn place(&self, adopted: &Adopted) -> Claimed {
        let (id, process) = (adopted.kept.id, adopted.kept.process);
        let volume = adopted.kept.by_volume.as_ref().map(|by| by.volume.clone());
        let (claim, claimed) = oneshot::channel();
        self.lock().insert(id, Place { process, volume, claim });
        claimed
    }

    /// Keeps an attachment until its program claims it or ends, or a shard gives it up.
    ///
    /// # Errors
    /// The runtime cannot watch the process.
    pub(super) async fn park(&self, adopted: Adopted, claimed: Claimed) -> io::Result<()> {
        let id = adopted.kept.id;
        let Adopted { admission, attachment, mut given_up, kept, ranges, uffds, held, process } = adopted;
        let watched: AsyncFd<OwnedFd> = watch(process, Interest::READABLE)?;
        let unmapped = async {
            // Not at once: one that has mapped nothing yet, or nothing any more, may be about to say so.
            let mut looks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
            loop {
                looks.tick().await;
                if !is_mapped(&admission, &ranges, &uffds, attachment.revoked().is_some()).await {
                    break;
                }
            }
        };
        tokio::select! {
            claimed = claimed => {
                let process = watched.into_inner();
                let adopted = Adopted { admission, attachment, given_up, kept, ranges, uffds, held, process };
                if let Ok(claimed) = claimed {
                    // Who has claimed it and is gone has ended it.
                    let _ = claimed.send(adopted);
                }
                return Ok(());
            }
            _ = &mut given_up => {
                self.lock().remove(&id);
                // What it has mapped a successor must know of.
                drop(attachment);
                return hold_on(held, &watched).await;
            }
            _ = watched.readable() => {}
            () = unmapped => {}
        }
        self.lock().remove(&id);
        attachment.end();
        held.into_iter().for_each(HeldOn::release);
        Ok(())
    }

    /// Takes the attachment of this number, if it is of this process and came by the same door.
    pub(super) async fn claim(&self, id: u64, pid: u32, volume: Option<&str>) -> Option<Adopted> {
        let place = {
            let mut places = self.lock();
            let theirs = places.get(&id).is_some_and(|place| {
                place.volume.as_deref() == volume && Process::of(pid) == Some(place.process)
            });
            if theirs { places.remove(&id) } else { None }
        }?;
        let (give, taken) = oneshot::channel();
        place.claim.send(give).ok()?;
        taken.await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
