//! Sums that keep what rounding would lose.
//! Source: A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen", 1974.

/// What a bucket or a total of a histogram is counted in: plain floats, or compensated sums.
pub trait Number: Copy + Default + PartialEq + std::fmt::Debug {
    /// A number that stands for a float.
    fn of(value: f64) -> Self;
    /// The running value, without its compensation.
    fn value(self) -> f64;
    /// The value with its compensation.
    fn total(self) -> f64;
    /// Adds a float.
    fn plus(&mut self, value: f64);
    /// Adds another number of the same kind.
    fn merge(&mut self, other: Self);
    /// Multiplies by a factor.
    fn times(&mut self, factor: f64);
    /// Divides by a divisor.
    fn over(&mut self, divisor: f64);
    /// Whether nothing has been counted.
    fn is_zero(self) -> bool;
}

impl Number for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn value(self) -> f64 {
        self
    }
    fn total(self) -> f64 {
        self
    }
    fn plus(&mut self, value: f64) {
        *self += value;
    }
    fn merge(&mut self, other: Self) {
        *self += other;
    }
    fn times(&mut self, factor: f64) {
        *self *= factor;
    }
    fn over(&mut self, divisor: f64) {
        *self /= divisor;
    }
    fn is_zero(self) -> bool {
        self == 0.0
    }
}

/// A compensated sum. Once the sum is infinite the compensation is dropped, so that infinities stay.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Kahan {
    sum: f64,
    compensation: f64,
}

impl Number for Kahan {
    fn of(value: f64) -> Self {
        Self {
            sum: value,
            compensation: 0.0,
        }
    }

    fn value(self) -> f64 {
        self.sum
    }

    fn total(self) -> f64 {
        self.sum + self.compensation
    }

    #[inline]
    fn plus(&mut self, value: f64) {
        let next = self.sum + value;
        if next.is_infinite() {
            self.compensation = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.compensation += (self.sum - next) + value;
        } else {
            self.compensation += (value - next) + self.sum;
        }
        self.sum = next;
    }

    fn merge(&mut self, other: Self) {
        self.plus(other.sum);
        self.plus(other.compensation);
    }

    fn times(&mut self, factor: f64) {
        self.sum *= factor;
        self.compensation *= factor;
    }

    fn over(&mut self, divisor: f64) {
        self.sum /= divisor;
        self.compensation /= divisor;
    }

    fn is_zero(self) -> bool {
        self.sum == 0.0 && self.compensation == 0.0
    }
}

/// A mean that sums up directly as long as the sum stays finite and goes on incrementally from
/// there: the first is more accurate, the second cannot overflow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    sum: Kahan,
    count: f64,
    incremental: bool,
}

impl Mean {
    /// Takes a value into the mean.
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum = Kahan::of(value);
            return;
        }
        if !self.incremental {
            let mut next = self.sum;
            next.plus(value);
            if !next.value().is_infinite() {
                self.sum = next;
                return;
            }
            self.incremental = true;
            self.sum.over(self.count - 1.0);
        }
        self.sum.times((self.count - 1.0) / self.count);
        self.sum.plus(value / self.count);
    }

    /// The mean; NaN of nothing.
    pub(crate) fn get(self) -> f64 {
        if self.incremental {
            self.sum.total()
        } else {
            let mut sum = self.sum;
            sum.over(self.count);
            sum.total()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_between_large_ones_are_not_lost() {
        let mut sum = Kahan::default();
        for v in [1.0, 1e100, 1.0, -1e100] {
            sum.plus(v);
        }
        assert_eq!(sum.total(), 2.0);
    }

    #[test]
    fn infinities_stay() {
        let mut sum = Kahan::default();
        for v in [1.0, f64::INFINITY, 1.0] {
            sum.plus(v);
        }
        assert_eq!(sum.total(), f64::INFINITY);
    }

    #[test]
    fn the_mean_of_huge_values_does_not_overflow() {
        let mut mean = Mean::default();
        for _ in 0..3 {
            mean.add(f64::MAX);
        }
        assert!((mean.get() / f64::MAX - 1.0).abs() < 1e-12);
    }
}
