//! The native histogram of a script: a float histogram with one run of buckets a side.

use std::fmt;

/// What a counter reset hint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing is known.
    Unknown,
    /// The counter was reset before this sample.
    Reset,
    /// It was not.
    NotReset,
    /// A gauge: resets have no meaning.
    Gauge,
}

/// A run of buckets: the first has index `offset`, counts are absolute.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Buckets {
    /// Index of the first bucket.
    pub offset: i32,
    /// Counts of consecutive buckets.
    pub counts: Vec<f64>,
}

/// The schema of custom buckets.
pub const CUSTOM: i32 = -53;

/// A float histogram.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FloatHistogram {
    /// The resolution; [`CUSTOM`] for custom buckets.
    pub schema: i32,
    /// All observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Width of the zero bucket to either side.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Positive (or custom) buckets.
    pub positive: Buckets,
    /// Negative buckets.
    pub negative: Buckets,
    /// Upper bounds of custom buckets, `+Inf` left out.
    pub custom_values: Vec<f64>,
    /// The hint, where the script spells one.
    pub hint: Option<Hint>,
}

/// A histogram that cannot be read or combined, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// A bucket as the query API shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// 0: open left, 1: open right, 2: open, 3: closed.
    pub rule: u8,
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Observations.
    pub count: f64,
}

impl Buckets {
    fn combine(&mut self, other: &Self, sign: f64) {
        if other.counts.is_empty() {
            return;
        }
        if self.counts.is_empty() {
            self.offset = other.offset;
        }
        let start = self.offset.min(other.offset);
        let end = |b: &Self| b.offset + i32::try_from(b.counts.len()).unwrap_or(i32::MAX / 2);
        let stop = end(self).max(end(other));
        let at = |b: &Self, i: i32| {
            usize::try_from(i - b.offset)
                .ok()
                .and_then(|k| b.counts.get(k))
                .copied()
                .unwrap_or(0.0)
        };
        let counts = (start..stop)
            .map(|i| at(self, i) + sign * at(other, i))
            .collect();
        *self = Self {
            offset: start,
            counts,
        };
    }

    /// The same observations in buckets of a coarser schema.
    fn coarsen(&self, levels: u32) -> Self {
        let mut out = Self::default();
        for (k, count) in self.counts.iter().enumerate() {
            let index = self.offset + i32::try_from(k).unwrap_or(0);
            // Bucket i is (base^(i-1), base^i]: its new index is i / 2^levels, rounded up.
            let index = ((index - 1) >> levels) + 1;
            out.combine(
                &Self {
                    offset: index,
                    counts: vec![*count],
                },
                1.0,
            );
        }
        out
    }
}

impl FloatHistogram {
    /// Reads `{{schema:1 count:2 ...}}`; returns it with what follows the closing braces.
    ///
    /// # Errors
    /// An unknown field, a value that is no number, or missing braces.
    pub fn parse(text: &str) -> Result<(Self, &str), Error> {
        let wrong = |what: &str| Error(format!("{what} in histogram {text:?}"));
        let inner = text
            .strip_prefix("{{")
            .ok_or_else(|| wrong("no opening braces"))?;
        let (mut rest, after) = inner
            .split_once("}}")
            .ok_or_else(|| wrong("no closing braces"))?;
        let mut out = Self::default();
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                return Ok((out, after));
            }
            let (key, value) = rest.split_once(':').ok_or_else(|| wrong("no colon"))?;
            let value = value.trim_start();
            let (value, remaining) = if value.starts_with('[') {
                let end = value.find(']').ok_or_else(|| wrong("no closing bracket"))? + 1;
                value.split_at(end)
            } else {
                value.split_at(value.find(char::is_whitespace).unwrap_or(value.len()))
            };
            out.set(key.trim(), value)?;
            rest = remaining;
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let wrong = || Error(format!("{key}:{value} in a histogram"));
        let number = || value.parse::<f64>().map_err(|_| wrong());
        let integer = || value.parse::<i32>().map_err(|_| wrong());
        let list = || -> Result<Vec<f64>, Error> {
            let items = value.trim_start_matches('[').trim_end_matches(']');
            let items = items.split([' ', ',', '\t']).filter(|i| !i.is_empty());
            items.map(|i| i.parse().map_err(|_| wrong())).collect()
        };
        match key {
            "schema" => self.schema = integer()?,
            "count" => self.count = number()?,
            "sum" => self.sum = number()?,
            "z_bucket" => self.zero_count = number()?,
            "z_bucket_w" => self.zero_threshold = number()?,
            "offset" => self.positive.offset = integer()?,
            "n_offset" => self.negative.offset = integer()?,
            "buckets" => self.positive.counts = list()?,
            "n_buckets" => self.negative.counts = list()?,
            "custom_values" => self.custom_values = list()?,
            "counter_reset_hint" => {
                self.hint = Some(match value {
                    "unknown" => Hint::Unknown,
                    "reset" => Hint::Reset,
                    "not_reset" => Hint::NotReset,
                    "gauge" => Hint::Gauge,
                    _ => return Err(wrong()),
                });
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// This one plus (or, with a negative sign, minus) another; the finer of two exponential
    /// schemas is made coarse.
    ///
    /// # Errors
    /// Custom buckets with exponential ones, or other bounds; different zero thresholds.
    pub fn combine(&self, other: &Self, sign: f64) -> Result<Self, Error> {
        let mut out = self.clone();
        let mut other = other.clone();
        if (out.schema == CUSTOM) != (other.schema == CUSTOM)
            || (out.schema == CUSTOM && out.custom_values != other.custom_values)
        {
            return Err(Error("histograms with other bucket bounds".to_owned()));
        }
        let coarse = out.schema.min(other.schema);
        for h in [&mut out, &mut other] {
            let levels = h.schema.abs_diff(coarse);
            if levels > 0 {
                h.positive = h.positive.coarsen(levels);
                h.negative = h.negative.coarsen(levels);
                h.schema = coarse;
            }
        }
        if out.zero_threshold != other.zero_threshold {
            return Err(Error("histograms with other zero thresholds".to_owned()));
        }
        out.count += sign * other.count;
        out.sum += sign * other.sum;
        out.zero_count += sign * other.zero_count;
        out.positive.combine(&other.positive, sign);
        out.negative.combine(&other.negative, sign);
        Ok(out)
    }

    /// The upper bound of a positive bucket.
    fn bound(&self, index: i64) -> f64 {
        if self.schema == CUSTOM {
            let Ok(index) = usize::try_from(index) else {
                return f64::NEG_INFINITY;
            };
            return self
                .custom_values
                .get(index)
                .copied()
                .unwrap_or(f64::INFINITY);
        }
        let exponent = index as f64 * f64::exp2(-f64::from(self.schema));
        if exponent == 1024.0 {
            return f64::MAX;
        }
        f64::exp2(exponent)
    }

    /// The buckets that hold something, from the lowest up, as the query API shows them.
    #[must_use]
    pub fn buckets(&self) -> Vec<Bucket> {
        let mut out = Vec::new();
        for (k, count) in self.negative.counts.iter().enumerate().rev() {
            let index = i64::from(self.negative.offset) + k as i64;
            let (lower, upper) = (-self.bound(index), -self.bound(index - 1));
            out.push(Bucket {
                rule: 1,
                lower,
                upper,
                count: *count,
            });
        }
        let z = self.zero_threshold;
        // The API shows no zero bucket below zero, unlike other buckets.
        if self.zero_count > 0.0 {
            out.push(Bucket {
                rule: 3,
                lower: -z,
                upper: z,
                count: self.zero_count,
            });
        }
        for (k, count) in self.positive.counts.iter().enumerate() {
            let index = i64::from(self.positive.offset) + k as i64;
            let (lower, upper) = (self.bound(index - 1), self.bound(index));
            let rule = if self.schema == CUSTOM && index == 0 {
                3
            } else {
                0
            };
            out.push(Bucket {
                rule,
                lower,
                upper,
                count: *count,
            });
        }
        out.retain(|b| b.count != 0.0);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_read_field_by_field() {
        let text = "{{schema:1 sum:-4 count:6 z_bucket:2 z_bucket_w:0.001 offset:-1 buckets:[1 2.5 1] \
                    n_offset:0 n_buckets:[1] counter_reset_hint:gauge}}x3";
        let (h, rest) = FloatHistogram::parse(text).unwrap();
        assert_eq!(rest, "x3");
        assert_eq!(
            (h.schema, h.sum, h.count, h.zero_count),
            (1, -4.0, 6.0, 2.0)
        );
        assert_eq!(
            h.positive,
            Buckets {
                offset: -1,
                counts: vec![1.0, 2.5, 1.0]
            }
        );
        assert_eq!(
            h.negative,
            Buckets {
                offset: 0,
                counts: vec![1.0]
            }
        );
        assert_eq!(h.hint, Some(Hint::Gauge));
        assert!(FloatHistogram::parse("{{shema:1}}").is_err());
    }

    #[test]
    fn buckets_get_the_bounds_of_the_schema() {
        let (h, _) = FloatHistogram::parse(
            "{{schema:0 z_bucket:1 z_bucket_w:0.5 buckets:[3 0 4] n_buckets:[2]}}",
        )
        .unwrap();
        let bucket = |rule, lower, upper, count| Bucket {
            rule,
            lower,
            upper,
            count,
        };
        assert_eq!(
            h.buckets(),
            [
                bucket(1, -1.0, -0.5, 2.0),
                bucket(3, -0.5, 0.5, 1.0),
                bucket(0, 0.5, 1.0, 3.0),
                bucket(0, 2.0, 4.0, 4.0)
            ]
        );
        let (h, _) =
            FloatHistogram::parse("{{schema:-53 custom_values:[5 10] buckets:[1 2 3]}}").unwrap();
        let bounds: Vec<_> = h
            .buckets()
            .iter()
            .map(|b| (b.rule, b.lower, b.upper))
            .collect();
        assert_eq!(
            bounds,
            [
                (3, f64::NEG_INFINITY, 5.0),
                (0, 5.0, 10.0),
                (0, 10.0, f64::INFINITY)
            ]
        );
    }

    #[test]
    fn a_finer_histogram_is_made_coarse_before_it_is_added() {
        let (fine, _) = FloatHistogram::parse("{{schema:1 count:4 buckets:[1 1 1 1]}}").unwrap();
        let (coarse, _) = FloatHistogram::parse("{{schema:0 count:1 buckets:[1]}}").unwrap();
        let sum = coarse.combine(&fine, 1.0).unwrap();
        // Fine buckets 0..=3 end at 1, 1.41, 2, 2.83: coarse buckets 0, 1, 1, 2.
        assert_eq!(
            sum.positive,
            Buckets {
                offset: 0,
                counts: vec![2.0, 2.0, 1.0]
            }
        );
        assert_eq!(sum.count, 5.0);
    }
}
