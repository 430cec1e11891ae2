//! Quantiles from the buckets of a histogram, as `histogram_quantile` of Prometheus estimates them.

/// Counts of observations by upper bound. Those of several agents add up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    /// Upper bound, and how many observations are not above it; by bound, the last one infinite.
    buckets: Vec<(f64, f64)>,
}

impl Histogram {
    /// Adds one agent's `count` of observations that are not above `bound`.
    pub(super) fn add(&mut self, bound: f64, count: f64) {
        match self.buckets.binary_search_by(|(other, _)| other.total_cmp(&bound)) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bound, count)),
        }
    }

    /// An estimate of the value below which the part `quantile` of all observations lies: within the bucket where it
    /// falls, observations are taken to be spread evenly. `None` without observations.
    pub(super) fn quantile(&self, quantile: f64) -> Option<f64> {
        let (_, total) = *self.buckets.last()?;
        if total == 0.0 {
            return None;
        }
        let rank = quantile * total;
        let at = self.buckets.iter().position(|(_, count)| *count >= rank)?;
        let (below, count_below) = if at == 0 { (0.0, 0.0) } else { self.buckets[at - 1] };
        let (bound, count) = self.buckets[at];
        // Nothing is known of how far above the last finite bound they are.
        if bound.is_infinite() || count == count_below {
            return Some(below);
        }
        Some(below + (bound - below) * (rank - count_below) / (count - count_below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(buckets: &[(f64, f64)]) -> Histogram {
        let mut histogram = Histogram::default();
        buckets.iter().for_each(|(bound, count)| histogram.add(*bound, *count));
        histogram
    }

    #[test]
    fn quantiles() {
        let h = histogram(&[(1.0, 0.0), (2.0, 50.0), (4.0, 100.0), (f64::INFINITY, 100.0)]);
        assert_eq!(h.quantile(0.5), Some(2.0));
        assert_eq!(h.quantile(0.25), Some(1.5));
        assert_eq!(h.quantile(0.75), Some(3.0));
        assert_eq!(h.quantile(1.0), Some(4.0));
    }

    #[test]
    fn what_is_beyond_all_bounds_is_said_to_be_at_the_last() {
        let h = histogram(&[(1.0, 1.0), (f64::INFINITY, 10.0)]);
        assert_eq!(h.quantile(0.99), Some(1.0));
    }

    #[test]
    fn nothing_observed() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(histogram(&[(1.0, 0.0), (f64::INFINITY, 0.0)]).quantile(0.5), None);
    }

    #[test]
    fn agents_add_up() {
        let mut h = histogram(&[(1.0, 1.0), (f64::INFINITY, 1.0)]);
        h.add(1.0, 2.0);
        h.add(f64::INFINITY, 3.0);
        assert_eq!(h, histogram(&[(1.0, 3.0), (f64::INFINITY, 4.0)]));
    }
}
