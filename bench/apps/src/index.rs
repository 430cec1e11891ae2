//! An index that all processes look up and change: a hash table with open addressing, of pairs of words and without locks.
//!
//! Of 100 operations, 95 look up a key that is there from the beginning, the others by turns insert a key and add to the value of one.
//! Operations do not depend on their order, so the contents at the end do not either. Size: keys at the beginning. An iteration is an operation.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use crate::app::{App, Problem, Rank};
use crate::memory::{PAGE, Place, Plan, Shared};
use crate::numbers::{mix, number};

/// Of 100 operations, so many look up.
const LOOK_UPS: u64 = 95;
/// Each slot has a key, which is not 0, and its value.
const SLOT_WORDS: usize = 2;
/// Slots of a page.
const PAGE_SLOTS: usize = PAGE / (SLOT_WORDS * size_of::<u64>());
/// What is added to a value: its lower half never changes, and tells whose it is.
const ADDED: u64 = 1 << 32;

pub(crate) struct Index {
    problem: Problem,
    slots: Place<u64>,
}

/// The `index`th key.
fn key(index: usize) -> u64 {
    mix(index as u64 + 1)
}

/// The value that a key begins with. Not 0.
fn first_value(key: u64) -> u64 {
    mix(key.rotate_left(32)) & (ADDED - 1) | 1
}

/// What is done to the index.
enum Operation {
    LookUp(u64),
    Insert(u64),
    Add(u64),
}

/// The `index`th operation.
fn operation(size: usize, index: usize) -> Operation {
    let random = number(6, index as u64);
    let any = || key((mix(random) % size as u64) as usize);
    match random % 100 {
        look_up if look_up < LOOK_UPS => Operation::LookUp(any()),
        _ if index.is_multiple_of(2) => Operation::Insert(key(size + index)),
        _ => Operation::Add(any()),
    }
}

/// What is left of the contents, in whatever order.
fn digest(pairs: impl Iterator<Item = (u64, u64)>) -> u64 {
    pairs.fold(0, |sum, (key, value)| sum.wrapping_add(mix(key ^ mix(value))))
}

struct Table(Shared<u64>);

impl Table {
    fn slots(&self) -> usize {
        self.0.len() / SLOT_WORDS
    }

    /// Where the search for a key begins. Keys are scattered by how they are made.
    fn first_slot(&self, key: u64) -> usize {
        ((u128::from(key) * self.slots() as u128) >> 64) as usize
    }

    /// Slots in the order in which a key is searched.
    fn search(&self, key: u64) -> impl Iterator<Item = usize> {
        let (first, slots) = (self.first_slot(key), self.slots());
        (0..slots).map(move |step| SLOT_WORDS * ((first + step) % slots))
    }

    fn look_up(&self, key: u64) -> Option<u64> {
        for at in self.search(key) {
            match self.0.word(at).load(Ordering::Acquire) {
                // A key comes before its value.
                there if there == key => {
                    return Some(self.0.word(at + 1).load(Ordering::Acquire)).filter(|value| *value != 0);
                }
                0 => return None,
                _ => {}
            }
        }
        None
    }

    /// Adds to the value of a key, which is 0 if the key is not there yet.
    fn add(&self, key: u64, added: u64) {
        for at in self.search(key) {
            let slot = self.0.word(at);
            let mut there = slot.load(Ordering::Acquire);
            if there == 0 {
                let free = slot.compare_exchange(0, key, Ordering::AcqRel, Ordering::Acquire);
                there = free.map_or_else(|other| other, |_| key);
            }
            if there == key {
                self.0.word(at + 1).fetch_add(added, Ordering::AcqRel);
                return;
            }
        }
        panic!("the table is full");
    }

    fn perform(&self, operation: &Operation) {
        match *operation {
            Operation::LookUp(key) => {
                let value = self.look_up(key).expect("a key that was there has gone");
                assert_eq!(value % ADDED, first_value(key), "the value of another key");
            }
            Operation::Insert(key) => self.add(key, first_value(key)),
            Operation::Add(key) => self.add(key, ADDED),
        }
    }
}

impl App for Index {
    const SIZES: RangeInclusive<usize> = 1..=1 << 28;

    fn plan(problem: Problem, plan: &mut Plan) -> Index {
        // Half of the slots stay free, so that searches are short.
        let slots = 2 * (problem.size + problem.iterations).next_multiple_of(PAGE_SLOTS);
        Index { problem, slots: plan.place(SLOT_WORDS * slots) }
    }

    fn prepare(&self, rank: &Rank) {
        let table = Table(rank.memory.at(self.slots));
        // Each process fills a part of the table, not the keys that happen to be its share: two that fill one page would
        // take it from each other for each key.
        let own = rank.share(table.slots(), PAGE_SLOTS);
        let words = SLOT_WORDS * own.start..SLOT_WORDS * own.end;
        // SAFETY: this part is this process' until all have come to the barrier.
        unsafe { table.0.write(words) }.fill(0);
        rank.barrier.wait();
        for key in (0..self.problem.size).map(key).filter(|key| own.contains(&table.first_slot(*key))) {
            table.add(key, first_value(key));
        }
        rank.barrier.wait();
        // An index that has been used for a while: every process has read all of it.
        (0..table.slots()).step_by(PAGE_SLOTS).for_each(|slot| {
            table.0.word(SLOT_WORDS * slot).load(Ordering::Relaxed);
        });
    }

    fn run(&self, rank: &Rank) {
        let table = Table(rank.memory.at(self.slots));
        rank.share(self.problem.iterations, 1)
            .for_each(|index| table.perform(&operation(self.problem.size, index)));
        rank.barrier.wait();
    }

    fn result(&self, rank: &Rank) -> u64 {
        let words = rank.memory.at(self.slots);
        // SAFETY: all have run, and nobody writes any more.
        let words = unsafe { words.read(0..words.len()) };
        let pairs = words.as_chunks::<SLOT_WORDS>().0.iter().map(|[key, value]| (*key, *value));
        digest(pairs.filter(|(key, _)| *key != 0))
    }

    fn alone(problem: Problem) -> u64 {
        let mut index: HashMap<u64, u64> =
            (0..problem.size).map(key).map(|key| (key, first_value(key))).collect();
        for number in 0..problem.iterations {
            match operation(problem.size, number) {
                Operation::LookUp(key) => assert!(index.contains_key(&key), "a key that was there has gone"),
                Operation::Insert(key) => *index.entry(key).or_default() += first_value(key),
                Operation::Add(key) => *index.entry(key).or_default() += ADDED,
            }
        }
        digest(index.into_iter())
    }
}
