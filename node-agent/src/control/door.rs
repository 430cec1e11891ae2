//! Who is let in and attached, and whose attachments end.

use std::sync::Arc;

use super::admission::{Admission, Asked, By, Denied, Who};
use super::attachments::{Attached, Attachment, GivenUp};
use super::{Control, ENDING, State, VOLUME_GONE};
use crate::shard::AttachmentId;
use crate::volume::{PodIdentity, Volume};

impl Control {
    /// Looks a region up for a program, and opens it if this is its first use on this node.
    ///
    /// # Errors
    ///
    /// Why no program can be attached to it.
    pub fn admit(&self, asked: Asked<'_>, who: Who<'_>) -> Result<Admission, Denied> {
        let mut state = self.lock();
        let state = &mut *state;
        if state.stopping {
            return Err(Denied::Stopping);
        }
        let asked = match (asked.by, who) {
            (By::Inheritance, Who::OfVolume(volume)) => inherited(state, volume, asked)?,
            (By::Name | By::Mount | By::Inheritance, _) => asked,
        };
        state.regions.admit(asked, who, &state.objects, &state.reach, &self.shards)
    }

    /// Whether a volume's socket is served.
    pub fn serves_volume(&self, volume: &str) -> bool {
        self.lock().volumes.serves(volume)
    }

    /// Tells a pod, by an Event, why its program gets nothing.
    pub fn tell(&self, pod: &PodIdentity, reason: &'static str, note: String) {
        self.pods.tell(pod, reason, note);
    }

    /// From now on programs may come by this volume.
    pub fn begin_volume(&self, volume: &str) {
        self.lock().volumes.begin(volume);
    }

    /// Ends the attachments that came by a volume that is gone. No more of them begin.
    pub fn end_volume(&self, volume: &str) {
        let of = |attached: &Attached| attached.by_volume.as_ref().is_some_and(|by| by.volume == volume);
        let mut state = self.lock();
        state.volumes.end(volume);
        state.attachments.end_where(of, VOLUME_GONE);
        drop(state);
        self.note_change();
    }

    /// Whether a program could be attached to a region now.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self, name: &str, who: Who<'_>) -> Result<(), Denied> {
        let state = self.lock();
        if state.stopping {
            return Err(Denied::Stopping);
        }
        state.regions.check(name, who, &state.objects, &state.reach)
    }

    /// Lets nobody attach any more.
    pub fn stop_admitting(&self) {
        self.lock().stopping = true;
    }

    /// Enters a new attachment of one that was admitted. It ends when the returned [`Attachment`] is dropped.
    ///
    /// # Errors
    ///
    /// What has changed since then. Whatever changes later ends the attachment, which is in the table by then.
    pub fn attach(
        self: &Arc<Control>,
        admission: &Admission,
        attached: Attached,
    ) -> Result<(Attachment, GivenUp), Denied> {
        let mut state = self.lock();
        if state.stopping {
            return Err(Denied::Stopping);
        }
        if attached.by_volume.as_ref().is_some_and(|by| !state.volumes.serves(&by.volume)) {
            return Err(Denied::VolumeGone);
        }
        state.regions.still_admits(admission, &attached, &state.objects)?;
        state.volumes.note(&attached);
        let (id, given_up) = state.attachments.enter(attached);
        drop(state);
        self.note_change();
        Ok((Attachment::new(Arc::clone(self), id), given_up))
    }

    /// A shard has given up an attachment: tells the one who looks after it.
    pub fn attachment_ended(&self, attachment: AttachmentId, reason: String) {
        self.lock().attachments.end(attachment, reason);
    }

    /// Ends all attachments.
    pub fn end_attachments(&self) {
        self.lock().attachments.end_where(|_| true, ENDING);
    }

    /// Whether nobody is attached, and the shards have been told so.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        self.lock().attachments.is_empty()
    }

    /// Everyone who is attached.
    #[must_use]
    pub fn attachments(&self) -> Vec<(AttachmentId, Attached)> {
        self.lock().attachments.list()
    }

    /// Enters an attachment that an earlier process has given this number, if its region is open.
    #[must_use]
    pub fn attach_again(
        self: &Arc<Control>,
        id: AttachmentId,
        attached: Attached,
    ) -> Option<(Admission, Attachment, GivenUp)> {
        let mut state = self.lock();
        let admission = state.regions.admission(attached.id, attached.region.clone(), attached.read_only)?;
        state.volumes.note(&attached);
        let given_up = state.attachments.enter_again(id, attached);
        drop(state);
        Some((admission, Attachment::new(Arc::clone(self), id), given_up))
    }
}

/// What a program of a volume gets that says that it has a region already: no more than the volume's programs had.
fn inherited<'a>(state: &State, volume: &Volume, asked: Asked<'a>) -> Result<Asked<'a>, Denied> {
    let had = state.objects.named_in_full(asked.name).and_then(|(id, _)| state.volumes.had(&volume.id, id));
    if had.is_none() && volume.regions.iter().all(|region| region.name != asked.name) {
        return Err(Denied::NotInVolume(asked.name.to_owned()));
    }
    Ok(Asked { read_only: asked.read_only || had == Some(true), ..asked })
}
