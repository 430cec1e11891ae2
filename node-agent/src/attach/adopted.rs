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
use tracing::{info, warn};

use super::ranges::Ranges;
use super::socket::watch;
use crate::control::{Admission, Attached, Attachment, Control, GivenUp};
use crate::kept::{KeptAttachment, Process, find_userfaultfds, registered};
use crate::shard::{self, AttachmentId, Command, Range};
use crate::uffd::Uffd;

/// An attachment that was taken up.
#[derive(Debug)]
pub struct Adopted {
    pub(super) admission: Admission,
    pub(super) attachment: Attachment,
    pub(super) given_up: GivenUp,
    pub(super) kept: KeptAttachment,
    pub(super) ranges: Ranges,
    /// By shard. None where the program has mapped nothing that the shard serves: then it brings one when it connects again.
    pub(super) uffds: Vec<Option<Arc<Uffd>>>,
    process: OwnedFd,
}

/// Takes up what was attached to an earlier process, as far as it is still there: tells the shards, and notes who will have
/// to connect again.
#[must_use]
pub fn adopt(control: &Arc<Control>, attachments: Vec<KeptAttachment>) -> Vec<Adopted> {
    let adopted = attachments.into_iter().filter_map(|kept| {
        let (id, name, pid) = (kept.id, kept.name.clone(), kept.process.pid);
        match adopt_one(control, kept) {
            Ok(adopted) => {
                info!(attachment = id, region = name, pid, "took up an attachment");
                Some(adopted)
            }
            Err(reason) => {
                warn!(attachment = id, region = name, pid, reason, "an attachment has ended meanwhile");
                None
            }
        }
    });
    adopted.collect()
}

fn adopt_one(control: &Arc<Control>, mut kept: KeptAttachment) -> Result<Adopted, &'static str> {
    let attached = Attached {
        id: RegionId(kept.region),
        region: kept.name.clone(),
        pid: kept.process.pid,
        uid: kept.uid,
        command: kept.command.clone(),
        pod: kept.pod.clone(),
        mapped_bytes: kept.ranges.iter().map(|range| range.len).sum(),
    };
    let id = AttachmentId(kept.id);
    // From here on every way out makes the shards forget it.
    let taken = control.attach_again(id, attached);
    let (admission, attachment, given_up) = taken.ok_or("its region is gone")?;
    let Some(process) = kept.process.open() else {
        attachment.end();
        return Err("its process is gone");
    };
    kept.ranges = registered(kept.process, kept.ranges).map_err(|_| "its process has just ended")?;
    let mut ranges = Ranges::new(admission.page_size);
    for range in &kept.ranges {
        ranges.map(*range, admission.file.len()).map_err(|_| "what was noted of it cannot be")?;
    }

    let shards = control.shards();
    let mut parts: BTreeMap<u16, Vec<Range>> = BTreeMap::new();
    for range in &kept.ranges {
        let split = shard::split(*range, admission.region, admission.page_size, shards.len() as u16);
        split.into_iter().for_each(|(shard, part)| parts.entry(shard).or_default().push(part));
    }
    let first: Vec<Range> = parts.values().map(|parts| parts[0]).collect();
    let found = find_userfaultfds(kept.process, &process, &first);
    let mut uffds: Vec<Option<Arc<Uffd>>> = shards.iter().map(|_| None).collect();
    for ((shard, parts), uffd) in parts.into_iter().zip(found) {
        let uffd = Arc::new(uffd.ok_or("it has no userfaultfd for what it has mapped")?);
        for part in &parts {
            // All of them, once more: each shard has one userfaultfd of the attachment.
            uffd.register(part.base, part.len).map_err(|_| "what it had mapped is not there any more")?;
        }
        let handle = &shards[usize::from(shard)];
        handle.send(Command::Bind { attachment: id, region: admission.region, uffd: Arc::clone(&uffd) });
        for range in parts {
            let (done, _) = oneshot::channel();
            handle.send(Command::Map { attachment: id, range, done });
        }
        uffds[usize::from(shard)] = Some(uffd);
    }
    Ok(Adopted { admission, attachment, given_up, kept, ranges, uffds, process })
}

/// Who is awaited.
#[derive(Debug, Default)]
pub(super) struct Parked(Mutex<BTreeMap<u64, Place>>);

#[derive(Debug)]
struct Place {
    process: Process,
    claim: oneshot::Sender<oneshot::Sender<Adopted>>,
}

impl Parked {
    /// Keeps an attachment until its program claims it or ends, or a shard gives it up.
    ///
    /// # Errors
    /// The runtime cannot watch the process.
    pub(super) async fn park(&self, adopted: Adopted) -> io::Result<()> {
        let (id, process) = (adopted.kept.id, adopted.kept.process);
        let (claim, claimed) = oneshot::channel();
        self.lock().insert(id, Place { process, claim });
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
            _ = &mut given_up => {}
            _ = watched.readable() => {}
        }
        self.lock().remove(&id);
        attachment.end();
        Ok(())
    }

    /// Takes the attachment of this number, if it is of this process.
    pub(super) async fn claim(&self, id: u64, pid: u32) -> Option<Adopted> {
        let place = {
            let mut places = self.lock();
            let theirs = places.get(&id).is_some_and(|place| place.process.pid == pid);
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
