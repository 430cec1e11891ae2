//! What there is to hold, by volume, and whose place it is to hold it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pagemesh_protocol::Incarnation;
use tokio::sync::watch;
use tracing::warn;

use crate::kept::{Kept, Process};
use crate::shard::{Counted, Counts, monotonic_nanos};
use crate::uffd::Uffd;

/// What a keeper holds of an attachment.
#[derive(Debug)]
pub(crate) struct Holding {
    /// Its region, as `namespace/name`.
    pub(crate) region: String,
    /// The region file, with what the pod may do with it at most.
    pub(crate) file: Option<OwnedFd>,
    /// Its userfaultfds, by shard.
    pub(crate) uffds: Arc<[Arc<Uffd>]>,
    /// What its faults cost, by shard.
    pub(crate) counts: Arc<[Arc<Counts>]>,
}

impl Holding {
    /// What its faults have cost.
    pub(super) fn counted(&self) -> Counted {
        self.counts.iter().map(|counts| counts.read()).sum()
    }
}

/// Attachments of one volume, by number.
pub(super) type Held = BTreeMap<u64, Arc<Holding>>;

/// All volumes that have attachments or a keeper.
#[derive(Debug)]
pub struct Holdings {
    pub(super) life: Incarnation,
    /// This process: another number for each.
    pub(super) process: u64,
    kept: Kept,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    held: BTreeMap<String, watch::Sender<Held>>,
    /// Who holds for which volume, connected or not.
    keepers: BTreeMap<String, Process>,
}

impl Holdings {
    /// Nothing is held yet. `keepers` held for an earlier process of this agent.
    #[must_use]
    pub fn new(life: Incarnation, kept: Kept, keepers: BTreeMap<String, Process>) -> Holdings {
        let state = Mutex::new(State { held: BTreeMap::new(), keepers });
        Holdings { life, process: monotonic_nanos(), kept, state }
    }

    /// Who holds for a volume, or did when it was last here.
    pub(in super::super) fn keeper(&self, volume: &str) -> Option<Process> {
        self.lock().keepers.get(volume).copied()
    }

    /// An attachment has begun, and is held until it is released.
    #[must_use]
    pub(in super::super) fn hold(
        self: &Arc<Holdings>,
        volume: &str,
        attachment: u64,
        holding: Holding,
    ) -> HeldOn {
        self.change(volume, |held| drop(held.insert(attachment, Arc::new(holding))));
        HeldOn { holdings: Arc::clone(self), volume: volume.to_owned(), attachment }
    }

    /// Gives a volume's place to a process, which keeps it as long as it lives: whoever has the descriptors of a pod's programs
    /// can do what they like with these programs, so a container that was broken into must not get those of the others by
    /// asking.
    ///
    /// # Errors
    /// It is another one's.
    pub(super) fn take_place(
        &self,
        volume: &str,
        process: Process,
    ) -> Result<watch::Receiver<Held>, Process> {
        let mut state = self.lock();
        let State { held, keepers } = &mut *state;
        if let Some(keeper) = keepers.get(volume).filter(|keeper| **keeper != process && keeper.lives()) {
            return Err(*keeper);
        }
        if keepers.insert(volume.to_owned(), process) != Some(process) {
            keepers.retain(|_, keeper| keeper.lives());
            if let Err(error) = self.kept.note_keepers(keepers) {
                // A successor finds userfaultfds in the programs themselves, as long as these have them.
                warn!(%error, "cannot note who holds for the pods");
            }
        }
        held.retain(|_, held| !held.borrow().is_empty() || held.receiver_count() > 0);
        Ok(held.entry(volume.to_owned()).or_default().subscribe())
    }

    fn change(&self, volume: &str, change: impl FnOnce(&mut Held)) {
        let mut state = self.lock();
        let held = state.held.entry(volume.to_owned()).or_default();
        held.send_modify(change);
        if held.borrow().is_empty() && held.receiver_count() == 0 {
            state.held.remove(volume);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attachment that is to be held.
#[derive(Debug)]
pub(in super::super) struct HeldOn {
    holdings: Arc<Holdings>,
    volume: String,
    attachment: u64,
}

impl HeldOn {
    /// It has ended: let go. Where this is not said it is the agent that ends, and a successor goes on with what is held.
    pub(in super::super) fn release(self) {
        self.holdings.change(&self.volume, |held| drop(held.remove(&self.attachment)));
    }
}
