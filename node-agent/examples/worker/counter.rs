//! Counters: what is lost or done twice shows in the sum.

use std::sync::atomic::Ordering::SeqCst;

use pagemesh::Region;

use crate::arena::Arena;
use crate::number;

/// `count SOCKET REGION WORD OWN TIMES`: adds 1 to the region's word `WORD` so many times (0: until the word behind `OWN` is
/// not 0), and after each time says in word `OWN` how many it has done.
pub(crate) fn count(region: &Region, args: &[String]) -> Result<(), String> {
    let (word, own, times): (usize, usize, u64) = (number(args, 0)?, number(args, 1)?, number(args, 2)?);
    let before = region.words()[own].load(SeqCst);
    for done in 1.. {
        region.words()[word].fetch_add(1, SeqCst);
        region.words()[own].store(before + done, SeqCst);
        if done == times || (times == 0 && region.words()[own + 1].load(SeqCst) != 0) {
            break;
        }
    }
    Ok(())
}

/// `sweep SOCKET REGION SLOT PAGES STOP`: adds 1 to its own word, number `SLOT`, of every page of the first `PAGES`, again and
/// again until word `STOP` of the region is not 0, and after each round says in word `STOP + 1 + SLOT` how many it has done.
/// Other workers use other words of the same pages: nobody's words may ever be what they must not.
pub(crate) fn sweep(region: &Region, args: &[String]) -> Result<(), String> {
    let (slot, pages, stop): (usize, usize, usize) = (number(args, 0)?, number(args, 1)?, number(args, 2)?);
    let (words, per_page) = (region.words(), region.page_size() / 8);
    let mut highest = vec![0; pages];
    for round in 0.. {
        for (page, highest) in highest.iter_mut().enumerate() {
            let was = words[page * per_page + slot].fetch_add(1, SeqCst);
            if was != round {
                return Err(format!("page {page} of slot {slot} was {was} in round {round}"));
            }
            let other = words[page * per_page + (slot + 1) % 8].load(SeqCst);
            if other < *highest {
                return Err(format!("page {page}: a word of another went back from {highest} to {other}"));
            }
            *highest = other;
        }
        words[stop + 1 + slot].store(round + 1, SeqCst);
        if words[stop].load(SeqCst) != 0 {
            break;
        }
    }
    Ok(())
}

/// `hold SOCKET REGION ARENA WORD`: loads word 0 of the region and says so (word 1 of the arena), waits to be let on (word
/// 2), loads word 0 again (told in word 2), then word `WORD` (told in word 3).
pub(crate) fn hold(region: &Region, args: &[String]) -> Result<(), String> {
    let arena = Arena::open(args.first().ok_or("no arena")?)?;
    let word: usize = number(args, 1)?;
    arena.word(1).store(region.words()[0].load(SeqCst), SeqCst);
    while arena.word(2).load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    arena.word(2).store(region.words()[0].load(SeqCst), SeqCst);
    arena.word(3).store(region.words()[word].load(SeqCst), SeqCst);
    Ok(())
}
