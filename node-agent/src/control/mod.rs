//! What the control path knows: the objects in force, the regions that are open here and who is attached to them.
//!
//! [`Control`] is the one place where these meet the shards. It never waits: it holds its lock for a look-up or a few
//! sends, and whoever needs an answer from a shard awaits it outside.

mod access;
mod admission;
mod attachments;
mod door;
mod reach;
mod regions;
mod survey;
mod volumes;

pub use access::{granted, named};
pub use admission::{Admission, Asked, By, Denied, Who};
pub use attachments::{Attached, Attachment, GivenUp};
pub use regions::OpenRegion;
pub use survey::{RegionSurvey, Survey, survey};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use pagemesh_crds::ValidRegion;
use pagemesh_protocol::{AgentId, RegionId};
use tokio::sync::watch;
use tracing::warn;

use crate::config::{Life, Me, Objects};
use crate::kept::{Kept, KeptRegion, ShardsView};
use crate::kubernetes::{ACCESS_REVOKED, PodEvents};
use crate::shard::{AttachmentId, Command, ShardHandle, monotonic_nanos};

use attachments::{Attachments, Revoked};
use reach::Reach;
use regions::Regions;
use volumes::ServedVolumes;

/// What attachments are told whose region is deleted.
const DELETED: &str = "the region was deleted";
/// What attachments are told whose pod has its volume no more.
pub(crate) const VOLUME_GONE: &str = "the pod's volume is gone";
/// What attachments are told when the agent ends.
const ENDING: &str = "the agent of this node ends";

/// A declared region, and what it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionState {
    /// Its identity.
    pub id: RegionId,
    /// As declared.
    pub region: ValidRegion,
    /// Why programs cannot use it, if they cannot.
    pub not_ready: Option<String>,
    /// Why this agent is not what the placement says that it is, if so.
    pub problem: Option<String>,
    /// Why programs would wait for pages of it: homes that are not connected.
    pub away: Option<String>,
    /// What there is of it here, if it is open.
    pub open: Option<OpenRegion>,
}

/// The state of the control path.
#[derive(Debug)]
pub struct Control {
    me: Me,
    shards: Vec<ShardHandle>,
    kept: Kept,
    /// Tells pods what is wrong.
    pods: PodEvents,
    state: Mutex<State>,
    /// Counts: somebody attached or detached, other objects came into force, a region was left.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    objects: Arc<Objects>,
    regions: Regions,
    attachments: Attachments,
    reach: Reach,
    volumes: ServedVolumes,
    stopping: bool,
}

impl Control {
    /// An agent that serves nothing yet, in a life that is called so in objects. Region files will be made in
    /// `memory_dir`.
    #[must_use]
    pub fn new(me: Me, incarnation: String, shards: Vec<ShardHandle>, memory_dir: PathBuf) -> Control {
        let kept = Kept::of(&memory_dir);
        let life = Life { name: me.name.clone(), incarnation };
        let state = State {
            objects: Arc::default(),
            regions: Regions::new(life, memory_dir),
            attachments: Attachments::default(),
            reach: Reach::default(),
            volumes: ServedVolumes::default(),
            stopping: false,
        };
        let pods = PodEvents::nobody();
        Control { me, shards, kept, pods, state: Mutex::new(state), changed: watch::Sender::new(0) }
    }

    /// The same, and pods are told by Events what is wrong.
    #[must_use]
    pub fn telling(mut self, pods: PodEvents) -> Control {
        self.pods = pods;
        self
    }

    /// Opens the regions that an earlier process of this agent had open.
    /// Returns those that were being closed, for [`Control::take_over`].
    #[must_use]
    pub fn reopen(&self, regions: BTreeMap<RegionId, (ShardsView, Option<KeptRegion>)>) -> Vec<RegionId> {
        let mut state = self.lock();
        // No number is given twice in a life.
        state.attachments.skip_to(monotonic_nanos() >> 10);
        state.regions.reopen(regions, &self.shards)
    }

    /// Forgets an attachment of an earlier process that has ended.
    pub fn forget_attachment(&self, id: AttachmentId) {
        self.kept.forget_attachment(id.0);
    }

    /// Has the shards go on where those of an earlier process ended.
    pub fn take_over(&self, closed: Vec<RegionId>) {
        for shard in &self.shards {
            shard.send(Command::TakeOver);
            closed.iter().for_each(|region| shard.send(Command::Drop { region: *region }));
        }
    }

    /// Who this agent is.
    #[must_use]
    pub fn me(&self) -> &Me {
        &self.me
    }

    /// The shards, in the order of their numbers.
    #[must_use]
    pub fn shards(&self) -> &[ShardHandle] {
        &self.shards
    }

    /// The objects in force.
    #[must_use]
    pub fn objects(&self) -> Arc<Objects> {
        Arc::clone(&self.lock().objects)
    }

    /// Brings new objects into force: opens the regions that this agent homes, tells the shards of new placements, and
    /// drops what is gone for good.
    pub fn apply(&self, objects: Arc<Objects>) {
        let mut state = self.lock();
        let gone = state.regions.apply(&objects, &self.shards);
        state.attachments.end_where(|attached| gone.contains(&attached.id), DELETED);
        let why = |attached: &Attached| access::lost(attached, objects.region(attached.id)?);
        let revoked = state.attachments.revoke(why);
        state.objects = objects;
        for Revoked { id, reason, .. } in &revoked {
            warn!(attachment = id.0, "access revoked: {reason}");
            if let Err(error) = self.kept.note_revoked(id.0, reason) {
                // A successor looks at what the region says then.
                warn!(attachment = id.0, %error, "cannot note that access was revoked");
            }
            self.shards.iter().for_each(|shard| shard.send(Command::Revoke { attachment: *id }));
        }
        drop(state);
        for Revoked { pod, reason, .. } in revoked {
            self.pods.tell(&pod, ACCESS_REVOKED, reason);
        }
        self.note_change();
    }

    /// Tells of every change of what is held here.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn note_change(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Forgets all regions, once the shards have ended: their files go with the last who knows them.
    pub fn close(&self) {
        self.lock().regions.close_all();
    }

    /// Begins to leave what nobody has needed here for a while, and tries again what could not be opened. To be called now
    /// and then.
    pub fn tidy(&self, now: Instant) {
        let mut state = self.lock();
        let state = &mut *state;
        state.regions.tidy(now, &state.attachments.regions(), &self.shards);
        state.regions.try_again(now, &state.objects, &self.shards);
    }

    /// Begins to leave every region of which this agent is no home.
    pub fn leave_all(&self) {
        self.lock().regions.leave_all(&self.shards);
    }

    /// A shard has left a region.
    pub fn left(&self, shard: u16, region: RegionId, attempt: u64) {
        self.lock().regions.left(shard, region, attempt, &self.shards);
        self.note_change();
    }

    /// Whether nothing is here of regions that others home.
    #[must_use]
    pub fn has_left(&self) -> bool {
        !self.lock().regions.are_guests()
    }

    /// Regions that are being left.
    #[must_use]
    pub fn leaving(&self) -> usize {
        self.lock().regions.leaving()
    }

    /// Takes note of the epochs that have taken effect, and of who is connected.
    pub fn note_survey(&self, survey: &Survey, now: Instant) {
        let mut state = self.lock();
        let state = &mut *state;
        let others = state.objects.agents().map(|agent| AgentId(agent.id)).filter(|id| *id != self.me.id);
        state.reach.note(others, &survey.connected, now);
        for (id, region) in survey.regions.iter().filter(|(_, region)| region.settled) {
            state.regions.settled(*id, region.epoch);
        }
    }

    /// The regions that are declared, in the order of their names, and what they are here.
    #[must_use]
    pub fn regions(&self) -> Vec<RegionState> {
        let state = self.lock();
        let State { objects, regions, reach, .. } = &*state;
        let of = |(id, region): (RegionId, &ValidRegion)| {
            let away = regions.away(region, objects, reach);
            RegionState {
                id,
                not_ready: regions.not_ready(id, region, objects).or_else(|| away.clone()),
                problem: regions.problem(id, region, objects),
                away,
                open: regions.get(id),
                region: region.clone(),
            }
        };
        let mut all: Vec<_> = objects.regions().map(of).collect();
        all.sort_by(|a, b| (&a.region.namespace, &a.region.name).cmp(&(&b.region.namespace, &b.region.name)));
        all
    }

    /// The other agents that are declared.
    #[must_use]
    pub fn peers(&self) -> Vec<pagemesh_crds::ValidAgent> {
        self.objects().agents().filter(|agent| AgentId(agent.id) != self.me.id).cloned().collect()
    }

    /// Ends the shards, and waits until they have ended.
    pub fn stop_shards(&self) {
        self.shards.iter().for_each(|shard| shard.send(Command::Stop));
        self.shards.iter().for_each(ShardHandle::join);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod attach_tests;
#[cfg(test)]
mod tests;
