//! Numbers that look random and are the same in each process and each run.

/// Scatters a number. No two numbers give the same, and 0 gives 0. (The finalizer of SplitMix64.)
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The `index`th number of a sequence.
pub(crate) fn number(sequence: u64, index: u64) -> u64 {
    mix(mix(sequence.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_add(index).wrapping_add(1))
}

/// A number in 0..1.
pub(crate) fn fraction(number: u64) -> f64 {
    (number >> 11) as f64 / (1_u64 << 53) as f64
}

/// What is left of many numbers, in their order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Digest(u64);

impl Digest {
    pub(crate) fn add(&mut self, number: u64) {
        self.0 = mix(self.0.rotate_left(17) ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

impl FromIterator<u64> for Digest {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Digest {
        let mut digest = Digest::default();
        numbers.into_iter().for_each(|number| digest.add(number));
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_see_values_and_order() {
        let digest = |numbers: &[u64]| numbers.iter().copied().collect::<Digest>().value();
        assert_eq!(digest(&[1, 2]), digest(&[1, 2]));
        assert_ne!(digest(&[1, 2]), digest(&[2, 1]));
        assert_ne!(digest(&[0]), digest(&[0, 0]));
        assert_ne!(digest(&[]), digest(&[0]));
    }

    #[test]
    fn fractions_are_below_one() {
        assert!(
            (0..1000).map(|index| fraction(number(1, index))).all(|fraction| (0.0..1.0).contains(&fraction))
        );
        assert!(fraction(u64::MAX) < 1.0);
    }
}
