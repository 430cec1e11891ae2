//! What an attachment has mapped, as it says; every number from a program is checked here, once.

use std::collections::BTreeMap;

use crate::shard::Range;

/// Spans that one attachment may have mapped at a time.
pub const RANGES_MAX: usize = 256;

/// The processor's page, of which every mapping is made.
const KERNEL_PAGE: u64 = 4096;

/// Why a span is refused. Each is a sentence for the program's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RangeError {
    #[error("the length is 0")]
    Empty,
    #[error("the address is not a multiple of 4096")]
    Address,
    #[error("length and offset must be multiples of the region's page size, {0}")]
    PageSize(u64),
    #[error("the span ends beyond the end of the address space")]
    Overflow,
    #[error("the span ends beyond the region file, which has {0} bytes")]
    BeyondFile(u64),
    #[error("the span overlaps one that is mapped already: unmap that first")]
    Overlap,
    #[error("more than {RANGES_MAX} spans would be mapped: unmap some, or map larger ones")]
    TooMany,
    #[error("the span begins or ends within a page of the region: unmap whole pages")]
    CutsPage,
}

/// The spans that an attachment has mapped, which never overlap.
#[derive(Debug)]
pub(super) struct Ranges {
    page_size: u64,
    by_base: BTreeMap<u64, Range>,
}

impl Ranges {
    pub(super) fn new(page_size: u64) -> Ranges {
        Ranges { page_size, by_base: BTreeMap::new() }
    }

    /// Bytes mapped.
    pub(super) fn bytes(&self) -> u64 {
        self.by_base.values().map(|range| range.len).sum()
    }

    /// All spans.
    pub(super) fn all(&self) -> impl Iterator<Item = Range> + '_ {
        self.by_base.values().copied()
    }

    /// Whether just this span is mapped.
    pub(super) fn has(&self, range: Range) -> bool {
        self.by_base.get(&range.base) == Some(&range)
    }

    /// Adds a span of a region file that has `file_len` bytes by now, unless it is not allowed.
    pub(super) fn map(&mut self, range: Range, file_len: u64) -> Result<(), RangeError> {
        let end = self.check_span(range.base, range.len)?;
        if !range.offset.is_multiple_of(self.page_size) {
            return Err(RangeError::PageSize(self.page_size));
        }
        if range.offset.checked_add(range.len).is_none_or(|end| end > file_len) {
            return Err(RangeError::BeyondFile(file_len));
        }
        if self.touching(range.base, end).next().is_some() {
            return Err(RangeError::Overlap);
        }
        if self.by_base.len() == RANGES_MAX {
            return Err(RangeError::TooMany);
        }
        self.by_base.insert(range.base, range);
        Ok(())
    }

    /// Removes whatever of the spans lies in `[base, base + len)`. Where nothing is mapped there is nothing to do.
    pub(super) fn unmap(&mut self, base: u64, len: u64) -> Result<(), RangeError> {
        let end = self.check_span(base, len)?;
        let touched: Vec<Range> = self.touching(base, end).collect();
        let mut left = Vec::new();
        for range in &touched {
            // Pages are counted from where the span begins: its address need not be a multiple of the page size.
            let from = base.max(range.base) - range.base;
            let to = (end - range.base).min(range.len);
            if !from.is_multiple_of(self.page_size) || !to.is_multiple_of(self.page_size) {
                return Err(RangeError::CutsPage);
            }
            if from > 0 {
                left.push(Range { len: from, ..*range });
            }
            if to < range.len {
                let (base, offset) = (range.base + to, range.offset + to);
                left.push(Range { base, len: range.len - to, offset });
            }
        }
        if self.by_base.len() - touched.len() + left.len() > RANGES_MAX {
            return Err(RangeError::TooMany);
        }
        for range in touched {
            self.by_base.remove(&range.base);
        }
        self.by_base.extend(left.into_iter().map(|range| (range.base, range)));
        Ok(())
    }

    /// The end of a span that is one.
    fn check_span(&self, base: u64, len: u64) -> Result<u64, RangeError> {
        if len == 0 {
            return Err(RangeError::Empty);
        }
        if !base.is_multiple_of(KERNEL_PAGE) {
            return Err(RangeError::Address);
        }
        if !len.is_multiple_of(self.page_size) {
            return Err(RangeError::PageSize(self.page_size));
        }
        base.checked_add(len).ok_or(RangeError::Overflow)
    }

    fn touching(&self, base: u64, end: u64) -> impl Iterator<Item = Range> {
        // They do not overlap, so only the last that begins before `base` can reach into the span.
        let before = self.by_base.range(..base).next_back().map(|(_, range)| *range);
        let before = before.filter(move |range| range.base + range.len > base);
        before.into_iter().chain(self.by_base.range(base..end).map(|(_, range)| *range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 0x4000;
    const FILE: u64 = 1000 * PAGE;

    fn range(base: u64, pages: u64, offset_pages: u64) -> Range {
        Range { base, len: pages * PAGE, offset: offset_pages * PAGE }
    }

    fn with(ranges: &[Range]) -> Ranges {
        let mut all = Ranges::new(PAGE);
        for range in ranges {
            all.map(*range, FILE).unwrap();
        }
        all
    }

    fn left(ranges: &Ranges) -> Vec<Range> {
        ranges.by_base.values().copied().collect()
    }

    #[test]
    fn map_refuses_what_cannot_be() {
        let mapped = range(0x10_1000, 4, 0);
        let end = mapped.base + mapped.len;
        let max = u64::MAX - 0xfff;
        for (range, error) in [
            (Range { base: 0x1000, len: 0, offset: 0 }, RangeError::Empty),
            (Range { base: 0x1001, len: PAGE, offset: 0 }, RangeError::Address),
            (Range { base: 0x1000, len: PAGE - 0x1000, offset: 0 }, RangeError::PageSize(PAGE)),
            (Range { base: 0x1000, len: PAGE, offset: 0x1000 }, RangeError::PageSize(PAGE)),
            (Range { base: max, len: PAGE, offset: 0 }, RangeError::Overflow),
            (range(0x1000, 1, 1000), RangeError::BeyondFile(FILE)),
            (range(0x1000, 1001, 0), RangeError::BeyondFile(FILE)),
            (Range { base: 0x1000, len: PAGE, offset: u64::MAX / PAGE * PAGE }, RangeError::BeyondFile(FILE)),
            (mapped, RangeError::Overlap),
            (range(mapped.base - PAGE + 0x1000, 1, 9), RangeError::Overlap),
            (range(end - 0x1000, 1, 9), RangeError::Overlap),
            (range(mapped.base + PAGE, 1, 9), RangeError::Overlap),
            (range(mapped.base - PAGE, 8, 9), RangeError::Overlap),
        ] {
            let mut ranges = with(&[mapped]);
            assert_eq!(ranges.map(range, FILE), Err(error), "{range:x?}");
            assert_eq!(left(&ranges), [mapped]);
        }
    }

    #[test]
    fn a_file_that_has_grown_has_room_for_more() {
        let mut ranges = with(&[]);
        let behind = range(0x1000, 1, 1000);
        assert_eq!(ranges.map(behind, FILE), Err(RangeError::BeyondFile(FILE)));
        assert_eq!(ranges.map(behind, FILE + PAGE), Ok(()));
    }

    #[test]
    fn neighbours_and_a_second_view_of_the_same_pages_are_allowed() {
        let ranges =
            with(&[range(0x10_1000, 4, 0), range(0x10_1000 + 4 * PAGE, 1, 0), range(0x1000, 1, 999)]);
        assert_eq!(ranges.bytes(), 6 * PAGE);
    }

    #[test]
    fn the_number_of_spans_is_bounded() {
        let spans: Vec<_> = (0..RANGES_MAX as u64).map(|n| range(n * 16 * PAGE, 3, 0)).collect();
        let mut ranges = with(&spans);
        assert_eq!(ranges.map(range(1 << 40, 1, 0), FILE), Err(RangeError::TooMany));
        // Taking out the middle of one would leave one more.
        assert_eq!(ranges.unmap(PAGE, PAGE), Err(RangeError::TooMany));
        assert_eq!(ranges.unmap(0, PAGE), Ok(()));
        assert_eq!(left(&ranges)[0], range(PAGE, 2, 1));
    }

    #[test]
    fn unmap_takes_any_part() {
        let a = range(0x1000, 4, 10);
        let b = range(0x1000 + 4 * PAGE, 4, 100);
        let at = |page: u64| 0x1000 + page * PAGE;
        for (from, pages, expected) in [
            (0, 8, vec![]),
            (0, 4, vec![b]),
            (1, 1, vec![range(at(0), 1, 10), range(at(2), 2, 12), b]),
            (3, 2, vec![range(at(0), 3, 10), range(at(5), 3, 101)]),
            (100, 5, vec![a, b]),
        ] {
            let mut ranges = with(&[a, b]);
            assert_eq!(ranges.unmap(at(from), pages * PAGE), Ok(()));
            assert_eq!(left(&ranges), expected, "{from} {pages}");
        }
    }

    #[test]
    fn unmap_of_more_than_is_mapped_is_fine_but_never_of_half_a_page() {
        let a = range(0x10_1000, 2, 0);
        let mut ranges = with(&[a]);
        assert_eq!(ranges.unmap(0x10_2000, PAGE), Err(RangeError::CutsPage));
        assert_eq!(ranges.unmap(0x10_0000, PAGE), Err(RangeError::CutsPage));
        assert_eq!(ranges.unmap(0x10_0000, 0), Err(RangeError::Empty));
        assert_eq!(left(&ranges), [a]);
        assert_eq!(ranges.unmap(0, 1 << 30), Ok(()));
        assert_eq!(left(&ranges), []);
    }
}
