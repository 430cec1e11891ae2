//! The time that the protocol gets as an argument.

use std::time::{Duration, Instant};

use pagemesh_protocol::Time;

/// Nanoseconds since the shard began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    pub(super) fn now(&self) -> Time {
        Time(self.origin.elapsed().as_nanos() as u64)
    }
}

/// From one time to a later one.
pub(super) fn between(from: Time, to: Time) -> Duration {
    Duration::from_nanos(to.0.saturating_sub(from.0))
}
