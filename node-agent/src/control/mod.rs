//! What the control path knows: the objects in force, the regions that are open here and who is attached to them.
//!
//! [`Control`] is the one place where these meet the shards. It never waits: it holds its lock for a look-up or a few
//! sends, and whoever needs an answer from a shard awaits it outside.

mod attachments;
mod regions;
mod survey;

pub use attachments::{Attached, Attachment, GivenUp};
pub(crate) use regions::FILE_PREFIX;
pub use regions::{Admission, Denied, RegionState};
pub use survey::{Survey, survey};

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use pagemesh_protocol::AgentId;

use crate::config::{Me, Objects};
use crate::shard::{AttachmentId, ShardHandle};

use attachments::Attachments;
use regions::Regions;

/// The state of the control path.
#[derive(Debug)]
pub struct Control {
    me: Me,
    shards: Vec<ShardHandle>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    objects: Arc<Objects>,
    regions: Regions,
    attachments: Attachments,
}

impl Control {
    /// An agent that serves nothing yet. Region files will be made in `memory_dir`.
    #[must_use]
    pub fn new(me: Me, shards: Vec<ShardHandle>, memory_dir: PathBuf) -> Control {
        let state = State {
            objects: Arc::default(),
            regions: Regions::new(me.id, memory_dir),
            attachments: Attachments::default(),
        };
        Control { me, shards, state: Mutex::new(state) }
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

    /// Brings new objects into force: opens the regions that this agent homes, and tells the shards of new placements.
    pub fn apply(&self, objects: Arc<Objects>) {
        let mut state = self.lock();
        state.regions.apply(&objects, &self.shards);
        state.objects = objects;
    }

    /// Forgets all regions, once the shards have ended: their files go with the last who knows them.
    pub fn close(&self) {
        self.lock().regions.close();
    }

    /// Looks a region up for a program, and opens it if this is its first use on this node.
    ///
    /// # Errors
    ///
    /// Why no program can be attached to it.
    pub fn admit(&self, name: &str) -> Result<Admission, Denied> {
        let mut state = self.lock();
        let state = &mut *state;
        state.regions.admit(name, &state.objects, &self.shards)
    }

    /// Enters a new attachment. It ends when the returned [`Attachment`] is dropped.
    #[must_use]
    pub fn attach(self: &Arc<Control>, attached: Attached) -> (Attachment, GivenUp) {
        let (id, given_up) = self.lock().attachments.enter(attached);
        (Attachment::new(Arc::clone(self), id), given_up)
    }

    /// A shard has given up an attachment: tells the one who looks after it.
    pub fn attachment_ended(&self, attachment: AttachmentId, reason: String) {
        self.lock().attachments.end(attachment, reason);
    }

    /// Everyone who is attached.
    #[must_use]
    pub fn attachments(&self) -> Vec<(AttachmentId, Attached)> {
        self.lock().attachments.list()
    }

    /// The regions that are declared, and whether programs can use them.
    #[must_use]
    pub fn regions(&self) -> Vec<RegionState> {
        let state = self.lock();
        state.regions.list(&state.objects)
    }

    /// The other agents that are declared.
    #[must_use]
    pub fn peers(&self) -> Vec<pagemesh_crds::ValidAgent> {
        self.objects().agents().filter(|agent| AgentId(agent.id) != self.me.id).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
