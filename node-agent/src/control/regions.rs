//! The regions that are open on this node: those that have a file here and that the shards know.

mod admissible;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pagemesh_crds::ValidRegion;
use pagemesh_protocol::{Coherence, Placement, RegionConfig, RegionId};
use pagemesh_telemetry::continue_from;
use tracing::{Span, debug, error, info, info_span, warn};

use super::admission::{Admission, Asked, Denied, Who};
use super::reach::Reach;
use crate::config::{Life, Objects, Part, Unplaced};
use crate::kept::{Kept, KeptRegion, ShardsView};
use crate::memory::{self, RegionFile};
use crate::shard::{Command, ShardHandle};
use admissible::Admissible;

/// For how long a region that is neither homed nor attached here stays open: most programs that end are started again.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Before a home tries again what it could not open: memory may be free by then.
const TRY_AGAIN_EVERY: Duration = Duration::from_secs(5);

/// What is known of the regions of an earlier process.
type KeptRegions = BTreeMap<RegionId, (ShardsView, Option<KeptRegion>)>;

/// A region that the shards know.
#[derive(Debug)]
struct Open {
    file: Arc<RegionFile>,
    placement: Placement,
    /// A placement names this agent.
    home: bool,
    /// Since when nobody has needed it here.
    idle: Option<Instant>,
    /// The attempt to leave it that is under way, and the shards that have not left yet.
    leaving: Option<(u64, BTreeSet<u16>)>,
    /// The change to this epoch, until it has taken effect.
    span: Option<Span>,
}

/// An open region, for the status and for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRegion {
    /// Epoch of the placement that the shards were told last.
    pub epoch: u64,
    /// Whether a placement names this agent.
    pub home: bool,
    /// Bytes of memory that its pages take here.
    pub resident_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Regions {
    life: Life,
    memory_dir: PathBuf,
    /// What a successor of this process would have to know.
    kept: Kept,
    noted: BTreeMap<u64, KeptRegion>,
    open: BTreeMap<RegionId, Open>,
    /// Those of them that an earlier process served and that have not been declared to this one.
    taken_up: BTreeSet<RegionId>,
    /// Regions whose file could not be made or enlarged, and why. Tried again at the next use, and by a home now and then.
    failed: BTreeMap<RegionId, String>,
    tried_again: Option<Instant>,
    attempts: u64,
}

impl Regions {
    pub(super) fn new(life: Life, memory_dir: PathBuf) -> Regions {
        let (open, failed, noted) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let kept = Kept::of(&memory_dir);
        let taken_up = BTreeSet::new();
        Regions { life, memory_dir, kept, noted, open, taken_up, failed, tried_again: None, attempts: 0 }
    }

    /// Opens what an earlier process had open. Regions whose file is gone were being closed, and are returned: the shards are
    /// to drop them once they have taken over.
    pub(super) fn reopen(&mut self, regions: KeptRegions, shards: &[ShardHandle]) -> Vec<RegionId> {
        let mut closed = Vec::new();
        for (id, (ShardsView { config, placement }, kept)) in regions {
            let file = kept.as_ref().map(|kept| {
                // Programs have the file, and may have made it shorter or longer.
                let len = config.pages * u64::from(kept.page_size);
                RegionFile::open(&self.memory_dir, &kept.file, len)
            });
            let (Some(Ok(file)), Some(kept)) = (file, kept) else {
                warn!(region = id.0, "a region was closed when the agent died");
                closed.push(id);
                continue;
            };
            self.taken_up.insert(id);
            let (file, page_size) = (Arc::new(file), kept.page_size);
            info!(file = %file.path().display(), pages = config.pages, "took up a region");
            for shard in shards {
                shard.send(Command::Reopen { region: id, file: Arc::clone(&file), page_size });
            }
            self.noted.insert(id.0, kept);
            // Until the objects say otherwise: what is not homed here may be left after a while.
            let home = true;
            self.open.insert(id, Open { file, placement, home, idle: None, leaving: None, span: None });
        }
        let open: Vec<&str> = self.noted.values().map(|region| region.file.as_str()).collect();
        if let Err(error) = memory::remove_region_files(&self.memory_dir, &open) {
            warn!(%error, "cannot remove region files that nobody serves");
        }
        closed
    }

    /// An open region, as a program gets it.
    pub(super) fn admission(&self, id: RegionId, name: String, read_only: bool) -> Option<Admission> {
        let (open, noted) = (self.open.get(&id)?, self.noted.get(&id.0)?);
        let (file, page_size) = (Arc::clone(&open.file), u64::from(noted.page_size));
        let size = file.len() - page_size;
        Some(Admission { region: id, name, size, page_size, file, traceparent: None, read_only })
    }

    /// Brings new objects into force. Returns the regions that are gone for good.
    pub(super) fn apply(&mut self, objects: &Objects, shards: &[ShardHandle]) -> Vec<RegionId> {
        self.taken_up.retain(|id| !objects.regions.contains_key(id));
        // What an earlier process served and nobody has declared to this one may just be declared in a file that is bad by now.
        // Its pages are kept until it has been seen: were they dropped, peers would take this agent for the home that it was.
        let unknown = |id: &&RegionId| !objects.regions.contains_key(id) && !self.taken_up.contains(id);
        let gone: Vec<RegionId> = self.open.keys().filter(unknown).copied().collect();
        gone.iter().for_each(|id| self.close(*id, shards));
        self.failed.retain(|id, _| objects.regions.contains_key(id));
        for (id, region) in objects.regions() {
            let Ok(part) = objects.part(region, &self.life) else { continue };
            // A home serves its directory whether or not anyone is attached here; elsewhere a region costs nothing
            // until its first use.
            if self.open.contains_key(&id) || part.home {
                // The reason stays in `failed`, and has been logged.
                let _ = self.open(id, region, part, shards);
            }
        }
        gone
    }

    pub(super) fn admit(
        &mut self,
        asked: Asked<'_>,
        who: Who<'_>,
        objects: &Objects,
        reach: &Reach,
        shards: &[ShardHandle],
    ) -> Result<Admission, Denied> {
        let Admissible { id, full, region, part, read_only } = self.admissible(asked, who, objects, reach)?;
        match self.open(id, region, part, shards) {
            Ok(file) => {
                if let Some(open) = self.open.get_mut(&id) {
                    (open.idle, open.leaving) = (None, None);
                }
                Ok(Admission {
                    region: id,
                    name: full,
                    size: file.len() - region.page_size_bytes,
                    page_size: region.page_size_bytes,
                    file,
                    traceparent: region.traceparent.clone(),
                    read_only,
                })
            }
            Err(reason) => Err(Denied::NotReady { name: full, reason }),
        }
    }

    /// Why programs cannot use a declared region here, if they cannot.
    pub(super) fn not_ready(&self, id: RegionId, region: &ValidRegion, objects: &Objects) -> Option<String> {
        let unplaced = objects.part(region, &self.life).err();
        unplaced.map(|error| error.to_string()).or_else(|| self.failed.get(&id).cloned())
    }

    /// Why programs would wait for pages of a region: homes that are not connected.
    pub(super) fn away(&self, region: &ValidRegion, objects: &Objects, reach: &Reach) -> Option<String> {
        let part = objects.part(region, &self.life).ok()?;
        reach.trouble(&part.placement.homes, objects)
    }

    /// Why this agent is not what a placement says that it is, if so.
    pub(super) fn problem(&self, id: RegionId, region: &ValidRegion, objects: &Objects) -> Option<String> {
        let failed = || self.failed.get(&id).cloned();
        match objects.part(region, &self.life) {
            Ok(_) => failed(),
            Err(error @ Unplaced::EarlierLife { .. }) => Some(error.to_string()),
            // Nobody's trouble but that of those that are named.
            Err(error @ Unplaced::UnknownHome(_)) => {
                let named = region.placement.as_ref().is_some_and(|p| self.life.is_named_by(p));
                named.then(|| error.to_string())
            }
            Err(Unplaced::Undecided) => failed(),
        }
    }

    pub(super) fn get(&self, id: RegionId) -> Option<OpenRegion> {
        self.open.get(&id).map(|open| OpenRegion {
            epoch: open.placement.epoch,
            home: open.home,
            resident_bytes: open.file.resident_bytes(),
        })
    }

    pub(super) fn file_len(&self, id: RegionId) -> Option<u64> {
        self.open.get(&id).map(|open| open.file.len())
    }

    /// The change to the epoch that the shards act on has taken effect.
    pub(super) fn settled(&mut self, id: RegionId, epoch: u64) {
        if let Some(open) = self.open.get_mut(&id).filter(|open| open.placement.epoch <= epoch) {
            open.span = None;
        }
    }

    /// Begins to leave what nobody has needed here for a while.
    pub(super) fn tidy(&mut self, now: Instant, attached: &BTreeSet<RegionId>, shards: &[ShardHandle]) {
        let mut idle = Vec::new();
        for (id, open) in &mut self.open {
            if open.home || attached.contains(id) {
                (open.idle, open.leaving) = (None, None);
            } else {
                let since = *open.idle.get_or_insert(now);
                if open.leaving.is_none() && now.duration_since(since) >= IDLE_MAX {
                    idle.push(*id);
                }
            }
        }
        idle.into_iter().for_each(|id| self.leave(id, shards));
    }

    /// Opens what this agent homes and could not open, if it has not tried for a while.
    pub(super) fn try_again(&mut self, now: Instant, objects: &Objects, shards: &[ShardHandle]) {
        if self.failed.is_empty()
            || self.tried_again.is_some_and(|last| now.duration_since(last) < TRY_AGAIN_EVERY)
        {
            return;
        }
        self.tried_again = Some(now);
        let failed: Vec<RegionId> = self.failed.keys().copied().collect();
        for (id, region) in failed.iter().filter_map(|id| Some((*id, objects.region(*id)?))) {
            match objects.part(region, &self.life) {
                Ok(part) if part.home => _ = self.open(id, region, part, shards),
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Begins to leave every region of which this agent is no home.
    pub(super) fn leave_all(&mut self, shards: &[ShardHandle]) {
        let all: Vec<RegionId> =
            self.open.iter().filter(|(_, o)| !o.home && o.leaving.is_none()).map(|(id, _)| *id).collect();
        all.into_iter().for_each(|id| self.leave(id, shards));
    }

    /// Whether there is a region here of which this agent is no home.
    pub(super) fn are_guests(&self) -> bool {
        self.open.values().any(|open| !open.home)
    }

    /// Regions that are being left.
    pub(super) fn leaving(&self) -> usize {
        self.open.values().filter(|open| open.leaving.is_some()).count()
    }

    fn leave(&mut self, region: RegionId, shards: &[ShardHandle]) {
        let Some(open) = self.open.get_mut(&region) else { return };
        self.attempts += 1;
        let attempt = self.attempts;
        open.leaving = Some((attempt, (0..shards.len() as u16).collect()));
        shards.iter().for_each(|shard| shard.send(Command::Leave { region, attempt }));
    }

    /// A shard has left a region. With the last of them it is closed.
    pub(super) fn left(&mut self, shard: u16, region: RegionId, attempt: u64, shards: &[ShardHandle]) {
        let leaving = self.open.get_mut(&region).and_then(|open| open.leaving.as_mut());
        // If a program has come since then, it stays open.
        let Some((_, waiting)) = leaving.filter(|(current, _)| *current == attempt) else { return };
        waiting.remove(&shard);
        if waiting.is_empty() {
            self.close(region, shards);
        }
    }

    fn close(&mut self, region: RegionId, shards: &[ShardHandle]) {
        let Some(open) = self.open.remove(&region) else { return };
        shards.iter().for_each(|shard| shard.send(Command::Drop { region }));
        // The name at once, for it may be opened again before the shards have let go of the file.
        open.file.remove();
        self.noted.remove(&region.0);
        if let Err(error) = self.kept.note_regions(&self.noted) {
            // A successor finds no file and drops it.
            debug!(%error, "cannot note that a region was closed");
        }
        info!(file = %open.file.path().display(), "closed a region");
    }

    pub(super) fn close_all(&mut self) {
        self.open.values().for_each(|open| open.file.remove());
        self.open.clear();
    }

    /// Makes sure that the shards know the region as it is declared now.
    fn open(
        &mut self,
        id: RegionId,
        region: &ValidRegion,
        part: Part,
        shards: &[ShardHandle],
    ) -> Result<Arc<RegionFile>, String> {
        let Part { placement, home } = part;
        // The header page comes first.
        let pages = 1 + region.size_bytes / region.page_size_bytes;
        let len = pages * region.page_size_bytes;
        let file = match self.open.get_mut(&id) {
            // That all pages have moved, which changes `previous` alone, shards know by themselves.
            Some(open) if open.placement.epoch >= placement.epoch => {
                open.home = home;
                return Ok(Arc::clone(&open.file));
            }
            Some(_) => self.enlarge(id, len)?,
            None => self.create(id, region, len)?,
        };
        let (namespace, name, epoch) = (&region.namespace, &region.name, placement.epoch);
        let span = info_span!("epoch", region = format!("{namespace}/{name}"), epoch, home);
        if let Some(traceparent) = &region.traceparent {
            continue_from(&span, traceparent);
        }
        span.in_scope(|| {
            let config = RegionConfig { pages, coherence: coherence(region.coherence) };
            let page_size = u32::try_from(region.page_size_bytes).expect("a page has at most 2 MiB");
            for shard in shards {
                let (file, placement) = (Arc::clone(&file), placement.clone());
                shard.send(Command::Region { region: id, file, page_size, config, placement });
            }
        });
        // A leave that is under way goes on under the new placement. A home does not leave.
        let (idle, leaving) = match self.open.remove(&id) {
            Some(open) if !home => (open.idle, open.leaving),
            Some(_) | None => (None, None),
        };
        let open = Open { file: Arc::clone(&file), placement, home, idle, leaving, span: Some(span) };
        self.open.insert(id, open);
        Ok(file)
    }

    /// The file comes first: whoever sees a shard serve a page of it finds the page in it.
    fn enlarge(&mut self, id: RegionId, len: u64) -> Result<Arc<RegionFile>, String> {
        let file = Arc::clone(&self.open[&id].file);
        match if len > file.len() { file.grow(len) } else { Ok(()) } {
            Ok(()) => {
                self.failed.remove(&id);
                Ok(file)
            }
            Err(error) => Err(self.fail(id, format!("its file cannot be enlarged: {error}"))),
        }
    }

    fn create(&mut self, id: RegionId, region: &ValidRegion, len: u64) -> Result<Arc<RegionFile>, String> {
        // Labels have no dots, so no two regions share a file; of several that have one name after the other each has
        // a number of its own.
        let mut name = format!("{}{}.{}", memory::FILE_PREFIX, region.namespace, region.name);
        if region.uid.is_some() {
            name.push_str(&format!(".{:016x}", id.0));
        }
        let created = RegionFile::create(&self.memory_dir, &name, len).and_then(|file| {
            // Before any shard knows of it.
            let page_size = u32::try_from(region.page_size_bytes).expect("a page has at most 2 MiB");
            self.noted.insert(id.0, KeptRegion { file: name, page_size });
            self.kept.note_regions(&self.noted).map(|()| file)
        });
        match created {
            Ok(file) => {
                info!(region.namespace, region.name, bytes = len, "opened the region");
                self.failed.remove(&id);
                Ok(Arc::new(file))
            }
            Err(error) => Err(self.fail(id, format!("its file cannot be made: {error}"))),
        }
    }

    fn fail(&mut self, id: RegionId, reason: String) -> String {
        if self.failed.insert(id, reason.clone()).as_ref() != Some(&reason) {
            error!(region = id.0, reason, "cannot open a region");
        }
        reason
    }
}

fn coherence(declared: pagemesh_crds::Coherence) -> Coherence {
    match declared {
        pagemesh_crds::Coherence::WriteInvalidate => Coherence::WriteInvalidate,
        pagemesh_crds::Coherence::WriteUpdate => Coherence::WriteUpdate,
    }
}
