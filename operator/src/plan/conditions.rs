//! Conditions, as Kubernetes has them: the time is that of the last change between true and false.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Longest text of a condition, by the schemas. Agents have a part in what is said.
const MESSAGE_BYTES_MAX: usize = 32768;

/// What is to be said by a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) status: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Verdict {
    pub(crate) fn yes(reason: &'static str, message: impl Into<String>) -> Verdict {
        Verdict { status: true, reason, message: message.into() }
    }

    pub(crate) fn no(reason: &'static str, message: impl Into<String>) -> Verdict {
        Verdict { status: false, reason, message: message.into() }
    }
}

/// The conditions of one object, as they become.
pub(crate) struct Conditions<'a> {
    before: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    after: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    pub(crate) fn new(before: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Conditions<'a> {
        Conditions { before, generation, now, after: Vec::new() }
    }

    /// Says it. Returns whether it was said before, with the same status and reason.
    pub(crate) fn set(&mut self, type_: &str, verdict: &Verdict) -> bool {
        let status = if verdict.status { "True" } else { "False" };
        let before = self.before.iter().find(|condition| condition.type_ == type_);
        let unchanged = before.filter(|condition| condition.status == status);
        self.after.push(Condition {
            type_: type_.into(),
            status: status.into(),
            reason: verdict.reason.into(),
            message: cut(&verdict.message, MESSAGE_BYTES_MAX).to_owned(),
            observed_generation: self.generation,
            last_transition_time: unchanged
                .map_or(Time(self.now), |condition| condition.last_transition_time.clone()),
        });
        unchanged.is_some_and(|condition| condition.reason == verdict.reason)
    }

    pub(crate) fn finish(self) -> Vec<Condition> {
        self.after
    }
}

/// Leaves out what others say in a list in which everybody has conditions of their own. They are nothing to us, and no
/// write of ours takes them out: else it would be tried for ever.
pub(crate) fn forget_foreign(before: &mut Vec<Condition>, ours: &[Condition]) {
    before.retain(|condition| ours.iter().any(|own| own.type_ == condition.type_));
}

/// A text, or as much of it from its beginning as there is room for.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Whether a condition is there and true.
pub(crate) fn holds(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Names for a sentence: the first ten, and how many more there are.
pub(crate) fn list<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN_MAX: usize = 10;
    let shown: Vec<&str> = names.iter().take(SHOWN_MAX).map(AsRef::as_ref).collect();
    let text = shown.join(", ");
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// A number with its noun.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_last_change_of_status() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let step = |before: &[Condition], now, verdict: Verdict| {
            let mut conditions = Conditions::new(before, Some(now), at(now));
            let said = conditions.set("Ready", &verdict);
            (conditions.finish(), said)
        };
        let (first, said) = step(&[], 1, Verdict::no("Confirming", "a"));
        assert!(!said);
        let (second, said) = step(&first, 2, Verdict::no("Moving", "b"));
        assert!(!said);
        assert_eq!(second[0].last_transition_time.0, at(1));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("Moving", Some(2)));
        let (third, said) = step(&second, 3, Verdict::no("Moving", "c"));
        assert!(said);
        let (fourth, said) = step(&third, 4, Verdict::yes("Confirmed", ""));
        assert!(!said);
        assert_eq!(fourth[0].last_transition_time.0, at(4));
        assert!(holds(&fourth, "Ready") && !holds(&third, "Ready") && !holds(&fourth, "Degraded"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("short", 1024), "short");
        let long = "ä".repeat(20_000);
        assert_eq!(cut(&long, 1024).len(), 1024);
        let odd = format!("a{long}");
        assert_eq!(cut(&odd, 1024).len(), 1023);

        let mut conditions = Conditions::new(&[], None, Timestamp::UNIX_EPOCH);
        conditions.set("Degraded", &Verdict::yes("AgentProblem", odd));
        assert_eq!(conditions.finish()[0].message.len(), MESSAGE_BYTES_MAX - 1);
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..12).map(|number| format!("n{number}")).collect();
        assert_eq!(list(&names[..2]), "n0, n1");
        assert_eq!(list(&names), "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 2 more");
        assert_eq!(count(1, "process", "processes"), "1 process");
        assert_eq!(count(0, "process", "processes"), "0 processes");
    }
}
