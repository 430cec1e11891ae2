//! Who is attached.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use pagemesh_protocol::RegionId;
use tokio::sync::oneshot;

use super::Control;
use crate::kept::KeptAttachment;
use crate::shard::{AttachmentId, Command};
use crate::volume::{ByVolume, PodIdentity};

/// A process that is attached to a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The region.
    pub id: RegionId,
    /// The same, as `namespace/name`.
    pub region: String,
    /// The process; 0 if it is in a PID namespace that the agent cannot see.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its name, as it was when it attached.
    pub command: String,
    /// UID of the pod that it is in, if it is in one.
    pub pod: Option<String>,
    /// The volume that it came by. None if it came by the node's own socket.
    pub by_volume: Option<ByVolume>,
    /// It may only read.
    pub read_only: bool,
    /// Why it may not have the region any more, if so.
    pub revoked: Option<String>,
    /// How much of the region it has mapped.
    pub mapped_bytes: u64,
}

/// The table of attachments.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    last: u64,
    entries: BTreeMap<AttachmentId, Entry>,
}

#[derive(Debug)]
struct Entry {
    attached: Attached,
    /// Taken when the end has been told.
    ended: Option<oneshot::Sender<String>>,
}

impl Attachments {
    pub(super) fn enter(&mut self, attached: Attached) -> (AttachmentId, GivenUp) {
        let id = AttachmentId(self.last + 1);
        (id, self.enter_again(id, attached))
    }

    /// Enters one that an earlier process has given this number.
    pub(super) fn enter_again(&mut self, id: AttachmentId, attached: Attached) -> GivenUp {
        self.last = self.last.max(id.0);
        let (sender, receiver) = oneshot::channel();
        self.entries.insert(id, Entry { attached, ended: Some(sender) });
        receiver
    }

    /// Gives no number up to this one any more.
    pub(super) fn skip_to(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    pub(super) fn end(&mut self, id: AttachmentId, reason: String) {
        // Every shard that serves it may say so; the first reason is the cause.
        let sender = self.entries.get_mut(&id).and_then(|entry| entry.ended.take());
        if let Some(sender) = sender {
            // Nobody listens if it is ending anyway.
            let _ = sender.send(reason);
        }
    }

    /// Ends all attachments that `chosen` chooses.
    pub(super) fn end_where(&mut self, chosen: impl Fn(&Attached) -> bool, reason: &str) {
        for entry in self.entries.values_mut().filter(|entry| chosen(&entry.attached)) {
            if let Some(sender) = entry.ended.take() {
                let _ = sender.send(reason.to_owned());
            }
        }
    }

    /// Notes which attachments may not have their regions any more, by the sentence that `why` has for them. Returns those that
    /// might until now.
    pub(super) fn revoke(&mut self, why: impl Fn(&Attached) -> Option<String>) -> Vec<Revoked> {
        let mut revoked = Vec::new();
        for (id, Entry { attached, .. }) in &mut self.entries {
            if attached.revoked.is_some() {
                continue;
            }
            let (Some(reason), Some(by)) = (why(attached), &attached.by_volume) else { continue };
            revoked.push(Revoked { id: *id, pod: by.pod.clone(), reason: reason.clone() });
            attached.revoked = Some(reason);
        }
        revoked
    }

    /// The regions that somebody is attached to.
    pub(super) fn regions(&self) -> BTreeSet<RegionId> {
        self.entries.values().map(|entry| entry.attached.id).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn list(&self) -> Vec<(AttachmentId, Attached)> {
        self.entries.iter().map(|(id, entry)| (*id, entry.attached.clone())).collect()
    }
}

/// An attachment that may not have its region any more.
#[derive(Debug)]
pub(super) struct Revoked {
    pub(super) id: AttachmentId,
    pub(super) pod: PodIdentity,
    pub(super) reason: String,
}

/// Tells why a shard has given an attachment up. Says nothing as long as none has and the [`Attachment`] lives.
pub type GivenUp = oneshot::Receiver<String>;

/// An entry in the table of attachments. Dropping it, or [ending](Attachment::end) it, removes the entry and makes every shard forget the attachment, so
/// that no way out of a connection's task can leave anything behind.
#[derive(Debug)]
pub struct Attachment {
    control: Arc<Control>,
    id: AttachmentId,
    /// It has ended, rather than this agent.
    ended: bool,
}

impl Attachment {
    pub(super) fn new(control: Arc<Control>, id: AttachmentId) -> Attachment {
        Attachment { control, id, ended: false }
    }

    /// It ends, and a successor of this process need not know of it. Where this is not said it is the agent that ends.
    pub fn end(mut self) {
        self.ended = true;
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> AttachmentId {
        self.id
    }

    /// Bytes of the file of its region by now; `None` if the region is gone. Shards have been told of all of them.
    #[must_use]
    pub fn file_len(&self, region: RegionId) -> Option<u64> {
        self.control.lock().regions.file_len(region)
    }

    /// Why it may not have its region any more, if so.
    #[must_use]
    pub fn revoked(&self) -> Option<String> {
        self.control.lock().attachments.entries.get(&self.id)?.attached.revoked.clone()
    }

    /// Notes what a successor of this process would have to know of it.
    ///
    /// # Errors
    /// There is no room.
    pub fn keep(&self, attachment: &KeptAttachment) -> io::Result<()> {
        self.control.kept.note_attachment(attachment)
    }

    /// Notes how much is mapped.
    pub fn set_mapped_bytes(&self, bytes: u64) {
        if let Some(entry) = self.control.lock().attachments.entries.get_mut(&self.id) {
            entry.attached.mapped_bytes = bytes;
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        for shard in self.control.shards() {
            shard.send(Command::Detach { attachment: self.id });
        }
        self.control.lock().attachments.entries.remove(&self.id);
        if self.ended {
            self.control.kept.forget_attachment(self.id.0);
        }
        self.control.note_change();
    }
}
