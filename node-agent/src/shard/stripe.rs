//! Which shard serves a page: a function of the page alone, the same on all agents.

use pagemesh_protocol::RegionId;

use super::Range;

/// Bytes of a region file that one shard serves in one piece. Stripes go round the shards, and where a stripe lies
/// does not depend on the region's size, so that a region that grows moves nothing.
pub const STRIPE_LEN: u64 = 64 << 20;

/// The shard that serves a page.
#[must_use]
pub fn of(region: RegionId, page_index: u64, page_size: u64, shards: u16) -> u16 {
    // Pages are never larger than a stripe, and both are powers of two: no page lies in two stripes, and nothing
    // overflows for an index that a peer made up.
    of_stripe(region, page_index / (STRIPE_LEN / page_size), shards)
}

/// Regions begin at different shards, so that many small ones do not all meet in the first.
fn of_stripe(region: RegionId, stripe: u64, shards: u16) -> u16 {
    let shards = u64::from(shards);
    ((stripe % shards + region.0 % shards) % shards) as u16
}

/// The parts of a range that each shard serves, in order of address, neighbours of one shard merged.
#[must_use]
pub fn split(range: Range, region: RegionId, page_size: u64, shards: u16) -> Vec<(u16, Range)> {
    debug_assert!(range.offset.is_multiple_of(page_size) && range.len.is_multiple_of(page_size));
    let mut parts: Vec<(u16, Range)> = Vec::new();
    let mut done = 0;
    while done < range.len {
        let (base, offset) = (range.base + done, range.offset + done);
        let len = (STRIPE_LEN - offset % STRIPE_LEN).min(range.len - done);
        let shard = of_stripe(region, offset / STRIPE_LEN, shards);
        match parts.last_mut() {
            Some((last, part)) if *last == shard => part.len += len,
            Some(_) | None => parts.push((shard, Range { base, len, offset })),
        }
        done += len;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: RegionId = RegionId(5);
    const PAGE: u64 = 4096;

    #[test]
    fn split_agrees_with_of_page_by_page() {
        let range = Range { base: 0x7000_0000_1000, len: 3 * STRIPE_LEN, offset: STRIPE_LEN - 2 * PAGE };
        for shards in 1..=4 {
            let parts = split(range, REGION, PAGE, shards);
            let (mut base, mut offset) = (range.base, range.offset);
            for (shard, part) in &parts {
                assert_eq!((part.base, part.offset), (base, offset), "no gap, no overlap");
                for page in [part.offset, part.offset + part.len - PAGE] {
                    assert_eq!(of(REGION, page / PAGE, PAGE, shards), *shard);
                }
                (base, offset) = (base + part.len, offset + part.len);
            }
            assert_eq!(base, range.base + range.len);
            assert_eq!(parts.len(), if shards == 1 { 1 } else { 4 });
        }
    }

    #[test]
    fn every_shard_gets_its_share_of_stripes_and_of_regions() {
        for shards in 1..=4_u16 {
            let stripes: Vec<u16> = (0..u64::from(shards)).map(|s| of_stripe(REGION, s, shards)).collect();
            let regions: Vec<u16> =
                (0..u64::from(shards)).map(|r| of_stripe(RegionId(r), 0, shards)).collect();
            for mut all in [stripes, regions] {
                all.sort_unstable();
                assert!(all.into_iter().eq(0..shards));
            }
        }
    }

    #[test]
    fn any_page_number_has_a_shard() {
        assert!(of(RegionId(u64::MAX), u64::MAX, 2 << 20, 3) < 3);
    }
}
