//! Sees in the faults of one attachment where its program goes next.
//!
//! A stream is a row of pages at equal distances, forwards or backwards; a program can follow several at once, as a matrix
//! multiplication does. Two equal steps in a row make one. From then on a window of pages ahead is asked for before the program
//! needs them. The first page of a window is the *mark*: it is asked for too, but not mapped, so that the program's fault on it
//! says that the stream goes on, and the next window is asked for while the program works through this one (the mark of Linux'
//! own read-ahead, `mm/readahead.c`). So in the steady state a window costs one fault.
//!
//! A window is as long as the stream was so far, so that what was asked for and is never reached, the waste, is at most twice what was
//! touched. A stream that ends with much waste makes the attachment's windows shorter, and lets later streams be longer before
//! anything is asked for; a long one undoes that. So a program that reads many short rows pays for the first of them only.

use pagemesh_protocol::Access;

/// Streams that are followed at once. Two operands and a result, for each of two threads, and some stray faults between.
const STREAMS: usize = 8;
/// The smallest window.
const WINDOW_MIN: u64 = 2;
/// Steps of a stream before anything is asked for, at least and at most.
const NEEDED_MIN: u64 = 2;
const NEEDED_MAX: u64 = 64;
/// Windows' worth of use in one stream that makes windows longer.
const LONG: u64 = 8;
/// Faults elsewhere after which a stream may have ended.
const RESTED: u64 = 3;
/// Faults elsewhere for which a stream is remembered, if others can be forgotten.
const KEPT: u64 = 1024;
/// The longest step that begins a stream: a row of a matrix of doubles with 64 Ki columns, at 4 KiB pages.
const STEP_MAX: u64 = 128;

/// Pages to be asked for, in order; the first of them is the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) struct Window {
    pub(in crate::shard) first: u64,
    pub(in crate::shard) step: i64,
    pub(in crate::shard) count: u64,
    pub(in crate::shard) access: Access,
}

impl Window {
    /// The page's position in it.
    pub(super) fn position(&self, page: u64) -> Option<u64> {
        steps(self.first, page, self.step).filter(|position| *position < self.count)
    }

    /// Its pages. One that numbers do not reach ends it.
    pub(in crate::shard) fn pages(self) -> impl Iterator<Item = u64> {
        (0..self.count)
            .map_while(move |at| self.first.checked_add_signed(self.step.checked_mul(at.cast_signed())?))
    }
}

/// Pages that were asked for, and have been reached or never will be, since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Pages that the program has reached.
    pub used: u64,
    /// Pages that it never will.
    pub wasted: u64,
}

/// The streams of one attachment.
#[derive(Debug)]
pub(in crate::shard) struct Streams {
    streams: [Stream; STREAMS],
    /// Faults so far: the time by which the stream is found that rested longest.
    now: u64,
    /// Pages that a window may have at most, by what the last ones were good for; and ever.
    limit: u64,
    limit_max: u64,
    /// Steps of a stream before anything is asked for.
    needed: u64,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// When it was touched last; 0 if never.
    at: u64,
    /// The page of the last fault.
    last: u64,
    /// Pages from one to the next; 0 while there has been one fault only.
    step: i64,
    /// The last page was stored to.
    wrote: bool,
    /// What was asked for last was asked for to be written. Then nothing more is seen of stores.
    writes: bool,
    /// Steps from `last` that have been asked for.
    asked: u64,
    /// Steps from `last` to the mark of the window that was asked for last.
    mark: u64,
    /// What it has asked for last was cut short.
    is_cut: bool,
    /// Pages behind the first that it has gone.
    gone: u64,
    /// Of those, pages that had been asked for.
    used: u64,
}

impl Stream {
    /// Whether a page lies where it has come along.
    fn has_passed(&self, page: u64) -> bool {
        let back = self.last.wrapping_sub(page).cast_signed();
        (back < 0) == (self.step < 0)
            && back.unsigned_abs() <= self.gone.saturating_mul(self.step.unsigned_abs())
    }
}

impl Streams {
    /// With windows of at most `limit` pages; 0 asks for nothing ever.
    pub(in crate::shard) fn new(limit: u64) -> Streams {
        Streams {
            streams: [Stream::default(); STREAMS],
            now: 0,
            limit: limit.min(WINDOW_MIN.max(limit / 4)),
            limit_max: limit,
            needed: NEEDED_MIN,
            outcome: Outcome::default(),
        }
    }

    /// A fault: returns what to ask for ahead.
    pub(in crate::shard) fn fault(&mut self, page: u64, write: bool) -> Option<Window> {
        if self.limit_max == 0 {
            return None;
        }
        self.now += 1;
        let now = self.now;
        let goes_on = |stream: &Stream| {
            steps(stream.last, page, stream.step).is_some_and(|k| (1..=stream.asked.max(1)).contains(&k))
        };
        // Of several the one that was seen last: others rest where this one goes now.
        let known =
            |(_, stream): &(usize, &Stream)| stream.at > 0 && (stream.last == page || goes_on(stream));
        let known = self.streams.iter().enumerate().filter(known).max_by_key(|(_, stream)| stream.at);
        if let Some((at, known)) = known {
            if known.last != page {
                return self.go_on(at, page, write);
            }
            // The same page again: a signal, another thread, or a store behind a load.
            let stream = &mut self.streams[at];
            stream.wrote |= write;
            stream.at = now;
            return None;
        }
        // Who begins anew where a stream has been has left it.
        let left = |stream: &Stream| stream.asked > 0 && stream.at + RESTED < now && stream.has_passed(page);
        if let Some(at) = self.streams.iter().position(left) {
            self.end(at);
        }
        // The second fault of a stream says how far its steps are.
        let near =
            |stream: &Stream| stream.at > 0 && stream.gone <= 1 && stream.last.abs_diff(page) <= STEP_MAX;
        let at = self.streams.iter().position(near).unwrap_or_else(|| self.oldest());
        let stream = &mut self.streams[at];
        if near(stream) {
            stream.step = page.wrapping_sub(stream.last).cast_signed();
            (stream.at, stream.last, stream.wrote, stream.gone) = (now, page, stream.wrote || write, 1);
        } else {
            self.end(at);
            self.streams[at] = Stream { at: now, last: page, wrote: write, ..Stream::default() };
        }
        None
    }

    /// A stream has been where it was expected.
    fn go_on(&mut self, at: usize, page: u64, write: bool) -> Option<Window> {
        let (now, limit) = (self.now, self.limit);
        let stream = &mut self.streams[at];
        let gone = steps(stream.last, page, stream.step).unwrap_or(1);
        let reached = gone.min(stream.asked);
        let at_mark = gone >= stream.mark;
        (stream.at, stream.last) = (now, page);
        let writes = stream.writes || stream.wrote || write;
        stream.wrote = write;
        stream.used += reached;
        stream.gone += gone;
        self.outcome.used += reached;
        (stream.asked, stream.mark) = (stream.asked - reached, stream.mark.saturating_sub(gone));
        if !at_mark || stream.gone < self.needed {
            return None;
        }
        let count = stream.gone.min(limit).max(WINDOW_MIN.min(limit));
        let ahead = stream.step.checked_mul(stream.asked.cast_signed() + 1);
        let first = ahead.and_then(|ahead| page.checked_add_signed(ahead))?;
        (stream.writes, stream.is_cut) = (writes, false);
        let access = if writes { Access::Write } else { Access::Read };
        let window = Window { first, step: stream.step, count, access };
        stream.mark = stream.asked + 1;
        stream.asked += count;
        if count == limit && stream.used >= LONG * limit {
            self.limit = (limit * 2).min(self.limit_max);
            self.needed = (self.needed / 2).max(NEEDED_MIN);
        }
        Some(window)
    }

    /// Of the window that the last fault has led to, only `count` pages are asked for: the program has mapped no more, or enough is
    /// asked for already. It may be all of them, if there are no more behind it.
    pub(in crate::shard) fn cut(&mut self, window: Window, count: u64) {
        let now = self.now;
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.at == now) {
            stream.asked -= window.count - count;
            stream.is_cut = true;
        }
    }

    /// The stream to be forgotten for another one: the oldest, but of those that are streams only one that has rested for long. Faults
    /// all over the region come far more often than those of a stream with long windows.
    fn oldest(&self) -> usize {
        let age = |stream: &Stream| (stream.asked > 0 && self.now - stream.at < KEPT, stream.at);
        let ages = self.streams.iter().enumerate().min_by_key(|(_, stream)| age(stream));
        ages.map_or(0, |(at, _)| at)
    }

    /// A stream is over.
    fn end(&mut self, at: usize) {
        let Stream { asked, used, is_cut, .. } = std::mem::take(&mut self.streams[at]);
        if is_cut {
            // It has come to the end of what there is, as far as is known: of mapped pages nothing is seen.
            self.outcome.used += asked;
            return;
        }
        self.outcome.wasted += asked;
        // Half as much as was good for something is too much.
        if 2 * asked > used {
            self.needed = (self.needed * 2).min(NEEDED_MAX);
            self.limit = (self.limit / 2).max(WINDOW_MIN.min(self.limit_max));
        }
    }

    /// What was asked for has not come, and will not: the program has left, or its memory was unmapped.
    pub(in crate::shard) fn end_all(&mut self) {
        (0..STREAMS).for_each(|at| self.end(at));
    }

    /// What has come of it since the last call.
    pub(in crate::shard) fn outcome(&mut self) -> Outcome {
        std::mem::take(&mut self.outcome)
    }
}

/// Steps from one page to another, if it is that many whole ones, and forwards as the step goes.
fn steps(from: u64, to: u64, step: i64) -> Option<u64> {
    let distance = to.wrapping_sub(from).cast_signed();
    if step == 0 || (distance < 0) != (step < 0) {
        return None;
    }
    // Most steps are one page, and a division is dearer than all else here.
    if step.unsigned_abs() == 1 {
        return Some(distance.unsigned_abs());
    }
    distance
        .unsigned_abs()
        .is_multiple_of(step.unsigned_abs())
        .then(|| distance.unsigned_abs() / step.unsigned_abs())
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
