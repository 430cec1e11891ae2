//! Places for what goes on at a time, of which nobody has more than some.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

type Taken = BTreeMap<String, usize>;

/// The places.
#[derive(Debug)]
pub(super) struct Shares {
    all: usize,
    each: usize,
    taken: Arc<Mutex<Taken>>,
    freed: Arc<Notify>,
}

impl Shares {
    /// So many in all, and so many for each pod.
    pub(super) fn new(all: usize, each: usize) -> Shares {
        Shares { all, each, taken: Arc::default(), freed: Arc::default() }
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
        Some(Share { taken: Arc::clone(&self.taken), freed: Arc::clone(&self.freed), key: key.to_owned() })
    }

    /// The same, and waits until there is one.
    pub(super) async fn wait(&self, pod: Option<&str>) -> Share {
        loop {
            // Before it is looked whether there is one, so that none is missed.
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(share) = self.take(pod) {
                return share;
            }
            freed.await;
        }
    }
}

/// A place that is taken.
#[derive(Debug)]
pub(crate) struct Share {
    taken: Arc<Mutex<Taken>>,
    freed: Arc<Notify>,
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
        drop(taken);
        self.freed.notify_waiters();
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_gets_what_is_given_back() {
        let shares = Shares::new(1, 1);
        let first = shares.take(Some("first")).unwrap();
        let (_second, ()) = tokio::join!(shares.wait(Some("second")), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        assert!(shares.take(Some("first")).is_none());
    }

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
