//! What others have taken of this machine's processors.

use std::fs;

/// Ticks of all processors since the machine was started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ticks {
    stolen: u64,
    all: u64,
}

impl Ticks {
    /// As of now; nothing where the kernel does not tell.
    #[must_use]
    pub fn now() -> Ticks {
        fs::read_to_string("/proc/stat").ok().and_then(|text| Ticks::parse(&text)).unwrap_or_default()
    }

    /// `cpu USER NICE SYSTEM IDLE IOWAIT IRQ SOFTIRQ STEAL ...`: what guests use is in the first two.
    fn parse(text: &str) -> Option<Ticks> {
        let mut words = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
        let numbers: Vec<u64> = words.by_ref().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Ticks { stolen: *numbers.get(7)?, all: numbers.iter().sum() })
    }

    /// The part that was stolen since then, in percent.
    #[must_use]
    pub fn percent_since(self, before: Ticks) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.stolen.saturating_sub(before.stolen) as f64 * 100.0 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells() {
        let before = Ticks::parse("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1\n").expect("good");
        let after = Ticks::parse("cpu  31 2 3 54 5 6 7 28 9 10\n").expect("good");
        assert_eq!((before.stolen, before.all), (8, 36));
        assert!((after.percent_since(before) - 20.0).abs() < 1e-9);
        for bad in ["", "cpu", "cpu  1 2 3", "cpu  1 2 3 4 5 6 7 x"] {
            assert!(Ticks::parse(bad).is_none(), "{bad:?}");
        }
        assert!(Ticks::now().all > 0);
    }
}
