//! What is held, and when it is let go.

use std::collections::BTreeMap;

use pagemesh_attach::RegionName;
use pagemesh_attach::sys::Descriptor;
use pagemesh_attach::wire::WireError;
use pagemesh_attach::wire::keeper::Counted;

use crate::metrics::Metrics;

/// Descriptors of one attachment: the region file, and a userfaultfd for each of at most 64 shards.
const DESCRIPTORS_MAX: usize = 65;

/// Attachments by the agent's life and their numbers in it.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    held: BTreeMap<(u64, u64), Held>,
    /// Who tells: the agent's life and process.
    teller: Option<(u64, u64)>,
    /// Counts connections on which it was told who tells.
    round: u64,
    /// On this connection all attachments have been told.
    whole: bool,
}

#[derive(Debug)]
struct Held {
    region: RegionName,
    descriptors: Vec<Descriptor>,
    /// Those of an earlier connection, until all has been told anew.
    before: Vec<Descriptor>,
    round: u64,
    /// All descriptors are here.
    whole: bool,
    counted: Counted,
}

impl Holdings {
    /// A connection begins, and all will be told anew.
    pub(crate) fn begin(&mut self, life: u64, process: u64) {
        if self.teller != Some((life, process)) {
            // That one has counted nothing yet.
            self.held.values_mut().for_each(|held| held.counted = Counted::default());
        }
        self.teller = Some((life, process));
        self.round += 1;
        self.whole = false;
    }

    /// An attachment is to be held. Its descriptors may come in several packets.
    pub(crate) fn keep(
        &mut self,
        attachment: u64,
        region: RegionName,
        descriptors: impl Iterator<Item = Descriptor>,
    ) -> Result<(), WireError> {
        let key = (self.life()?, attachment);
        let (round, whole) = (self.round, self.whole);
        let held = self.held.entry(key).or_insert_with(|| Held {
            region,
            descriptors: Vec::new(),
            before: Vec::new(),
            round,
            whole: false,
            counted: Counted::default(),
        });
        if held.round != round {
            let earlier = std::mem::take(&mut held.descriptors);
            if held.whole {
                held.before = earlier;
            }
            held.round = round;
        }
        held.whole = whole;
        held.descriptors.extend(descriptors);
        if held.region != region || held.descriptors.len() > DESCRIPTORS_MAX {
            return Err(WireError::Unexpected);
        }
        Ok(())
    }

    /// An attachment has ended.
    pub(crate) fn release(&mut self, attachment: u64) -> Result<(), WireError> {
        // One whose descriptors this process had no room for is not here.
        self.held.remove(&(self.life()?, attachment));
        Ok(())
    }

    /// All has been told. What was held for this life of the agent and was not told again has ended. What was held for another
    /// life nobody can tell of any more: it is held until the pod ends.
    pub(crate) fn all_told(&mut self) -> Result<(), WireError> {
        let (life, round) = (self.life()?, self.round);
        if !std::mem::replace(&mut self.whole, true) {
            self.held.retain(|(of, _), held| *of != life || held.round == round);
            for held in self.held.values_mut().filter(|held| held.round == round) {
                held.whole = true;
                held.before.clear();
            }
        }
        Ok(())
    }

    /// What an attachment's faults have cost so far.
    pub(crate) fn count(
        &mut self,
        attachment: u64,
        counted: Counted,
        metrics: &Metrics,
    ) -> Result<(), WireError> {
        let key = (self.life()?, attachment);
        if let Some(held) = self.held.get_mut(&key) {
            let before = std::mem::replace(&mut held.counted, counted);
            metrics.count(held.region.as_str(), before, counted);
        }
        Ok(())
    }

    /// How many attachments there are, by region.
    pub(crate) fn by_region(&self) -> BTreeMap<&str, i64> {
        let mut all = BTreeMap::new();
        self.held.values().for_each(|held| *all.entry(held.region.as_str()).or_default() += 1);
        all
    }

    fn life(&self) -> Result<u64, WireError> {
        self.teller.map(|(life, _)| life).ok_or(WireError::Unexpected)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::IntoRawFd;

    use super::*;

    fn some(count: usize) -> impl Iterator<Item = Descriptor> {
        (0..count).map(|_| Descriptor::adopt(File::open("/dev/null").unwrap().into_raw_fd()))
    }

    fn keep(holdings: &mut Holdings, attachment: u64, count: usize) -> Result<(), WireError> {
        holdings.keep(attachment, RegionName::new(b"team/table").unwrap(), some(count))
    }

    fn descriptors(holdings: &Holdings) -> Vec<(u64, usize)> {
        holdings
            .held
            .iter()
            .map(|((_, id), held)| (*id, held.descriptors.len() + held.before.len()))
            .collect()
    }

    #[test]
    fn the_old_ones_are_held_until_all_is_told_anew() {
        let mut holdings = Holdings::default();
        holdings.begin(1, 1);
        (1..=3).for_each(|id| keep(&mut holdings, id, 3).unwrap());
        holdings.all_told().unwrap();
        holdings.release(1).unwrap();
        assert_eq!(descriptors(&holdings), [(2, 3), (3, 3)]);
        // A successor begins to tell and dies, again and again.
        for process in 2..5 {
            holdings.begin(1, process);
            keep(&mut holdings, 2, 2).unwrap();
            assert_eq!(descriptors(&holdings), [(2, 5), (3, 3)]);
        }
        holdings.begin(1, 5);
        keep(&mut holdings, 2, 2).unwrap();
        keep(&mut holdings, 2, 1).unwrap();
        keep(&mut holdings, 4, 3).unwrap();
        holdings.all_told().unwrap();
        assert_eq!(descriptors(&holdings), [(2, 3), (4, 3)]);
        // Ready or not, that is not the end of telling.
        keep(&mut holdings, 5, 3).unwrap();
        holdings.all_told().unwrap();
        assert_eq!(descriptors(&holdings), [(2, 3), (4, 3), (5, 3)]);
    }

    #[test]
    fn what_another_life_of_the_agent_served_is_held_for_good() {
        let mut holdings = Holdings::default();
        holdings.begin(1, 1);
        keep(&mut holdings, 7, 3).unwrap();
        holdings.all_told().unwrap();
        holdings.begin(2, 2);
        keep(&mut holdings, 7, 2).unwrap();
        holdings.all_told().unwrap();
        holdings.release(7).unwrap();
        assert_eq!(descriptors(&holdings), [(7, 3)]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut holdings = Holdings::default();
        assert_eq!(keep(&mut holdings, 1, 1), Err(WireError::Unexpected));
        assert_eq!(holdings.all_told(), Err(WireError::Unexpected));
        holdings.begin(1, 1);
        keep(&mut holdings, 1, 40).unwrap();
        assert_eq!(keep(&mut holdings, 1, 40), Err(WireError::Unexpected));
        keep(&mut holdings, 2, 1).unwrap();
        let another = RegionName::new(b"other").unwrap();
        assert_eq!(holdings.keep(2, another, some(1)), Err(WireError::Unexpected));
    }

    #[test]
    fn counts_go_on_when_the_agent_begins_anew() {
        let (mut holdings, metrics) = (Holdings::default(), Metrics::new());
        let counted = |faults| Counted { faults, bytes: 4096 * faults, wait_nanos: 500_000_000 * faults };
        holdings.begin(1, 1);
        keep(&mut holdings, 1, 1).unwrap();
        for faults in [2, 3] {
            holdings.count(1, counted(faults), &metrics).unwrap();
        }
        // The same process over another connection tells the same numbers.
        holdings.begin(1, 1);
        keep(&mut holdings, 1, 1).unwrap();
        holdings.count(1, counted(3), &metrics).unwrap();
        holdings.begin(1, 2);
        keep(&mut holdings, 1, 1).unwrap();
        holdings.count(1, counted(4), &metrics).unwrap();
        holdings.count(99, counted(1), &metrics).unwrap();
        let text = metrics.text(&holdings, true, true);
        for line in [
            r#"pagemesh_pod_faults_total{region="team/table"} 7"#,
            r#"pagemesh_pod_fault_bytes_total{region="team/table"} 28672"#,
            r#"pagemesh_pod_fault_wait_seconds_total{region="team/table"} 3.5"#,
            r#"pagemesh_pod_attachments{region="team/table"} 1"#,
            "pagemesh_keeper_connected 1",
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
    }
}
