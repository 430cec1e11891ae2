//! The time that the protocol gets as an argument.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use pagemesh_protocol::Time;

/// Nanoseconds since the machine began: a shard that takes another one's place goes on with its times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock;

impl Clock {
    pub(super) fn now(&self) -> Time {
        Time(monotonic_nanos())
    }
}

/// Nanoseconds since the machine began.
///
/// # Panics
/// Never on Linux.
#[must_use]
pub fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    Duration::from(now).as_nanos() as u64
}

/// From one time to a later one.
pub(super) fn between(from: Time, to: Time) -> Duration {
    Duration::from_nanos(to.0.saturating_sub(from.0))
}
