//! The source of all chance: a small generator whose draws never change.
//!
//! A case that is told by its number must stay the same case in every later build, so this is SplitMix64 (Steele, Lea and
//! Flood, "Fast splittable pseudorandom number generators", 2014) spelled out, and no library whose draws may change.

/// Draws numbers; the same seed draws the same ones on every machine.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice of a seed; each `salt` starts a sequence of its own.
    #[must_use]
    pub fn new(seed: u64, salt: u64) -> Self {
        let mut outer = Self(seed);
        let mut inner = Self(salt ^ 0x6a09_e667_f3bc_c908);
        Self(outer.bits() ^ inner.bits().rotate_left(17))
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The bias of a remainder is far below anything a test of a few thousand cases could show.
        (self.bits() % n.max(1) as u64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.bits() % (high.abs_diff(low) + 1)) as i64
    }

    /// True in `percent` of a hundred draws.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of a list that is not empty.
    ///
    /// # Panics
    /// When the list is empty: every list here is written down in the code.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// The place of one of several weights, the heavier the more often; 0 where all are 0.
    pub fn weighed(&mut self, weights: &[usize]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (at, weight) in weights.iter().enumerate() {
            if left < *weight {
                return at;
            }
            left -= weight;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draws_of_a_seed_are_the_published_ones() {
        // The first outputs of SplitMix64 for the seed 1234567, as its authors' reference program prints them.
        let mut dice = Dice(1_234_567);
        assert_eq!(
            [dice.bits(), dice.bits(), dice.bits()],
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let mut dice = Dice::new(1, 2);
        for _ in 0..1000 {
            assert!(dice.below(3) < 3);
            assert!((-2..=2).contains(&dice.between(-2, 2)));
            assert_eq!(dice.weighed(&[0, 5, 0]), 1);
        }
        assert_eq!(dice.below(0), 0);
        assert_ne!(Dice::new(1, 2).bits(), Dice::new(2, 1).bits());
    }
}
