//! Litmus tests: small programs whose outcome tells whether memory is sequentially consistent (Alglave, Maranget and
//! others, "Herding cats", 2014, has the names). One process for each thread of the test.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use pagemesh::Region;

use crate::arena::Arena;
use crate::number;

/// One access: to variable 0 or 1.
#[derive(Clone, Copy)]
enum Step {
    Store(usize, u64),
    Load(usize),
}

use Step::{Load, Store};

struct Litmus {
    name: &'static str,
    threads: &'static [&'static [Step]],
    /// Whether what the threads loaded, in order, and the variables' last values are forbidden.
    forbidden: fn(&[Vec<u64>], [u64; 2]) -> bool,
}

const TESTS: [Litmus; 6] = [
    Litmus {
        name: "SB",
        threads: &[&[Store(0, 1), Load(1)], &[Store(1, 1), Load(0)]],
        forbidden: |loaded, _| loaded[0][0] == 0 && loaded[1][0] == 0,
    },
    Litmus {
        name: "MP",
        threads: &[&[Store(0, 1), Store(1, 1)], &[Load(1), Load(0)]],
        forbidden: |loaded, _| loaded[1] == [1, 0],
    },
    Litmus {
        name: "LB",
        threads: &[&[Load(0), Store(1, 1)], &[Load(1), Store(0, 1)]],
        forbidden: |loaded, _| loaded[0][0] == 1 && loaded[1][0] == 1,
    },
    Litmus {
        name: "IRIW",
        threads: &[&[Store(0, 1)], &[Store(1, 1)], &[Load(0), Load(1)], &[Load(1), Load(0)]],
        forbidden: |loaded, _| loaded[2] == [1, 0] && loaded[3] == [1, 0],
    },
    Litmus {
        name: "CoRR",
        threads: &[&[Store(0, 1), Store(0, 2)], &[Load(0), Load(0)], &[Load(0), Load(0)]],
        forbidden: |loaded, last| loaded[1][0] > loaded[1][1] || loaded[2][0] > loaded[2][1] || last[0] != 2,
    },
    Litmus {
        name: "2+2W",
        threads: &[&[Store(0, 1), Store(1, 2)], &[Store(1, 1), Store(0, 2)]],
        forbidden: |_, last| last == [1, 1],
    },
];

/// Where the arena keeps things: word 0 is the meeting's, then the count of forbidden outcomes and of different ones.
const FORBIDDEN: usize = 1;
const OUTCOMES: usize = 2;
const LOADED: usize = 16;

/// `litmus SOCKET REGION TEST THREAD ROUNDS SECOND ARENA`: thread number `THREAD` of `TEST`, with the variables at words
/// 0 and `SECOND` of the region.
pub(crate) fn run(region: &Region, args: &[String]) -> Result<(), String> {
    let test = TESTS
        .iter()
        .find(|t| Some(t.name) == args.first().map(String::as_str))
        .ok_or("no such litmus test")?;
    let (thread, rounds, second): (usize, u64, usize) =
        (number(args, 1)?, number(args, 2)?, number(args, 3)?);
    let arena = Arena::open(args.get(4).ok_or("no arena")?)?;
    let variables = [&region.words()[0], &region.words()[second]];
    let (threads, mut meetings, mut chance) = (test.threads.len() as u64, 0, thread as u64 + 1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..rounds {
        if thread == 0 {
            variables.iter().for_each(|v| v.store(0, SeqCst));
        }
        arena.meet(threads, &mut meetings);
        // A different start every time, so that the threads meet in different places.
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (0..(chance >> 33) % 2_000).for_each(|_| std::hint::spin_loop());
        execute(test.threads[thread], &variables, |at, value| {
            arena.word(LOADED + thread * 8 + at).store(value, SeqCst);
        });
        arena.meet(threads, &mut meetings);
        if thread == 0 {
            let last = [variables[0].load(SeqCst), variables[1].load(SeqCst)];
            let loaded = |t: usize| {
                (0..loads(test.threads[t])).map(|at| arena.word(LOADED + t * 8 + at).load(SeqCst)).collect()
            };
            let loaded: Vec<Vec<u64>> = (0..test.threads.len()).map(loaded).collect();
            arena.word(FORBIDDEN).fetch_add(u64::from((test.forbidden)(&loaded, last)), SeqCst);
            seen.insert((loaded, last));
        }
        arena.meet(threads, &mut meetings);
    }
    if thread == 0 {
        arena.word(OUTCOMES).store(seen.len() as u64, SeqCst);
    }
    Ok(())
}

fn loads(steps: &[Step]) -> usize {
    steps.iter().filter(|s| matches!(s, Load(_))).count()
}

fn execute(steps: &[Step], variables: &[&AtomicU64; 2], mut loaded: impl FnMut(usize, u64)) {
    let mut results = [0; 4];
    let mut count = 0;
    for step in steps {
        match *step {
            Store(variable, value) => variables[variable].store(value, SeqCst),
            Load(variable) => {
                results[count] = variables[variable].load(SeqCst);
                count += 1;
            }
        }
    }
    // Told afterwards, so that nothing stands between the accesses.
    results[..count].iter().enumerate().for_each(|(at, value)| loaded(at, *value));
}
