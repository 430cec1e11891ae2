//! Attachments of an earlier process of this agent: taken up before anybody is served, then parked until their programs
//! connect again.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pagemesh_protocol::RegionId;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tracing::info;

use super::ranges::Ranges;
use super::session::register;
use super::socket::watch;
use crate::control::{Admission, Attached, Attachment, Control, GivenUp};
use crate::kept::{KeptAttachment, Process, find_userfaultfds};
use crate::shard::{self, AttachmentId, Command};
use crate::uffd::Uffd;

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
    process: OwnedFd,
}

/// Takes up what was attached to an earlier process, as far as it is still there: tells the shards, and notes who will have
/// to connect again.
///
/// # Errors
/// A program is there that cannot be reached, so what it may write cannot be taken from it.
pub fn adopt(control: &Arc<Control>, attachments: Vec<KeptAttachment>) -> io::Result<Vec<Adopted>> {
    let mut adopted = Vec::new();
    for kept in attachments {
        let (id, name, pid) = (kept.id, kept.name.clone(), kept.process.pid);
        match adopt_one(control, kept)? {
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
fn adopt_one(control: &Arc<Control>, kept: KeptAttachment) -> io::Result<Result<Adopted, &'static str>> {
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
    let found = match find_userfaultfds(kept.process, &process, &kept.userfaultfds) {
        Ok(found) => found,
        Err(_) if kept.process.open()?.is_none() => return Ok(Err("its process is gone")),
        Err(error) => return Err(error),
    };
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
    for (shard, uffd) in shards.iter().zip(&uffds) {
        let uffd = Arc::clone(uffd);
        shard.send(Command::Bind {
            attachment: id,
            region: admission.region,
            uffd,
            read_only: kept.read_only,
        });
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
    let uffds = uffds.into();
    Ok(Ok(Adopted { admission, attachment, given_up, kept, ranges, uffds, process }))
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
        let Adopted { admission, attachment, mut given_up, kept, ranges, uffds, process } = adopted;
        let watched: AsyncFd<OwnedFd> = watch(process, Interest::READABLE)?;
        tokio::select! {
            claimed = claimed => {
                let process = watched.into_inner();
                let adopted = Adopted { admission, attachment, given_up, kept, ranges, uffds, process };
                if let Ok(claimed) = claimed {
                    // Who has claimed it and is gone has ended it.
                    let _ = claimed.send(adopted);
                }
                return Ok(());
            }
            // What it has mapped a successor must know of.
            _ = &mut given_up => {}
            _ = watched.readable() => attachment.end(),
        }
        self.lock().remove(&id);
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
