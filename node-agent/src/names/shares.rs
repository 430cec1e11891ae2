//! Places for what goes on at a time, of which nobody has more than some.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Taken = BTreeMap<String, usize>;

/// The places.
#[derive(Debug)]
pub(super) struct Shares {
    all: usize,
    each: usize,
    taken: Arc<Mutex<Taken>>,
}

impl Shares {
    /// So many in all, and so many for each pod.
    pub(super) fn new(all: usize, each: usize) -> Shares {
        Shares { all, each, taken: Arc::default() }
    }

    /// A place for a pod, by its UID, or for who reaches the agent's own sockets; none if there are too many. It is given back
    /// when it is dropped.
    pub(super) fn take(&self, pod: Option<&str>) -> Option<Share> {
        let key = pod.unwrap_or_default();
        let mut taken = lock(&self.taken);
        let own = taken.get(key).copied().unwrap_or(0);
        if taken.values().sum::<usize>() >= self.all || (pod.is_some() && own >= self.each) {
            return None;
        }
        taken.insert(key.to_owned(), own + 1);
        Some(Share { taken: Arc::clone(&self.taken), key: key.to_owned() })
    }
}

/// A place that is taken.
#[derive(Debug)]
pub(crate) struct Share {
    taken: Arc<Mutex<Taken>>,
    key: String,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_places_of_all() {
        let shares = Shares::new(4, 2);
        let greedy: Vec<_> = (0..3).map_while(|_| shares.take(Some("greedy"))).collect();
        assert_eq!(greedy.len(), 2);
        let (other, own) = (shares.take(Some("other")), shares.take(None));
        assert!(other.is_some() && own.is_some());
        assert!(shares.take(Some("third")).is_none() && shares.take(None).is_none(), "there are four");
        drop(greedy);
        assert!(shares.take(Some("greedy")).is_some());
        let own: Vec<_> = (0..3).map_while(|_| shares.take(None)).collect();
        assert_eq!(own.len(), 2, "who is no pod has no share");
        assert_eq!(lock(&shares.taken).len(), 2, "what was given back is forgotten");
    }
}
