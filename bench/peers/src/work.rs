//! What is done with each side, a round at a time.

use anyhow::{Context, Result, ensure};
use pagemesh_bench::peers::Bare;

use crate::order::{Order, PAGES};
use crate::side::Side;

/// How long both count in a round.
const COUNTING_NANOS: u64 = 20_000_000;
/// Turns of each of the two in a round.
const TURNS: u64 = 64;

/// What a round has measured: nanoseconds of each thing done.
type Nanos = Vec<u64>;

/// A thing to do.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// The least that a system that asks another node by page faults and TCP can take; nothing where nobody need be asked.
    pub(crate) floor: Option<Floor>,
    /// Whether it takes a counter.
    pub(crate) counts: bool,
    pub(crate) round: fn(&mut Side, &mut Tags) -> Result<Nanos>,
}

/// What of the floor it is beside.
pub(crate) struct Floor {
    pub(crate) name: &'static str,
    pub(crate) round: fn(&mut Bare) -> Result<Nanos>,
}

const REMOTE_LOAD: Option<Floor> = Some(Floor { name: "a page by fault and TCP", round: Bare::remote_reads });

/// All of it, in the order in which it is printed.
pub(crate) const ALL: [Work; 6] = [
    Work {
        name: "read 4 KiB",
        what: "that the other has just written",
        floor: REMOTE_LOAD,
        counts: false,
        round: |side, tags| {
            let tag = tags.next();
            side.ask(1, &Order::Write { tag, pages: tags.pages() })?;
            side.ask(0, &Order::Read { tag, pages: tags.pages() })
        },
    },
    Work {
        name: "read it again",
        what: "and nobody has written",
        floor: None,
        counts: false,
        round: |side, tags| {
            let tag = tags.next();
            side.ask(1, &Order::Write { tag, pages: tags.pages() })?;
            side.ask(0, &Order::Read { tag, pages: tags.pages() })?;
            side.ask(0, &Order::Read { tag, pages: tags.pages() })
        },
    },
    Work {
        name: "write 4 KiB",
        what: "that the other has just written",
        floor: REMOTE_LOAD,
        counts: false,
        round: |side, tags| {
            side.ask(1, &Order::Write { tag: tags.next(), pages: tags.pages() })?;
            let tag = tags.next();
            let nanos = side.ask(0, &Order::Write { tag, pages: tags.pages() })?;
            side.ask(1, &Order::Read { tag, pages: tags.pages() })
                .context("of what the other has written")?;
            Ok(nanos)
        },
    },
    Work {
        name: "read 1 MiB",
        what: "in a row, that the other has just written",
        floor: Some(Floor { name: "a stream of pages", round: Bare::stream }),
        counts: false,
        round: |side, tags| {
            let tag = tags.next();
            side.ask(1, &Order::Write { tag, pages: tags.pages() })?;
            side.ask(0, &Order::Sweep { tag })
        },
    },
    Work {
        name: "add 1",
        what: "to one counter, both at a time: time that passes by additions of both",
        floor: Some(Floor { name: "64 bytes there and back by TCP", round: Bare::round_trips }),
        counts: true,
        round: |side, _| {
            let before = value(side)?;
            let order = Order::Add { nanos: COUNTING_NANOS };
            let [first, second] =
                side.both([&order, &order])?.map(|answer| <[u64; 2]>::try_from(answer).ok());
            let [passed, times] = first.context("a client has not counted")?;
            let [other_passed, other_times] = second.context("a client has not counted")?;
            counted(side, before, times + other_times)?;
            Ok(vec![passed.max(other_passed) / (times + other_times)])
        },
    },
    Work {
        name: "take turns",
        what: "each waits for the other's addition to one counter, and adds 1",
        floor: REMOTE_LOAD,
        counts: true,
        round: |side, _| {
            let before = value(side)?;
            let turns = |mine: u64| Order::Turns { parity: (before + mine) % 2, times: TURNS };
            let [first, second] = side.both([&turns(0), &turns(1)])?;
            counted(side, before, 2 * TURNS)?;
            // A turn's time is the wait for the other and one's own: half of it is a hand-over.
            Ok(first.into_iter().chain(second).map(|nanos| nanos / 2).collect())
        },
    },
];

fn value(side: &mut Side) -> Result<u64> {
    side.ask(0, &Order::Value)?.first().copied().context("the counter has no value")
}

/// No addition may be lost.
fn counted(side: &mut Side, before: u64, times: u64) -> Result<()> {
    let after = value(side)?;
    ensure!(after == before + times, "{times} additions to {before} make {after}");
    Ok(())
}

/// What pages hold, never the same twice, and in which order they are touched.
pub(crate) struct Tags {
    count: u64,
    random: u64,
}

impl Tags {
    pub(crate) fn new() -> Tags {
        Tags { count: 0, random: 0x9e37_79b9_7f4a_7c15 }
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count << 32
    }

    /// All pages, shuffled: pages in a row would be fetched ahead by us, and this is about single ones.
    fn pages(&mut self) -> Vec<usize> {
        let mut pages: Vec<usize> = (0..PAGES).collect();
        for last in (1..PAGES).rev() {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            pages.swap(last, (self.random % (last as u64 + 1)) as usize);
        }
        pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_touches_all_pages_in_another_order() {
        let mut tags = Tags::new();
        let (first, second) = (tags.pages(), tags.pages());
        assert_ne!(first, second);
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..PAGES).collect::<Vec<_>>());
        assert_ne!(tags.next(), tags.next());
    }
}
