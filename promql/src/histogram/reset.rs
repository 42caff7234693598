//! Whether a histogram started again from zero since the sample before it.

use storage::model::ResetHint;

use super::FloatHistogram;
use super::bounds::{coarser_index, exponential_bound};

impl FloatHistogram {
    /// Whether a counter reset lies between `previous` and this histogram: said by the hint, or seen
    /// because a count went down or the layout became finer.
    #[must_use]
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Yes => return true,
            ResetHint::No => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.has_custom_buckets() {
            if !previous.has_custom_buckets() {
                return true;
            }
            if self.custom_values != previous.custom_values {
                return self.shrinks_between_common_bounds(previous);
            }
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero, threshold) = if self.zero_threshold == previous.zero_threshold {
            (previous.zero_count, previous.zero_threshold)
        } else {
            previous.zero_count_for(self.zero_threshold)
        };
        if threshold != self.zero_threshold || self.zero_count < zero {
            return true;
        }
        self.shrinks(&self.positive, &previous.positive, previous.schema)
            || self.shrinks(&self.negative, &previous.negative, previous.schema)
    }

    /// Whether a bucket outside the zero bucket went down.
    fn shrinks(&self, now: &[(i32, f64)], before: &[(i32, f64)], schema: i32) -> bool {
        let hidden = |i: i32| {
            !self.has_custom_buckets() && exponential_bound(i, self.schema) <= self.zero_threshold
        };
        let mut now = now.iter().copied().peekable();
        let mut before = before.iter().copied().peekable();
        while let Some((i, mut count)) = before.next() {
            let index = if schema == self.schema {
                i
            } else {
                let index = coarser_index(i, schema, self.schema);
                while let Some((_, n)) =
                    before.next_if(|(j, _)| coarser_index(*j, schema, self.schema) == index)
                {
                    count += n;
                }
                index
            };
            if hidden(index) {
                continue;
            }
            while now.next_if(|(j, _)| *j < index).is_some() {}
            let here = now.next_if(|(j, _)| *j == index).map(|(_, n)| n);
            match here {
                Some(n) if n < count => return true,
                None if count != 0.0 => return true,
                _ => {}
            }
        }
        false
    }

    fn shrinks_between_common_bounds(&self, previous: &Self) -> bool {
        let bounds = self.custom_values.iter().copied();
        let common = bounds
            .filter(|b| previous.custom_values.contains(b))
            .chain([f64::INFINITY]);
        let below = |h: &Self, low: f64, high: f64| -> f64 {
            let inside = h.positive.iter().filter(|(i, _)| {
                let upper = h.bound(*i);
                upper > low && upper <= high
            });
            inside.map(|(_, n)| n).sum()
        };
        let mut low = f64::NEG_INFINITY;
        for high in common {
            if below(self, low, high) < below(previous, low, high) {
                return true;
            }
            low = high;
        }
        false
    }
}
