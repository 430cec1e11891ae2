//! Random operations on a few words, written down with the times at which each began and ended.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::SeqCst;

use pagemesh::Region;

use crate::arena::Arena;
use crate::number;

/// `history SOCKET REGION WORKER WORKERS ROUNDS OPERATIONS STRIDE ARENA OUTPUT`: in each round, `OPERATIONS` operations on
/// words that lie `STRIDE` words apart. A line of the output is
/// `round word begin end kind argument argument result`.
pub(crate) fn run(region: &Region, args: &[String]) -> Result<(), String> {
    let (worker, workers): (u64, u64) = (number(args, 0)?, number(args, 1)?);
    let (rounds, operations, stride): (u64, u64, usize) =
        (number(args, 2)?, number(args, 3)?, number(args, 4)?);
    let arena = Arena::open(args.get(5).ok_or("no arena")?)?;
    let output = args.get(6).ok_or("no output file")?;
    let (mut meetings, mut random, mut lines) = (0, worker * 7_919 + 1, String::new());
    let mut next = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    for round in 0..rounds {
        // Words that no round used before: each begins as zero.
        let word = |which: u64| &region.words()[(round % 8 * 4 + which) as usize * stride];
        if worker == 0 {
            (0..4).for_each(|which| word(which).store(0, SeqCst));
        }
        arena.meet(workers, &mut meetings);
        for _ in 0..operations {
            let (which, kind, a, b) = (next(4), next(4), next(4), next(4));
            let word = word(which);
            let begin = nanos();
            let (kind, result) = match kind {
                0 => ("load", word.load(SeqCst)),
                1 => {
                    word.store(a, SeqCst);
                    ("store", 0)
                }
                2 => ("cas", word.compare_exchange(a, b, SeqCst, SeqCst).unwrap_or_else(|was| was)),
                _ => ("add", word.fetch_add(a, SeqCst)),
            };
            let end = nanos();
            writeln!(lines, "{round} {which} {begin} {end} {kind} {a} {b} {result}")
                .map_err(|e| e.to_string())?;
        }
        arena.meet(workers, &mut meetings);
    }
    std::fs::write(output, lines).map_err(|e| format!("{output}: {e}"))
}

/// The machine's monotonic clock, which all processes share.
fn nanos() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
