use std::collections::BTreeSet;

use super::*;

/// Lets a program touch pages that are mapped when they were asked for and are no mark. Returns its faults and what was asked for.
fn run(streams: &mut Streams, touched: impl IntoIterator<Item = u64>, write: bool) -> (u64, u64) {
    let (mut mapped, mut faults, mut asked) = (BTreeSet::new(), 0, 0);
    for page in touched {
        if mapped.contains(&page) {
            continue;
        }
        mapped.insert(page);
        faults += 1;
        if let Some(window) = streams.fault(page, write) {
            asked += window.count;
            mapped.extend(window.pages().skip(1));
        }
    }
    (faults, asked)
}

#[test]
fn a_stream_costs_a_fault_for_each_window() {
    for step in [1_i64, -1, 2, -7, 100] {
        let at = |n: u64| 1_000_000_u64.strict_add_signed(step * n.cast_signed());
        let mut streams = Streams::new(64);
        let (faults, asked) = run(&mut streams, (0..10_000).map(at), false);
        // Some until windows are as long as they may be.
        assert!(faults < 40 + 10_000 / 64, "{faults} faults at steps of {step}");
        assert!(asked < 10_000 + 2 * 64, "{asked} asked for at steps of {step}");
    }
}

#[test]
fn windows_follow_one_another_without_a_gap_and_say_whether_to_write() {
    let mut streams = Streams::new(64);
    assert_eq!(streams.fault(10, true), None);
    assert_eq!(streams.fault(11, true), None);
    let window = |first, count| Some(Window { first, step: 1, count, access: Access::Write });
    assert_eq!(streams.fault(12, true), window(13, 2));
    assert_eq!(streams.fault(13, true), window(15, 3));
    // Not the mark: it had not come yet.
    assert_eq!(streams.fault(14, true), None);
    assert_eq!(streams.fault(15, true), window(18, 5));
    // Beyond the mark.
    assert_eq!(streams.fault(20, true), window(23, 10));
    assert_eq!(streams.outcome(), Outcome { used: 8, wasted: 0 });
}

#[test]
fn a_store_behind_each_load_makes_a_stream_of_stores() {
    let mut streams = Streams::new(64);
    for page in 0..2 {
        assert_eq!(streams.fault(page, false), None);
        assert_eq!(streams.fault(page, true), None);
    }
    let window = |first, count| Some(Window { first, step: 1, count, access: Access::Write });
    assert_eq!(streams.fault(2, false), window(3, 2));
    assert_eq!(streams.fault(2, true), None);
    // These come so that they can be written: a load is all that is seen of them.
    assert_eq!(streams.fault(3, false), window(5, 3));
}

#[test]
fn several_streams_are_followed_at_once() {
    let mut streams = Streams::new(64);
    let starts = [0_u64, 1 << 20, 1 << 30, 1 << 40];
    let touched = (0..2_000).flat_map(|n| {
        starts
            .iter()
            .enumerate()
            .map(move |(at, start)| if at % 2 == 0 { start + n } else { start + 1_000_000 - n })
    });
    let (faults, _) = run(&mut streams, touched, false);
    assert!(faults < 4 * (40 + 2_000 / 64), "{faults} faults");
}

#[test]
fn random_pages_cause_next_to_nothing() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let random = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % 65_536
    });
    let mut streams = Streams::new(256);
    let (faults, asked) = run(&mut streams, random.take(20_000), false);
    assert!(asked * 50 < faults, "{asked} pages asked for by {faults} faults");
}

#[test]
fn what_is_never_reached_is_bounded_by_what_is() {
    for len in [3, 4, 5, 8, 20, 100] {
        let mut streams = Streams::new(256);
        // Rows of `len` pages far from one another.
        let rows = (0..400_u64).flat_map(|row| (0..len).map(move |page| row * 1_000_000 + page));
        let (faults, asked) = run(&mut streams, rows, false);
        streams.end_all();
        let Outcome { used, wasted } = streams.outcome();
        assert_eq!(used + wasted, asked);
        assert!(wasted <= 200 * len + 100, "{len} in a row: {used} used, {wasted} wasted, {faults} faults");
    }
}

#[test]
fn what_was_not_asked_for_is_no_waste() {
    let mut streams = Streams::new(128);
    // Sweeps of all that there is.
    for _ in 0..50 {
        let mut mapped = BTreeSet::new();
        for page in 0..64 {
            if !mapped.insert(page) {
                continue;
            }
            if let Some(window) = streams.fault(page, false) {
                let and_one = Window { count: window.count + 1, ..window };
                let there = and_one.pages().take_while(|page| *page < 64).count() as u64;
                if there <= window.count {
                    streams.cut(window, there);
                }
                mapped.extend(window.pages().take(there as usize).skip(1));
            }
        }
    }
    assert_eq!((streams.outcome().wasted, streams.needed), (0, NEEDED_MIN));
}

#[test]
fn who_looks_around_beside_a_stream_does_not_end_it() {
    let mut streams = Streams::new(64);
    let mut mapped = BTreeSet::new();
    let mut faults = 0;
    for page in 0..10_000_u64 {
        // Another thread, ahead of it.
        streams.fault(1_000_000 + page * 7_919 % 50_000 * 200, false);
        if !mapped.contains(&page) {
            faults += 1;
            let window = streams.fault(page, false);
            mapped.extend(window.into_iter().flat_map(|window| window.pages().skip(1)));
        }
    }
    assert!(faults < 10_000 / 4, "{faults} faults");
}

#[test]
fn many_short_rows_are_learnt_to_be_short() {
    let mut streams = Streams::new(128);
    // The edge of a neighbour's part of a grid, sweep after sweep.
    let mut asked = 0;
    for _ in 0..100 {
        for first in [1_000, 9_000] {
            asked += run(&mut streams, first..first + 4, false).1;
        }
    }
    assert!(asked < 40, "{asked} pages asked for beside 800 that were touched");
    // And a long one is seen all the same.
    let (faults, _) = run(&mut streams, 50_000..60_000, false);
    assert!(faults < 10_000 / 32, "{faults} faults");
}

#[test]
fn waste_makes_windows_smaller_and_use_makes_them_larger_again() {
    let mut streams = Streams::new(64);
    run(&mut streams, 0..2_000, false);
    assert_eq!(streams.limit, 64);
    for row in 1..200_u64 {
        run(&mut streams, (0..3).map(|page| row * 1_000_000 + page), false);
    }
    assert!(streams.limit < 64 && streams.needed > NEEDED_MIN);
    run(&mut streams, 1 << 40..(1 << 40) + 2_000, false);
    assert_eq!((streams.limit, streams.needed), (64, NEEDED_MIN));
}

#[test]
fn switched_off_it_asks_for_nothing() {
    let mut streams = Streams::new(0);
    assert_eq!(run(&mut streams, 0..100, true), (100, 0));
}

#[test]
fn the_ends_of_the_numbers_are_no_trouble() {
    let mut streams = Streams::new(64);
    for page in [u64::MAX - 2, u64::MAX - 1, u64::MAX, 0, 1, 2, 3] {
        if let Some(window) = streams.fault(page, false) {
            window.pages().count();
        }
    }
    let mut streams = Streams::new(64);
    for page in [2, 1, 0] {
        let window = streams.fault(page, false);
        assert!(window.is_none_or(|window| window.pages().count() <= 2));
    }
}
