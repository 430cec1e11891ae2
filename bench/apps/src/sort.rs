//! Bucket sort of integers. The sorted keys, changed, are the keys of the next iteration, so that no mistake is lost.
//!
//! A process has a part of the keys and some of the buckets. It counts its keys by bucket; from all counts follows where each of its keys
//! goes; then it sorts its buckets. Size: keys. An iteration is a sort.

use std::ops::{Range, RangeInclusive};

use crate::app::{App, Problem, Rank};
use crate::memory::{PAGE, Place, Plan, Shared};
use crate::numbers::{Digest, number};

/// Keys have so many bits,
const KEY_BITS: u32 = 20;
/// of which so many, the first, are the bucket.
const BUCKET_BITS: u32 = 6;
const BUCKETS: usize = 1 << BUCKET_BITS;
/// Keys that a bucket can tell apart.
const KEYS_OF_BUCKET: usize = 1 << (KEY_BITS - BUCKET_BITS);
/// Keys of a page.
const PAGE_KEYS: usize = PAGE / size_of::<u32>();

pub(crate) struct Sort {
    problem: Problem,
    keys: Place<u32>,
    /// Keys by bucket, in each bucket by process.
    by_bucket: Place<u32>,
    sorted: Place<u32>,
    /// By process, each on pages of its own, and by bucket.
    counts: Place<u32>,
}

/// A key from that of the iteration before, or from nothing.
fn key(iteration: usize, index: usize, before: u32) -> u32 {
    (number(4 + iteration as u64, index as u64 ^ (u64::from(before) << 40)) >> (64 - KEY_BITS)) as u32
}

fn bucket_of(key: u32) -> usize {
    (key >> (KEY_BITS - BUCKET_BITS)) as usize
}

/// Where each bucket begins, and where the last one ends.
fn beginnings(counts: Shared<u32>, ranks: usize) -> Vec<usize> {
    let mut beginnings = vec![0; BUCKETS + 1];
    for rank in 0..ranks {
        // SAFETY: between two barriers, nobody writes counts.
        let counts = unsafe { counts.read(counts_of(rank)) };
        counts.iter().enumerate().for_each(|(bucket, count)| beginnings[bucket + 1] += *count as usize);
    }
    for bucket in 0..BUCKETS {
        beginnings[bucket + 1] += beginnings[bucket];
    }
    beginnings
}

fn counts_of(rank: usize) -> Range<usize> {
    let start = rank * BUCKETS.next_multiple_of(PAGE_KEYS);
    start..start + BUCKETS
}

/// The keys of a bucket in their order.
fn sort_bucket(keys: &[u32], sorted: &mut [u32], counts: &mut [u32]) {
    counts.fill(0);
    keys.iter().for_each(|key| counts[*key as usize % KEYS_OF_BUCKET] += 1);
    let upper = keys.first().map_or(0, |key| bucket_of(*key) * KEYS_OF_BUCKET);
    let mut rest = sorted;
    for (lower, count) in counts.iter().enumerate() {
        let (same, after) = rest.split_at_mut(*count as usize);
        same.fill((upper + lower) as u32);
        rest = after;
    }
}

impl Sort {
    /// This process' part of the keys.
    fn own(&self, rank: &Rank) -> Range<usize> {
        rank.share(self.problem.size, PAGE_KEYS)
    }

    fn scatter(&self, rank: &Rank, keys: &[u32], beginnings: &[usize]) {
        let (counts, by_bucket) = (rank.memory.at(self.counts), rank.memory.at(self.by_bucket));
        let mut next = beginnings[..BUCKETS].to_vec();
        for before in 0..rank.number {
            // SAFETY: between two barriers, nobody writes counts.
            let counts = unsafe { counts.read(counts_of(before)) };
            next.iter_mut().zip(counts).for_each(|(next, count)| *next += *count as usize);
        }
        for key in keys {
            let to = &mut next[bucket_of(*key)];
            // SAFETY: by the counts, each process has places of its own.
            let place = unsafe { by_bucket.write(*to..*to + 1) };
            place[0] = *key;
            *to += 1;
        }
    }
}

impl App for Sort {
    const SIZES: RangeInclusive<usize> = 1..=1 << 30;

    fn plan(problem: Problem, plan: &mut Plan) -> Sort {
        let counts = plan.place(counts_of(problem.ranks).start);
        let mut place = || plan.place(problem.size);
        Sort { problem, keys: place(), by_bucket: place(), sorted: place(), counts }
    }

    fn prepare(&self, rank: &Rank) {
        let own = self.own(rank);
        let [keys, by_bucket, sorted] =
            [self.keys, self.by_bucket, self.sorted].map(|place| rank.memory.at(place));
        // SAFETY: this part is this process' until all are prepared.
        let [keys, by_bucket, sorted] =
            [keys, by_bucket, sorted].map(|all| unsafe { all.write(own.clone()) });
        keys.iter_mut().zip(own).for_each(|(to, index)| *to = key(0, index, 0));
        // Memory lies where it is touched first: of these, too, each process will have about that part.
        by_bucket.fill(0);
        sorted.fill(0);
    }

    fn run(&self, rank: &Rank) {
        let [keys, by_bucket, sorted, counts] =
            [self.keys, self.by_bucket, self.sorted, self.counts].map(|place| rank.memory.at(place));
        let own = self.own(rank);
        let mut of_bucket = vec![0; KEYS_OF_BUCKET];
        for iteration in 0..self.problem.iterations {
            // SAFETY: only this process uses its keys.
            let keys = unsafe { keys.write(own.clone()) };
            if iteration > 0 {
                // SAFETY: nobody writes what is sorted before the next barrier but one.
                let before = unsafe { sorted.read(own.clone()) };
                let changed = keys.iter_mut().zip(before).zip(own.clone());
                changed.for_each(|((to, before), index)| *to = key(iteration, index, *before));
            }
            // SAFETY: these are this process'; others read them after the barrier, and before the next.
            let own_counts = unsafe { counts.write(counts_of(rank.number)) };
            own_counts.fill(0);
            keys.iter().for_each(|key| own_counts[bucket_of(*key)] += 1);
            rank.barrier.wait();
            let beginnings = beginnings(counts, rank.ranks);
            self.scatter(rank, keys, &beginnings);
            rank.barrier.wait();
            for bucket in rank.share(BUCKETS, 1) {
                let part = beginnings[bucket]..beginnings[bucket + 1];
                // SAFETY: nobody writes to buckets before the next barrier, and the bucket's part of what is sorted is this process'.
                let (keys, sorted) = unsafe { (by_bucket.read(part.clone()), sorted.write(part)) };
                sort_bucket(keys, sorted, &mut of_bucket);
            }
            rank.barrier.wait();
        }
    }

    fn result(&self, rank: &Rank) -> u64 {
        let sorted = rank.memory.at(self.sorted);
        // SAFETY: all have run, and nobody writes any more.
        let sorted = unsafe { sorted.read(0..sorted.len()) };
        sorted.iter().map(|key| u64::from(*key)).collect::<Digest>().value()
    }

    fn alone(problem: Problem) -> u64 {
        let mut keys: Vec<u32> = (0..problem.size).map(|index| key(0, index, 0)).collect();
        keys.sort_unstable();
        for iteration in 1..problem.iterations {
            keys.iter_mut().enumerate().for_each(|(index, to)| *to = key(iteration, index, *to));
            keys.sort_unstable();
        }
        keys.iter().map(|key| u64::from(*key)).collect::<Digest>().value()
    }
}
