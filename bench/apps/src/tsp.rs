//! The shortest round trip through all cities, by branch and bound.
//!
//! The first two steps of a trip are a task. A process takes one task after the other, and gives up a branch as soon as its bound
//! exceeds the shortest trip that anybody has found: a word that all read all the time, and few write. Size: cities. An iteration
//! is the search through another country.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::app::{App, Problem, Rank};
use crate::memory::{Place, Plan, Shared};
use crate::numbers::{Digest, fraction, number};
use crate::sync::{PAGE_WORDS, locked};

/// Side of a country.
const SIDE: f64 = 1e6;
/// Pages of [`Tsp::trips`] of a country: the next task; the length of the shortest trip; the lock of both it and the trip, and the trip.
const TRIP_PAGES: usize = 3;
const LENGTH: usize = PAGE_WORDS;
const LOCK: usize = 2 * PAGE_WORDS;
const TRIP: usize = LOCK + 1;

pub(crate) struct Tsp {
    problem: Problem,
    /// Distances in each country, city by city.
    distances: Place<u32>,
    trips: Place<u64>,
}

/// All distances in a country.
fn distances(cities: usize, country: usize) -> Vec<u32> {
    let coordinate = |index: usize| SIDE * fraction(number(5 + country as u64, index as u64));
    let distance = |from: usize, to: usize| {
        let [x, y] = [0, 1].map(|axis| coordinate(2 * from + axis) - coordinate(2 * to + axis));
        x.hypot(y).round() as u32
    };
    (0..cities * cities).map(|index| distance(index / cities, index % cities)).collect()
}

/// A country as the search needs it.
struct Country<'a> {
    cities: usize,
    distances: &'a [u32],
    /// Of each city, the others, nearest first.
    neighbours: Vec<Vec<usize>>,
    /// Of each city, the two shortest ways.
    ways: Vec<[u64; 2]>,
}

impl Country<'_> {
    fn new(cities: usize, distances: &[u32]) -> Country<'_> {
        let neighbours = |city: usize| {
            let mut others: Vec<usize> = (0..cities).filter(|other| *other != city).collect();
            others.sort_by_key(|other| (distances[city * cities + other], *other));
            others
        };
        let neighbours: Vec<Vec<usize>> = (0..cities).map(neighbours).collect();
        let way = |city: usize, nth: usize| u64::from(distances[city * cities + neighbours[city][nth]]);
        let ways = (0..cities).map(|city| [way(city, 0), way(city, 1)]).collect();
        Country { cities, distances, neighbours, ways }
    }

    fn distance(&self, from: usize, to: usize) -> u64 {
        u64::from(self.distances[from * self.cities + to])
    }

    /// How many tasks there are.
    fn tasks(&self) -> usize {
        (self.cities - 1) * (self.cities - 2)
    }
}

/// The shortest trip that is known, where all processes find it.
struct Shortest<'a> {
    length: &'a AtomicU64,
    lock: &'a AtomicU64,
    trip: Vec<&'a AtomicU64>,
}

impl Shortest<'_> {
    fn of(trips: Shared<u64>, cities: usize, country: usize) -> Shortest<'static> {
        let first = country * TRIP_PAGES * PAGE_WORDS;
        let word = |index: usize| trips.word(first + index);
        Shortest {
            length: word(LENGTH),
            lock: word(LOCK),
            trip: (0..cities).map(|at| word(TRIP + at)).collect(),
        }
    }

    /// Enters a trip unless another is shorter. Of two that are as long, the one whose cities come first stays, so that the result does
    /// not depend on who was first.
    fn enter(&self, length: u64, trip: &[usize]) {
        locked(self.lock, || {
            let known = self.length.load(Ordering::Relaxed);
            let comes_first = || {
                let known = self.trip.iter().map(|city| city.load(Ordering::Relaxed));
                trip.iter().map(|city| *city as u64).lt(known)
            };
            if length < known || length == known && comes_first() {
                self.trip.iter().zip(trip).for_each(|(to, city)| to.store(*city as u64, Ordering::Relaxed));
                self.length.store(length, Ordering::Relaxed);
            }
        });
    }
}

/// A branch: the beginning of a trip.
struct Branch<'a> {
    country: &'a Country<'a>,
    shortest: &'a Shortest<'a>,
    trip: Vec<usize>,
    visited: u32,
}

impl Branch<'_> {
    /// Searches one task.
    fn search_task(&mut self, task: usize) {
        let cities = self.country.cities;
        let second = self.country.neighbours[0][task / (cities - 2)];
        let mut thirds = self.country.neighbours[second].iter().filter(|city| **city != 0);
        let third = *thirds.nth(task % (cities - 2)).expect("as many as there are tasks");
        // Twice what the ways from and to the cities that are not visited yet take at least, and from and to both ends.
        let mut rest: u64 = self.country.ways.iter().map(|[a, b]| a + b).sum();
        rest -= self.country.ways[0][1];
        (self.trip, self.visited) = (vec![0], 1);
        let to_second = self.step(second, 0, &mut rest);
        let to_third = to_second.and_then(|length| self.step(third, length, &mut rest));
        if let Some(length) = to_third {
            self.search(length, rest);
        }
    }

    /// Goes on to a city, and returns the length until there. Each trip has a reverse: only the one that visits city 1 before city 2
    /// is looked at.
    fn step(&mut self, city: usize, length: u64, rest: &mut u64) -> Option<u64> {
        let last = *self.trip.last().expect("it begins somewhere");
        if city == 2 && self.visited & 0b10 == 0 {
            return None;
        }
        *rest -= self.country.ways[last][0] + self.country.ways[city][1];
        self.trip.push(city);
        self.visited |= 1 << city;
        Some(length + self.country.distance(last, city))
    }

    fn search(&mut self, length: u64, rest: u64) {
        let country = self.country;
        let last = *self.trip.last().expect("it begins somewhere");
        if self.trip.len() == country.cities {
            return self.shortest.enter(length + country.distance(last, 0), &self.trip);
        }
        for city in &country.neighbours[last] {
            if self.visited & (1 << city) != 0 {
                continue;
            }
            let mut rest = rest;
            let Some(length) = self.step(*city, length, &mut rest) else { continue };
            // What is as long may come first: only what is longer is given up.
            if 2 * length + rest <= self.shortest.length.load(Ordering::Relaxed).saturating_mul(2) {
                self.search(length, rest);
            }
            self.trip.pop();
            self.visited &= !(1 << city);
        }
    }
}

/// The length of the shortest trip by another way: Held and Karp's. Of each set of cities that ends in each of them, the shortest path.
fn shortest_length(country: &Country<'_>) -> u64 {
    let others = country.cities - 1;
    let mut lengths = vec![u64::MAX; others << others];
    (0..others).for_each(|city| lengths[(1 << city) * others + city] = country.distance(0, city + 1));
    for set in 1_usize..1 << others {
        for last in (0..others).filter(|last| set & 1 << last != 0) {
            let length = lengths[set * others + last];
            for next in (0..others).filter(|next| set & 1 << next == 0) {
                let longer = length.saturating_add(country.distance(last + 1, next + 1));
                let known = &mut lengths[(set | 1 << next) * others + next];
                *known = longer.min(*known);
            }
        }
    }
    let all = &lengths[((1 << others) - 1) * others..];
    let trips = all.iter().enumerate().map(|(last, length)| length + country.distance(last + 1, 0));
    trips.min().expect("there are others")
}

/// Length and cities of a trip, which must visit each city once and be as long as it says.
fn digest_of(country: &Country<'_>, length: u64, trip: &[usize], digest: &mut Digest) {
    let mut visited = trip.to_vec();
    visited.sort_unstable();
    assert!(visited.into_iter().eq(0..country.cities), "not a round trip: {trip:?}");
    let ways = trip.iter().zip(trip[1..].iter().chain(&trip[..1]));
    let whole: u64 = ways.map(|(from, to)| country.distance(*from, *to)).sum();
    assert_eq!(whole, length, "the length of another trip than {trip:?}");
    digest.add(length);
    trip.iter().for_each(|city| digest.add(*city as u64));
}

impl Tsp {
    /// Reads a country's distances.
    fn distances_of(&self, distances: Shared<u32>, country: usize) -> &'static [u32] {
        let all = self.problem.size * self.problem.size;
        // SAFETY: nobody writes distances once all are prepared.
        unsafe { distances.read(country * all..(country + 1) * all) }
    }
}

impl App for Tsp {
    const SIZES: RangeInclusive<usize> = 4..=20;

    fn plan(problem: Problem, plan: &mut Plan) -> Tsp {
        let distances = plan.place(problem.iterations * problem.size * problem.size);
        Tsp { problem, distances, trips: plan.place(problem.iterations * TRIP_PAGES * PAGE_WORDS) }
    }

    fn prepare(&self, rank: &Rank) {
        if rank.number > 0 {
            return;
        }
        let size = self.problem.size;
        let (memory, trips) = (rank.memory.at(self.distances), rank.memory.at(self.trips));
        for country in 0..self.problem.iterations {
            // SAFETY: this process alone writes them, and nobody reads before all are prepared.
            let to = unsafe { memory.write(country * size * size..(country + 1) * size * size) };
            to.copy_from_slice(&distances(size, country));
            trips.word(country * TRIP_PAGES * PAGE_WORDS).store(0, Ordering::Relaxed);
            let shortest = Shortest::of(trips, size, country);
            shortest.lock.store(0, Ordering::Relaxed);
            shortest.length.store(u64::MAX, Ordering::Relaxed);
        }
    }

    fn run(&self, rank: &Rank) {
        let (memory, trips) = (rank.memory.at(self.distances), rank.memory.at(self.trips));
        for number in 0..self.problem.iterations {
            let country = Country::new(self.problem.size, self.distances_of(memory, number));
            let shortest = Shortest::of(trips, self.problem.size, number);
            let next_task = trips.word(number * TRIP_PAGES * PAGE_WORDS);
            let mut branch = Branch { country: &country, shortest: &shortest, trip: vec![], visited: 0 };
            loop {
                let task = next_task.fetch_add(1, Ordering::Relaxed) as usize;
                if task >= country.tasks() {
                    break;
                }
                branch.search_task(task);
            }
            rank.barrier.wait();
        }
    }

    fn result(&self, rank: &Rank) -> u64 {
        let (memory, trips) = (rank.memory.at(self.distances), rank.memory.at(self.trips));
        let mut digest = Digest::default();
        for number in 0..self.problem.iterations {
            let country = Country::new(self.problem.size, self.distances_of(memory, number));
            let shortest = Shortest::of(trips, self.problem.size, number);
            let trip = shortest.trip.iter().map(|city| city.load(Ordering::Relaxed) as usize);
            let length = shortest.length.load(Ordering::Relaxed);
            digest_of(&country, length, &trip.collect::<Vec<_>>(), &mut digest);
        }
        digest.value()
    }

    fn alone(problem: Problem) -> u64 {
        let mut digest = Digest::default();
        for number in 0..problem.iterations {
            let distances = distances(problem.size, number);
            let country = Country::new(problem.size, &distances);
            let words: Vec<AtomicU64> = (0..problem.size + 2).map(|_| AtomicU64::new(0)).collect();
            words[0].store(u64::MAX, Ordering::Relaxed);
            let shortest = Shortest { length: &words[0], lock: &words[1], trip: words[2..].iter().collect() };
            let mut branch = Branch { country: &country, shortest: &shortest, trip: vec![], visited: 0 };
            (0..country.tasks()).for_each(|task| branch.search_task(task));
            let length = words[0].load(Ordering::Relaxed);
            assert_eq!(length, shortest_length(&country), "branch and bound has missed the shortest trip");
            let trip = shortest.trip.iter().map(|city| city.load(Ordering::Relaxed) as usize);
            digest_of(&country, length, &trip.collect::<Vec<_>>(), &mut digest);
        }
        digest.value()
    }
}
