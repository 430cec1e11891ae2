//! What is in force, and what has been said about the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{info, warn};

use super::{Me, Objects, Refusal, Sources, accept, changes};

/// The objects that are in force, as sources follow on each other.
#[derive(Debug)]
pub struct InForce {
    me: Me,
    objects: Arc<Objects>,
    complaints: Complaints,
}

impl InForce {
    /// Nothing is in force yet.
    #[must_use]
    pub fn new(me: Me) -> InForce {
        InForce { me, objects: Arc::default(), complaints: Complaints::default() }
    }

    /// What is in force.
    #[must_use]
    pub fn objects(&self) -> Arc<Objects> {
        Arc::clone(&self.objects)
    }

    /// Takes all that is declared now, where MountTables come later than the rest; whether anything is in force then that was not.
    pub fn take_known(&mut self, sources: &Sources, tables_known: bool) -> bool {
        let changed = self.take(sources);
        let missing = !tables_known;
        if self.objects.tables_missing == missing {
            return changed;
        }
        Arc::make_mut(&mut self.objects).tables_missing = missing;
        true
    }

    /// Takes all that is declared now; whether anything is in force then that was not.
    pub fn take(&mut self, sources: &Sources) -> bool {
        let (next, refusals) = accept(&self.objects, sources, &self.me);
        for refusal in self.complaints.news(sources, refusals) {
            warn!(
                source = refusal.source,
                object = refusal.object,
                line = refusal.line,
                field = refusal.field,
                reason = refusal.reason,
                "refused what is declared there; what was last good of it stays in force"
            );
        }
        let changes = changes(&self.objects, &next);
        for change in &changes {
            info!("{change}");
        }
        self.objects = Arc::new(next);
        !changes.is_empty()
    }
}

/// Refusals that have been logged, so that each change of a source is complained about once.
#[derive(Debug, Default)]
struct Complaints(BTreeMap<String, (u64, Refusal)>);

impl Complaints {
    /// Those of `refusals` that are news: the source or what is wrong with it has changed.
    fn news(&mut self, sources: &Sources, refusals: Vec<Refusal>) -> Vec<Refusal> {
        let mut next = BTreeMap::new();
        let mut news = Vec::new();
        for refusal in refusals {
            let Some(source) = sources.get(&refusal.source) else { continue };
            let complaint = (source.version, refusal.clone());
            if self.0.get(&refusal.source) != Some(&complaint) {
                news.push(refusal.clone());
            }
            next.insert(refusal.source, complaint);
        }
        self.0 = next;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Files, of_files};
    use super::*;

    fn refusal(reason: &str) -> Refusal {
        Refusal { source: "a.yaml".into(), line: None, object: None, field: None, reason: reason.into() }
    }

    #[test]
    fn each_change_of_a_bad_file_is_complained_about_once() {
        let mut complaints = Complaints::default();
        let mut tell = |text: &str, refusals: &[&str]| {
            let sources = of_files(&Files::from([("a.yaml".to_owned(), Ok(text.to_owned()))]));
            complaints.news(&sources, refusals.iter().map(|reason| refusal(reason)).collect()).len()
        };
        assert_eq!(tell("one", &["bad"]), 1);
        assert_eq!(tell("one", &["bad"]), 0, "the same again");
        assert_eq!(tell("two", &["bad"]), 1, "changed and still bad");
        assert_eq!(tell("two", &["bad because of another file"]), 1);
        assert_eq!(tell("three", &[]), 0);
        assert_eq!(tell("two", &["bad because of another file"]), 1, "bad again after it was good");
    }
}
