//! Objects of one kind, as a watch tells of them and as this operator has written them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plan::Objects;

/// One object as it was at a version.
#[derive(Debug)]
pub(crate) struct Versioned<K, V> {
    pub(crate) key: K,
    /// Resource versions of one kind of object are numbers that only grow.
    pub(crate) version: u64,
    pub(crate) value: V,
}

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Change<K, V> {
    /// A list begins.
    Begin,
    /// An object of the list.
    Listed(Versioned<K, V>),
    /// The list is complete.
    End,
    /// An object is there, or is different.
    Put(Versioned<K, V>),
    /// An object is gone.
    Remove(Versioned<K, ()>),
}

/// All objects of one kind.
///
/// What was written is in here at once, so the next plan is made from it although the watch may not have told of it yet; else two
/// regions that are placed one after the other could both get the last memory. A watch that lags behind does not undo it.
#[derive(Debug)]
pub(crate) struct Cache<K: Ord, V> {
    objects: Objects<K, V>,
    versions: BTreeMap<K, u64>,
    /// The latest version that the watch has told of.
    watched: u64,
    /// What a list that is under way has brought so far.
    listing: BTreeMap<K, (u64, Arc<V>)>,
    complete: bool,
}

impl<K: Ord, V> Default for Cache<K, V> {
    fn default() -> Cache<K, V> {
        Cache {
            objects: Arc::default(),
            versions: BTreeMap::new(),
            watched: 0,
            listing: BTreeMap::new(),
            complete: false,
        }
    }
}

impl<K: Ord + Clone, V: PartialEq> Cache<K, V> {
    /// All objects.
    pub(crate) fn objects(&self) -> Objects<K, V> {
        Arc::clone(&self.objects)
    }

    /// Whether the first list is complete.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes what the watch tells. Returns whether anything is different now.
    pub(crate) fn observe(&mut self, change: Change<K, V>) -> bool {
        match change {
            Change::Put(Versioned { key, version, value }) => {
                self.watched = self.watched.max(version);
                self.put(key, version, Arc::new(value))
            }
            Change::Remove(Versioned { key, version, value: () }) => {
                self.watched = self.watched.max(version);
                if self.versions.get(&key).is_some_and(|own| *own > version) {
                    // Created again meanwhile, by us.
                    return false;
                }
                self.versions.remove(&key);
                Arc::make_mut(&mut self.objects).remove(&key).is_some()
            }
            Change::Begin => {
                self.listing.clear();
                false
            }
            Change::Listed(Versioned { key, version, value }) => {
                self.listing.insert(key, (version, Arc::new(value)));
                false
            }
            Change::End => self.take_list(),
        }
    }

    fn put(&mut self, key: K, version: u64, value: Arc<V>) -> bool {
        if self.versions.get(&key).is_some_and(|own| *own > version) {
            return false;
        }
        self.versions.insert(key.clone(), version);
        if self.objects.get(&key) == Some(&value) {
            return false;
        }
        Arc::make_mut(&mut self.objects).insert(key, value);
        true
    }

    /// A list has come to its end: what is not in it is gone.
    fn take_list(&mut self) -> bool {
        let listing = std::mem::take(&mut self.listing);
        let mut changed = !self.complete;
        self.complete = true;
        let gone: Vec<K> = self.objects.keys().filter(|key| !listing.contains_key(key)).cloned().collect();
        for key in gone {
            self.versions.remove(&key);
            Arc::make_mut(&mut self.objects).remove(&key);
            changed = true;
        }
        for (key, (version, value)) in listing {
            self.watched = self.watched.max(version);
            changed |= self.put(key, version, value);
        }
        changed
    }

    /// Takes what the API server has answered to a write. Returns whether anything is different now.
    pub(crate) fn wrote(&mut self, written: Versioned<K, V>) -> bool {
        // Else the watch is past this: whatever it said, it knows better, and the object may be gone again.
        written.version > self.watched && self.put(written.key, written.version, Arc::new(written.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Test = Cache<&'static str, u32>;

    fn at(key: &'static str, version: u64, value: u32) -> Versioned<&'static str, u32> {
        Versioned { key, version, value }
    }

    fn gone(key: &'static str, version: u64) -> Versioned<&'static str, ()> {
        Versioned { key, version, value: () }
    }

    fn listed(objects: &[(&'static str, u64, u32)]) -> Test {
        let mut cache = Test::default();
        relist(&mut cache, objects);
        cache
    }

    fn relist(cache: &mut Test, objects: &[(&'static str, u64, u32)]) {
        cache.observe(Change::Begin);
        for (key, version, value) in objects {
            cache.observe(Change::Listed(at(key, *version, *value)));
        }
        cache.observe(Change::End);
    }

    fn shown(cache: &Test) -> Vec<(&'static str, u32)> {
        cache.objects().iter().map(|(key, value)| (*key, **value)).collect()
    }

    #[test]
    fn is_complete_after_the_first_list() {
        let mut cache = Test::default();
        cache.observe(Change::Begin);
        cache.observe(Change::Listed(at("a", 1, 1)));
        assert!(!cache.is_complete());
        assert_eq!(shown(&cache), []);
        assert!(cache.observe(Change::End));
        assert!(cache.is_complete());
        assert_eq!(shown(&cache), [("a", 1)]);
    }

    #[test]
    fn what_was_written_counts_at_once_and_is_not_undone_by_a_watch_that_lags() {
        let mut cache = listed(&[("a", 5, 1)]);
        assert!(cache.wrote(at("a", 8, 2)));
        assert!(!cache.wrote(at("a", 8, 2)), "a write that changes nothing wakes nobody");
        assert_eq!(shown(&cache), [("a", 2)]);
        assert!(!cache.observe(Change::Put(at("a", 7, 9))));
        assert_eq!(shown(&cache), [("a", 2)]);
        assert!(!cache.observe(Change::Put(at("a", 8, 2))));
        assert!(cache.observe(Change::Put(at("a", 9, 3))));
        assert_eq!(shown(&cache), [("a", 3)]);
    }

    #[test]
    fn an_answer_that_comes_after_the_deletion_brings_nothing_back() {
        let mut cache = listed(&[("a", 5, 1)]);
        // The write had version 6, the deletion 7, and the watch was faster than the answer.
        assert!(cache.observe(Change::Remove(gone("a", 7))));
        assert!(!cache.wrote(at("a", 6, 2)));
        assert_eq!(shown(&cache), []);
    }

    #[test]
    fn a_new_list_takes_away_what_is_gone_and_keeps_newer_writes() {
        let mut cache = listed(&[("a", 5, 1), ("b", 6, 1)]);
        cache.wrote(at("b", 9, 2));
        relist(&mut cache, &[("b", 6, 1), ("c", 7, 1)]);
        assert_eq!(shown(&cache), [("b", 2), ("c", 1)]);
    }

    #[test]
    fn nobody_is_woken_for_what_looks_the_same() {
        let mut cache = listed(&[("a", 5, 1)]);
        assert!(!cache.observe(Change::Put(at("a", 6, 1))));
        assert!(cache.observe(Change::Put(at("a", 7, 2))));
    }

    #[test]
    fn a_picture_stays_as_it_is() {
        let mut cache = listed(&[("a", 5, 1)]);
        let picture = cache.objects();
        cache.observe(Change::Remove(gone("a", 6)));
        assert_eq!(*picture["a"], 1);
    }
}
