//! What of the address space the program has mapped of regions: a table of fixed size, and the arithmetic of pages. Pure.
//!
//! Programs map and unmap in 4 KiB; regions, and so the agent, in pages that may be larger. A *claim* is what the program
//! asked for, in 4 KiB. Mapped are always the whole region pages that it touches, and a region page is unmapped when no
//! claim needs any of it.

use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use pagemesh_attach::sys::KERNEL_PAGE;

/// Claims that a process may have: as many as four attachments may have mapped.
const CLAIMS_MAX: usize = 1024;

/// No claim is outside of these. Read without the lock, so that calls on other memory cost two loads.
static LOWEST: AtomicUsize = AtomicUsize::new(usize::MAX);
static HIGHEST: AtomicUsize = AtomicUsize::new(0);

/// Whether `[address, address + length)` might touch a claim.
pub(crate) fn near(address: usize, length: usize) -> bool {
    address < HIGHEST.load(Ordering::Acquire)
        && address.saturating_add(length) > LOWEST.load(Ordering::Acquire)
}

/// A span of memory that the program has mapped of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// First address.
    pub(crate) start: usize,
    /// Address after the last.
    pub(crate) end: usize,
    /// Address at which the region file's first byte would lie. Claims of one mapping have the same.
    pub(crate) origin: usize,
    /// The region.
    pub(crate) slot: u8,
    /// Its protection.
    pub(crate) protection: i32,
    /// It may not be made writable.
    pub(crate) read_only: bool,
}

impl Claim {
    /// Offset in the region file of an address.
    pub(crate) fn offset(&self, address: usize) -> usize {
        address.wrapping_sub(self.origin)
    }

    /// The whole region pages that `part` touches.
    pub(crate) fn pages(&self, part: &Range<usize>, page_size: usize) -> Range<usize> {
        let down = |address| self.offset(address) & !(page_size - 1);
        let first = down(part.start);
        let last = down(part.end - 1) + page_size;
        self.origin.wrapping_add(first)..self.origin.wrapping_add(last)
    }

    /// What of the claim lies in `range`.
    pub(crate) fn within(&self, range: &Range<usize>) -> Range<usize> {
        self.start.max(range.start)..self.end.min(range.end)
    }

    fn same_mapping(&self, other: &Claim) -> bool {
        self.slot == other.slot && self.origin == other.origin
    }
}

/// The claims of this process.
pub(crate) struct Claims {
    claims: [Claim; CLAIMS_MAX],
    len: usize,
}

impl Claims {
    /// None.
    pub(crate) const fn new() -> Claims {
        let none = Claim { start: 0, end: 0, origin: 0, slot: 0, protection: 0, read_only: false };
        Claims { claims: [none; CLAIMS_MAX], len: 0 }
    }

    fn all(&self) -> &[Claim] {
        &self.claims[..self.len]
    }

    /// Whether `more` claims still fit.
    pub(crate) fn have_room(&self, more: usize) -> bool {
        self.len + more <= CLAIMS_MAX
    }

    /// Adds a claim. The caller has seen that there is room.
    pub(crate) fn insert(&mut self, claim: Claim) {
        assert!(claim.start < claim.end && claim.start.is_multiple_of(KERNEL_PAGE));
        self.claims[self.len] = claim;
        self.len += 1;
        self.set_bounds();
    }

    /// The lowest claim that has something in `range`.
    pub(crate) fn first_in(&self, range: &Range<usize>) -> Option<Claim> {
        let inside = |claim: &&Claim| claim.start < range.end && claim.end > range.start;
        self.all().iter().filter(inside).min_by_key(|claim| claim.start).copied()
    }

    /// The lowest claim of the region in `slot` that ends above `from`.
    pub(crate) fn first_of(&self, slot: usize, from: usize) -> Option<Claim> {
        let its = |claim: &&Claim| usize::from(claim.slot) == slot && claim.end > from;
        self.all().iter().filter(its).min_by_key(|claim| claim.start).copied()
    }

    /// Whether the region in `slot` has a claim.
    pub(crate) fn any_of(&self, slot: usize) -> bool {
        self.first_of(slot, 0).is_some()
    }

    /// The region pages that nobody needs once `cut` is taken out of `claim`. Empty if that is none.
    pub(crate) fn freed(&self, claim: &Claim, cut: &Range<usize>, page_size: usize) -> Range<usize> {
        let mut pages = claim.pages(cut, page_size);
        let claimed = |part: Range<usize>| {
            let inside = |other: &Claim| other.start < part.end && other.end > part.start;
            !part.is_empty() && self.all().iter().any(|other| other.same_mapping(claim) && inside(other))
        };
        if claimed(pages.start..cut.start) {
            pages.start += page_size;
        }
        if claimed(cut.end..pages.end) {
            pages.end -= page_size;
        }
        // Both edges in the same page, and somebody needs it on either side.
        if pages.start > pages.end {
            pages.end = pages.start;
        }
        pages
    }

    /// Takes `cut` out of `claim`. The caller has seen that there is room for one more, as two parts may be left.
    pub(crate) fn carve(&mut self, claim: &Claim, cut: &Range<usize>) {
        let at = self.all().iter().position(|other| other == claim).expect("the claim is in the table");
        self.len -= 1;
        self.claims.swap(at, self.len);
        for left in [claim.start..cut.start, cut.end..claim.end] {
            if !left.is_empty() {
                self.insert(Claim { start: left.start, end: left.end, ..*claim });
            }
        }
        self.set_bounds();
    }

    fn set_bounds(&self) {
        let lowest = self.all().iter().map(|claim| claim.start).min().unwrap_or(usize::MAX);
        let highest = self.all().iter().map(|claim| claim.end).max().unwrap_or(0);
        LOWEST.store(lowest, Ordering::Release);
        HIGHEST.store(highest, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 0x1_0000;
    /// Region pages begin here: not a multiple of their own size.
    const BASE: usize = 0x7f00_0000_3000;

    fn claim(start: usize, end: usize) -> Claim {
        let origin = BASE - PAGE;
        Claim { start: BASE + start, end: BASE + end, origin, slot: 3, protection: 3, read_only: false }
    }

    fn table(claims: &[Claim]) -> Box<Claims> {
        let mut table = Box::new(Claims::new());
        for claim in claims {
            table.insert(*claim);
        }
        table
    }

    fn freed(claims: &[Claim], of: usize, cut: Range<usize>) -> Range<usize> {
        let cut = BASE + cut.start..BASE + cut.end;
        let pages = table(claims).freed(&claims[of], &cut, PAGE);
        pages.start - BASE..pages.end - BASE
    }

    #[test]
    fn a_small_claim_frees_its_whole_page() {
        assert_eq!(freed(&[claim(0, 0x2000)], 0, 0..0x2000), 0..PAGE);
        assert_eq!(freed(&[claim(0x3000, PAGE + 0x1000)], 0, 0x3000..PAGE + 0x1000), 0..2 * PAGE);
    }

    #[test]
    fn a_page_stays_while_any_of_it_is_claimed() {
        let whole = [claim(0, 3 * PAGE)];
        assert!(freed(&whole, 0, 0x1000..0x2000).is_empty());
        assert!(freed(&whole, 0, 0x1000..PAGE).is_empty());
        assert!(freed(&whole, 0, PAGE - 0x1000..PAGE + 0x1000).is_empty());
        assert_eq!(freed(&whole, 0, PAGE..2 * PAGE), PAGE..2 * PAGE);
        assert_eq!(freed(&whole, 0, 0x1000..3 * PAGE), PAGE..3 * PAGE);
        assert_eq!(freed(&whole, 0, 0..2 * PAGE + 0x1000), 0..2 * PAGE);
    }

    #[test]
    fn the_last_of_several_parts_frees_the_page() {
        let parts = [claim(0, 0x1000), claim(0xf000, PAGE)];
        assert!(freed(&parts, 0, 0..0x1000).is_empty());
        assert_eq!(freed(&parts[1..], 0, 0xf000..PAGE), 0..PAGE);
        let other_mapping = Claim { origin: 0, ..claim(0xf000, PAGE) };
        assert_eq!(freed(&[parts[0], other_mapping], 0, 0..0x1000), 0..PAGE);
    }

    #[test]
    fn carving_leaves_what_was_not_cut() {
        let whole = claim(0, 3 * PAGE);
        for (cut, left) in [
            (0..3 * PAGE, vec![]),
            (0..PAGE, vec![claim(PAGE, 3 * PAGE)]),
            (PAGE..3 * PAGE, vec![claim(0, PAGE)]),
            (0x1000..0x2000, vec![claim(0, 0x1000), claim(0x2000, 3 * PAGE)]),
        ] {
            let mut table = table(&[whole]);
            table.carve(&whole, &(BASE + cut.start..BASE + cut.end));
            assert_eq!(table.all(), left);
        }
    }

    #[test]
    fn the_lowest_claim_in_a_range_is_found() {
        let table = table(&[claim(2 * PAGE, 3 * PAGE), claim(0, PAGE)]);
        let find = |start: usize, end: usize| table.first_in(&(BASE + start..BASE + end));
        assert_eq!(find(0, 3 * PAGE), Some(claim(0, PAGE)));
        assert_eq!(find(PAGE, 3 * PAGE), Some(claim(2 * PAGE, 3 * PAGE)));
        assert_eq!(find(PAGE, 2 * PAGE), None);
        assert_eq!(find(3 * PAGE, usize::MAX - BASE), None);
        assert_eq!(table.first_of(3, 0), Some(claim(0, PAGE)));
        assert_eq!(table.first_of(3, BASE + PAGE), Some(claim(2 * PAGE, 3 * PAGE)));
        assert_eq!(table.first_of(3, BASE + 3 * PAGE), None);
        assert_eq!(table.first_of(4, 0), None);
    }
}
