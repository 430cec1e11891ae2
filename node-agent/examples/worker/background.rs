//! What a program does that goes into the background.

use std::sync::atomic::Ordering::SeqCst;

use pagemesh::Region;

use crate::counter::sweep;
use crate::number;

/// `background SOCKET REGION STARTED ...`: closes all its descriptors past every library, says so by storing 1 in word `STARTED` of
/// the region, and then does as `sweep` does.
pub(crate) fn background(region: &Region, args: &[String]) -> Result<(), String> {
    let started: usize = number(args, 0)?;
    // SAFETY: whoever owns a descriptor in this process does not use it again: it ends without a word.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) } != 0 {
        return Err(std::io::Error::last_os_error().to_string());
    }
    region.words()[started].store(1, SeqCst);
    let done = sweep(region, &args[1..]);
    if let Err(objection) = &done {
        eprintln!("worker background: {objection}");
    }
    // To leave the region, its descriptors would be needed.
    std::process::exit(done.is_err().into());
}
