//! Pauses between tries.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Between half of `pause` and the whole, so that agents that lost something together do not come back for it in step.
pub(crate) fn jittered(pause: Duration) -> Duration {
    // The keys of the standard hash map's hasher are random; that is all the randomness that is needed here.
    let random = RandomState::new().hash_one(0) as u32;
    pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}
