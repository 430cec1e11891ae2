//! What other name servers have said before, for when one of them does not answer: a hint, which whoever acts on it checks, and
//! [forgets](Hints::forget) if it has turned out wrong.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::follow::{Answer, Servers};
use crate::{End, Listing, Place, Problem, Region};

/// Answers that are kept. The ones that were given longest ago go first.
pub const HINTS_MAX: usize = 1024;
/// For how long a server that has not answered is not asked again.
const SILENCE: Duration = Duration::from_secs(2);

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
    /// Servers that did not answer: since when, and why.
    silent: BTreeMap<String, (Instant, Problem)>,
}

impl Hints {
    /// These servers, whose answers are noted. Who has not answered is left alone for a moment.
    pub fn noting<'a, S: Servers>(&'a self, servers: &'a S) -> Noting<'a, S> {
        Noting { hints: self, servers }
    }

    /// What servers have said, without asking them. Of what they have not, the problem is `otherwise`.
    #[must_use]
    pub fn alone(&self, otherwise: Problem) -> Alone<'_> {
        Alone { hints: self, otherwise }
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
        match &answer.end {
            // It does not know by now.
            Err(problem) if problem.kind.may_pass() => return,
            Err(_) => {
                self.answers.remove(&key);
                return;
            }
            Ok(_) => {}
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

    fn note_silence(&mut self, server: &str, problem: &Problem, now: Instant) {
        self.silent.retain(|_, (since, _)| now.duration_since(*since) < SILENCE);
        if self.silent.len() < HINTS_MAX {
            self.silent.insert(server.to_owned(), (now, problem.clone()));
        }
    }

    fn silence(&self, server: &str, now: Instant) -> Option<Problem> {
        let (since, problem) = self.silent.get(server)?;
        (now.duration_since(*since) < SILENCE).then(|| problem.clone())
    }
}

/// Name servers that are asked.
#[derive(Debug)]
pub struct Noting<'a, S> {
    hints: &'a Hints,
    servers: &'a S,
}

impl<S: Servers> Servers for Noting<'_, S> {
    async fn resolve(&self, server: &str, place: &Place) -> Result<Answer<End>, Problem> {
        if let Some(problem) = self.hints.lock().silence(server, Instant::now()) {
            return Err(problem);
        }
        let answer = self.servers.resolve(server, place).await;
        let mut kept = self.hints.lock();
        match &answer {
            Ok(answer) => kept.note((server.to_owned(), place.clone()), answer),
            Err(problem) => kept.note_silence(server, problem, Instant::now()),
        }
        answer
    }

    async fn list(&self, server: &str, place: &Place) -> Result<Listing, Problem> {
        self.servers.list(server, place).await
    }
}

/// Hints in the place of name servers.
#[derive(Debug)]
pub struct Alone<'a> {
    hints: &'a Hints,
    otherwise: Problem,
}

impl Servers for Alone<'_> {
    async fn resolve(&self, server: &str, place: &Place) -> Result<Answer<End>, Problem> {
        let key = (server.to_owned(), place.clone());
        let kept = self.hints.lock().answers.get(&key).map(|(_, answer)| answer.clone());
        kept.ok_or_else(|| self.otherwise.clone())
    }

    async fn list(&self, _server: &str, _place: &Place) -> Result<Listing, Problem> {
        Err(self.otherwise.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProblemKind;

    fn key(path: &str) -> Key {
        ("a:1".into(), Place::in_namespace("n", path))
    }

    fn answer(name: &str) -> Answer<End> {
        let region = Region { name: name.into(), ..Region::default() };
        Answer { trace: Vec::new(), end: Ok(End::Region { region, read_only: false }) }
    }

    #[test]
    fn the_oldest_go_first_and_what_is_not_known_now_is_no_news() {
        let mut kept = Kept::default();
        for number in 0..=HINTS_MAX {
            kept.note(key(&format!("p{number}")), &answer("t"));
        }
        assert_eq!(kept.answers.len(), HINTS_MAX);
        assert!(!kept.answers.contains_key(&key("p0")) && kept.answers.contains_key(&key("p1")));
        for (kind, stays) in [
            (ProblemKind::NotKnownYet, true),
            (ProblemKind::Unreachable, true),
            (ProblemKind::NotFound, false),
        ] {
            let problem = Answer { trace: Vec::new(), end: Err(Problem::new(kind, "why")) };
            kept.note(key("p2"), &problem);
            assert_eq!(kept.answers.contains_key(&key("p2")), stays, "{kind:?}");
        }
    }

    #[test]
    fn who_is_silent_is_left_alone_for_a_moment() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        let problem = Problem::new(ProblemKind::Unreachable, "why");
        kept.note_silence("a:1", &problem, now);
        assert_eq!(kept.silence("a:1", now + SILENCE / 2), Some(problem));
        assert_eq!(kept.silence("a:1", now + SILENCE), None);
        assert_eq!(kept.silence("b:1", now), None);
    }
}
