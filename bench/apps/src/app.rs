//! What the programs have in common: a problem, processes that share the work, and a result that can be compared.

use std::ops::{Range, RangeInclusive};

use crate::memory::{Memory, Plan};
use crate::sync::Barrier;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem {
    /// How large it is: see the program.
    pub(crate) size: usize,
    /// How often it is done: see the program.
    pub(crate) iterations: usize,
    /// Processes that share the work.
    pub(crate) ranks: usize,
}

/// One of the processes.
#[derive(Debug)]
pub(crate) struct Rank {
    pub(crate) number: usize,
    pub(crate) ranks: usize,
    pub(crate) memory: Memory,
    pub(crate) barrier: Barrier,
}

impl Rank {
    /// The part of `0..len` that is this process'. Parts begin at multiples of `step`.
    pub(crate) fn share(&self, len: usize, step: usize) -> Range<usize> {
        share(len, step, self.number, self.ranks)
    }
}

fn share(len: usize, step: usize, number: usize, of: usize) -> Range<usize> {
    let begin = |number: usize| (len.div_ceil(step) * number / of * step).min(len);
    begin(number)..begin(number + 1)
}

/// A program.
pub(crate) trait App {
    /// The sizes that it can do.
    const SIZES: RangeInclusive<usize>;

    /// Says where its data lie. The same in each process.
    fn plan(problem: Problem, plan: &mut Plan) -> Self;

    /// Makes what this process begins with: its part of the data.
    fn prepare(&self, rank: &Rank);

    /// Does the work. What is measured.
    fn run(&self, rank: &Rank);

    /// A digest of the whole result, as this process reads it when all have run.
    fn result(&self, rank: &Rank) -> u64;

    /// The digest of what one process finds with memory of its own, in the plainest way.
    fn alone(problem: Problem) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_there_is() {
        for (len, step, of) in [(10, 1, 3), (4096, 1024, 3), (5000, 1024, 2), (3, 1, 5), (100, 1024, 2)] {
            let parts: Vec<_> = (0..of).map(|number| share(len, step, number, of)).collect();
            assert_eq!((parts[0].start, parts[of - 1].end), (0, len));
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "{parts:?}");
            assert!(parts.iter().all(|part| part.start % step == 0 || part.start == len), "{parts:?}");
        }
    }
}
