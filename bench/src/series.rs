//! Medians.

/// Nanoseconds of accesses, in rounds.
#[derive(Clone, Debug, Default)]
pub struct Series {
    medians: Vec<f64>,
    all: Vec<u64>,
}

impl Series {
    /// Takes up a round, and returns its median.
    pub fn enter(&mut self, mut nanos: Vec<u64>) -> f64 {
        nanos.sort_unstable();
        let median = nanos.get(nanos.len() / 2).copied().unwrap_or(0) as f64;
        self.medians.push(median);
        self.all.append(&mut nanos);
        median
    }

    /// The same of nanoseconds, in microseconds.
    #[must_use]
    pub fn micros(&self) -> f64 {
        self.middle() / 1e3
    }

    /// The median over rounds of their medians.
    #[must_use]
    pub fn middle(&self) -> f64 {
        middle(self.medians.clone())
    }

    /// What 99 of 100 accesses do not exceed.
    #[must_use]
    pub fn p99(&self) -> f64 {
        let mut all = self.all.clone();
        all.sort_unstable();
        all.get(all.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(0) as f64
    }
}

/// The median; 0 of nothing.
#[must_use]
pub fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
