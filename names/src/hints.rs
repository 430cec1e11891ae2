//! What other name servers have said before, for when one of them does not answer: a hint, which whoever acts on it checks, and
//! [forgets](Hints::forget) if it has turned out wrong.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::follow::{Answer, Servers};
use crate::{End, Listing, Place, Problem, ProblemKind, Region};

/// Answers that are kept. The ones that were given longest ago go first.
pub const HINTS_MAX: usize = 1024;

/// A place of a name server, by its address.
type Key = (String, Place);

/// Answers by what was asked.
#[derive(Debug, Default)]
pub struct Hints(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    answers: BTreeMap<Key, (u64, Answer<End>)>,
    /// Counts the answers.
    clock: u64,
}

impl Hints {
    /// These servers, in whose place the hints answer that they have given when they do not.
    pub fn over<'a, S: Servers>(&'a self, servers: &'a S) -> Hinted<'a, S> {
        Hinted { hints: self, servers, unanswered: Mutex::default() }
    }

    /// Forgets who has said that a path stands for this Region.
    pub fn forget(&self, region: &Region) {
        let means = |answer: &Answer<End>| matches!(&answer.end, Ok(End::Region { region: other, .. }) if other == region);
        self.lock().answers.retain(|_, (_, answer)| !means(answer));
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn note(&mut self, key: Key, answer: &Answer<End>) {
        if answer.end.is_err() {
            self.answers.remove(&key);
            return;
        }
        self.clock += 1;
        self.answers.insert(key, (self.clock, answer.clone()));
        if self.answers.len() > HINTS_MAX
            && let Some(oldest) =
                self.answers.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| key.clone())
        {
            self.answers.remove(&oldest);
        }
    }
}

/// Name servers, and what they have said before.
#[derive(Debug)]
pub struct Hinted<'a, S> {
    hints: &'a Hints,
    servers: &'a S,
    unanswered: Mutex<Option<Problem>>,
}

impl<S> Hinted<'_, S> {
    /// Why a hint was gone by, if one was.
    pub fn unanswered(&self) -> Option<Problem> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S: Servers> Servers for Hinted<'_, S> {
    async fn resolve(&self, server: &str, place: &Place) -> Result<Answer<End>, Problem> {
        let key = (server.to_owned(), place.clone());
        match self.servers.resolve(server, place).await {
            Ok(answer) => {
                self.hints.lock().note(key, &answer);
                Ok(answer)
            }
            Err(problem) if problem.kind == ProblemKind::Unreachable => {
                let kept = self.hints.lock().answers.get(&key).map(|(_, answer)| answer.clone());
                let Some(kept) = kept else { return Err(problem) };
                *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
                Ok(kept)
            }
            Err(problem) => Err(problem),
        }
    }

    async fn list(&self, server: &str, place: &Place) -> Result<Listing, Problem> {
        self.servers.list(server, place).await
    }
}
