//! Where one program has mapped a region: address to page, and page to addresses.

use std::collections::VecDeque;

use super::Range;

/// Spans that are remembered after they were unmapped. A thread of the program may have touched one of them just
/// before, and its fault arrives afterwards.
const UNMAPPED_MAX: usize = 64;

/// What an address in a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// In a page of the region: its number, and where the program has mapped its beginning.
    Page { index: u64, address: u64 },
    /// In what was mapped until a moment ago.
    Unmapped,
    /// Nowhere that the program ever told of.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Ranges {
    page_size: u64,
    /// By address; they do not overlap.
    mapped: Vec<Range>,
    unmapped: VecDeque<(u64, u64)>,
}

impl Ranges {
    pub(super) fn new(page_size: u32) -> Ranges {
        Ranges { page_size: page_size.into(), mapped: Vec::new(), unmapped: VecDeque::new() }
    }

    /// All ranges.
    pub(super) fn all(&self) -> impl Iterator<Item = Range> + '_ {
        self.mapped.iter().copied()
    }

    /// The kernel's first and last page of each range.
    pub(super) fn ends(&self) -> impl Iterator<Item = u64> + '_ {
        self.mapped.iter().flat_map(|r| [r.base, r.base + r.len - crate::uffd::KERNEL_PAGE])
    }

    /// Adds a range, in place of whatever was mapped there.
    pub(super) fn map(&mut self, range: Range) {
        self.remove(range.base, range.len);
        let at = self.mapped.partition_point(|r| r.base < range.base);
        self.mapped.insert(at, range);
    }

    /// Forgets a span, which may cover parts of ranges.
    pub(super) fn unmap(&mut self, base: u64, len: u64) {
        self.remove(base, len);
        if self.unmapped.len() == UNMAPPED_MAX {
            self.unmapped.pop_front();
        }
        self.unmapped.push_back((base, base.saturating_add(len)));
    }

    fn remove(&mut self, base: u64, len: u64) {
        let end = base.saturating_add(len);
        let touched = |r: &Range| r.base < end && base < r.base + r.len;
        let Some(first) = self.mapped.iter().position(touched) else { return };
        let count = self.mapped[first..].iter().take_while(|r| touched(r)).count();
        let (head, tail) = (self.mapped[first], self.mapped[first + count - 1]);
        let before = Range { len: base.saturating_sub(head.base), ..head };
        let cut = end.min(tail.base + tail.len) - tail.base;
        let after = Range { base: tail.base + cut, len: tail.len - cut, offset: tail.offset + cut };
        let left = [before, after].into_iter().filter(|r| r.len > 0);
        self.mapped.splice(first..first + count, left);
    }

    /// What lies at an address.
    pub(super) fn spot(&self, address: u64) -> Spot {
        let at = self.mapped.partition_point(|r| r.base <= address);
        let range = at.checked_sub(1).map(|at| self.mapped[at]).filter(|r| address - r.base < r.len);
        if let Some(range) = range {
            let page = (address - range.base) / self.page_size;
            let index = range.offset / self.page_size + page;
            return Spot::Page { index, address: range.base + page * self.page_size };
        }
        let gone = self.unmapped.iter().any(|(base, end)| (*base..*end).contains(&address));
        if gone { Spot::Unmapped } else { Spot::Unknown }
    }

    /// The spans of addresses at which the program has mapped some of `count` pages from `first` on.
    pub(super) fn spans(&self, first: u64, count: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (from, to) = (first * self.page_size, (first + count) * self.page_size);
        self.mapped.iter().filter_map(move |r| {
            let (from, to) = (from.max(r.offset), to.min(r.offset + r.len));
            (from < to).then(|| (r.base + (from - r.offset), to - from))
        })
    }

    /// Every address at which the program has mapped a page.
    pub(super) fn addresses(&self, index: u64) -> impl Iterator<Item = u64> + '_ {
        let offset = index * self.page_size;
        self.mapped
            .iter()
            .filter(move |r| offset >= r.offset && offset - r.offset < r.len)
            .map(move |r| r.base + (offset - r.offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 0x10000;

    fn range(base: u64, len: u64, offset: u64) -> Range {
        Range { base, len: len * PAGE, offset: offset * PAGE }
    }

    /// Ten pages of the file from its third, at an address that is no multiple of the page size.
    fn ranges() -> Ranges {
        let mut ranges = Ranges::new(PAGE as u32);
        ranges.map(range(0x1000, 10, 3));
        ranges
    }

    #[test]
    fn addresses_are_rounded_down_from_the_beginning_of_their_range() {
        let ranges = ranges();
        for (address, want) in [
            (0xfff, Spot::Unknown),
            (0x1000, Spot::Page { index: 3, address: 0x1000 }),
            (0x1000 + PAGE - 1, Spot::Page { index: 3, address: 0x1000 }),
            (0x1000 + PAGE, Spot::Page { index: 4, address: 0x1000 + PAGE }),
            (0x1000 + 10 * PAGE - 1, Spot::Page { index: 12, address: 0x1000 + 9 * PAGE }),
            (0x1000 + 10 * PAGE, Spot::Unknown),
        ] {
            assert_eq!(ranges.spot(address), want, "{address:#x}");
        }
    }

    #[test]
    fn a_page_may_be_mapped_twice() {
        let mut ranges = ranges();
        ranges.map(range(0x100_0000, 2, 4));
        assert_eq!(ranges.addresses(4).collect::<Vec<_>>(), [0x1000 + PAGE, 0x100_0000]);
        assert_eq!(ranges.addresses(2).count(), 0);
        assert_eq!(ranges.addresses(13).count(), 0);
    }

    #[test]
    fn unmapping_the_middle_leaves_both_ends() {
        let mut ranges = ranges();
        ranges.unmap(0x1000 + 2 * PAGE, 3 * PAGE);
        assert_eq!(ranges.mapped, [range(0x1000, 2, 3), range(0x1000 + 5 * PAGE, 5, 8)]);
        assert_eq!(ranges.spot(0x1000 + 2 * PAGE), Spot::Unmapped);
        assert_eq!(ranges.spot(0x1000 + 5 * PAGE), Spot::Page { index: 8, address: 0x1000 + 5 * PAGE });
        assert_eq!(ranges.addresses(6).count(), 0);
    }

    #[test]
    fn unmapping_may_cover_several_ranges_and_gaps() {
        let mut ranges = ranges();
        ranges.map(range(0x1000 + 20 * PAGE, 4, 50));
        ranges.map(range(0x1000 + 30 * PAGE, 4, 60));
        ranges.unmap(0x1000 + 9 * PAGE, 22 * PAGE);
        assert_eq!(ranges.mapped, [range(0x1000, 9, 3), range(0x1000 + 31 * PAGE, 3, 61)]);
        ranges.unmap(0, u64::MAX);
        assert_eq!(ranges.mapped, []);
    }

    #[test]
    fn a_new_mapping_replaces_an_old_one() {
        let mut ranges = ranges();
        ranges.map(range(0x1000 + PAGE, 1, 77));
        assert_eq!(ranges.spot(0x1000 + PAGE), Spot::Page { index: 77, address: 0x1000 + PAGE });
        assert_eq!(ranges.mapped.len(), 3);
    }

    #[test]
    fn only_so_many_unmapped_spans_are_remembered() {
        let mut ranges = ranges();
        for page in 0..=UNMAPPED_MAX as u64 {
            ranges.unmap(0x100_0000 + page * PAGE, PAGE);
        }
        assert_eq!(ranges.spot(0x100_0000), Spot::Unknown);
        assert_eq!(ranges.spot(0x100_0000 + PAGE), Spot::Unmapped);
    }
}
