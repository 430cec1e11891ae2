//! Checks histories of one word for linearizability: is there an order of the operations that agrees with the times at
//! which they ran, and in which every result is right? (Wing and Gong, "Testing and verifying concurrent objects",
//! 1993, with the memory of visited states that Lowe added in 2017.) Words are independent, so each is checked alone:
//! linearizability is local (Herlihy and Wing, 1990).

use std::collections::BTreeSet;

/// What was done to the word, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Load {
        result: u64,
    },
    Store {
        value: u64,
    },
    /// Compare and swap; `result` is what was there.
    Cas {
        old: u64,
        new: u64,
        result: u64,
    },
    /// Fetch and add; `result` is what was there.
    Add {
        by: u64,
        result: u64,
    },
}

/// One operation and when it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) kind: Kind,
}

/// The word's value behind the operation, if its result agrees with `value` before it.
fn apply(kind: Kind, value: u64) -> Option<u64> {
    match kind {
        Kind::Load { result } => (result == value).then_some(value),
        Kind::Store { value } => Some(value),
        Kind::Cas { old, new, result } => (result == value).then_some(if value == old { new } else { value }),
        Kind::Add { by, result } => (result == value).then_some(value.wrapping_add(by)),
    }
}

/// Whether the history of a word that began as 0 is linearizable.
///
/// # Panics
/// With more than 128 operations, which is a mistake of the test.
pub(crate) fn linearizable(history: &[Operation]) -> bool {
    assert!(history.len() <= 128, "histories of one word are kept short");
    let all = if history.len() == 128 { u128::MAX } else { (1 << history.len()) - 1 };
    let mut visited = BTreeSet::new();
    let mut states = vec![(0_u128, 0_u64)];
    while let Some((done, value)) = states.pop() {
        if done == all {
            return true;
        }
        let open = || history.iter().enumerate().filter(|(at, _)| done >> at & 1 == 0);
        // Whatever comes next must have begun before any operation that is still to come had ended.
        let first_end = open().map(|(_, o)| o.end).min().unwrap_or(u64::MAX);
        for (at, operation) in open().filter(|(_, o)| o.begin <= first_end) {
            if let Some(after) = apply(operation.kind, value) {
                let state = (done | 1 << at, after);
                if visited.insert(state) {
                    states.push(state);
                }
            }
        }
    }
    false
}
