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
