//! Chunks of native histograms, with integer or float counts.

use storage::model::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint, is_stale};

use super::Encoding;
use super::bits::{BitWriter, Xor};

/// Bytes before the layout: number of samples, and what is known of a reset before the first.
const HEADER: usize = 3;

/// A chunk of histograms that may take more.
pub(super) struct HistogramChunk {
    out: BitWriter,
    count: u16,
    is_gauge: bool,
    layout: Layout,
    t_ms: i64,
    delta_ms: i64,
    sum: Xor,
    numbers: Numbers,
}

/// What all histograms of a chunk have in common. A staleness marker has an empty one.
#[derive(Clone, Debug, PartialEq)]
struct Layout {
    is_stale: bool,
    schema: i32,
    zero_threshold_bits: u64,
    positive: Vec<BucketSpan>,
    negative: Vec<BucketSpan>,
    bounds: Vec<f64>,
}

/// Count, zero count and all buckets of the newest histogram.
enum Numbers {
    Integer {
        /// The number and its last step. The first two count, the rest are differences of buckets.
        all: Vec<(i64, i64)>,
        /// Number of positive buckets.
        positive: usize,
    },
    Float(Vec<Xor>),
}

impl Layout {
    fn of(h: &Histogram) -> Self {
        if is_stale(h.sum) {
            return Self {
                is_stale: true,
                schema: 0,
                zero_threshold_bits: 0,
                positive: Vec::new(),
                negative: Vec::new(),
                bounds: Vec::new(),
            };
        }
        Self {
            is_stale: false,
            schema: h.schema,
            zero_threshold_bits: h.zero_threshold.to_bits(),
            positive: h.positive_spans.clone(),
            negative: h.negative_spans.clone(),
            bounds: h.custom_values.clone(),
        }
    }

    fn fits(&self, h: &Histogram) -> bool {
        if self.is_stale || is_stale(h.sum) {
            return self.is_stale && is_stale(h.sum);
        }
        self.schema == h.schema
            && self.zero_threshold_bits == h.zero_threshold.to_bits()
            && self.positive == h.positive_spans
            && self.negative == h.negative_spans
            && self.bounds == h.custom_values
    }

    fn write(&self, out: &mut BitWriter) {
        zero_threshold(out, f64::from_bits(self.zero_threshold_bits));
        out.varbit(i64::from(self.schema));
        for spans in [&self.positive, &self.negative] {
            out.varbit_unsigned(spans.len() as u64);
            for span in spans {
                out.varbit_unsigned(u64::from(span.length));
                out.varbit(i64::from(span.offset));
            }
        }
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            out.varbit_unsigned(self.bounds.len() as u64);
            self.bounds.iter().for_each(|b| bound(out, *b));
        }
    }
}

impl HistogramChunk {
    pub(super) fn new(t_ms: i64, h: &Histogram) -> Self {
        let mut header = vec![0; HEADER];
        // "No reset" is never said: whether it holds depends on what the reader has before.
        header[2] = match h.reset_hint {
            ResetHint::Yes => 0b1000_0000,
            ResetHint::Gauge => 0b1100_0000,
            ResetHint::No | ResetHint::Unknown => 0,
        };
        let layout = Layout::of(h);
        let mut out = BitWriter::after(header);
        layout.write(&mut out);
        out.varbit(t_ms);
        let numbers = Numbers::first(&mut out, h, &layout);
        Self {
            out,
            count: 1,
            is_gauge: h.reset_hint == ResetHint::Gauge,
            layout,
            t_ms,
            delta_ms: 0,
            sum: Xor::new(h.sum),
            numbers,
        }
    }

    pub(super) const fn encoding(&self) -> Encoding {
        match self.numbers {
            Numbers::Integer { .. } => Encoding::Histogram,
            Numbers::Float(_) => Encoding::FloatHistogram,
        }
    }

    /// Adds a histogram; `false` where it needs a chunk of its own.
    pub(super) fn push(&mut self, t_ms: i64, h: &Histogram) -> bool {
        let is_gauge = h.reset_hint == ResetHint::Gauge;
        if h.reset_hint == ResetHint::Yes
            || is_gauge != self.is_gauge
            || !self.layout.fits(h)
            || !self.numbers.precede(h, is_gauge)
        {
            return false;
        }
        let delta_ms = t_ms.wrapping_sub(self.t_ms);
        self.out.varbit(delta_ms.wrapping_sub(self.delta_ms));
        (self.t_ms, self.delta_ms) = (t_ms, delta_ms);
        let Self {
            out,
            sum,
            numbers,
            layout,
            ..
        } = self;
        numbers.push(out, h, layout, |out| sum.push(out, h.sum));
        self.count += 1;
        true
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.bytes_mut()[..2].copy_from_slice(&self.count.to_be_bytes());
        self.out.finish()
    }
}

impl Numbers {
    /// Writes count, zero count, sum and buckets of a chunk's first histogram.
    fn first(out: &mut BitWriter, h: &Histogram, layout: &Layout) -> Self {
        match &h.counts {
            Counts::Integer { .. } => {
                let (all, positive) = integers(h, layout);
                for (i, n) in all.iter().enumerate() {
                    match i {
                        0 | 1 => out.varbit_unsigned(*n as u64),
                        _ => out.varbit(*n),
                    }
                    if i == 1 {
                        out.float(h.sum);
                    }
                }
                Self::Integer {
                    all: all.into_iter().map(|n| (n, 0)).collect(),
                    positive,
                }
            }
            Counts::Float { .. } => {
                let all = floats(h, layout);
                for (i, v) in all.iter().enumerate() {
                    out.float(*v);
                    if i == 1 {
                        out.float(h.sum);
                    }
                }
                Self::Float(all.into_iter().map(Xor::new).collect())
            }
        }
    }

    /// Whether a histogram of the same layout can follow without a reset: no count falls, and of gauges any does.
    fn precede(&self, h: &Histogram, is_gauge: bool) -> bool {
        match (self, &h.counts) {
            (
                Self::Integer { all, positive },
                Counts::Integer {
                    count,
                    zero_count,
                    positive: p,
                    negative: n,
                },
            ) => {
                let (totals, buckets) = all.split_at(2);
                let (own_p, own_n) = buckets.split_at(*positive);
                // The layout says that there are as many; a marker has none.
                is_gauge
                    || is_stale(h.sum)
                    || *count >= totals[0].0 as u64
                        && *zero_count >= totals[1].0 as u64
                        && rises(own_p, p)
                        && rises(own_n, n)
            }
            (
                Self::Float(all),
                Counts::Float {
                    count,
                    zero_count,
                    positive: p,
                    negative: n,
                },
            ) => {
                let own = [count, zero_count].into_iter().chain(p).chain(n);
                is_gauge
                    || is_stale(h.sum)
                    || all.iter().zip(own).all(|(before, v)| *v >= before.value())
            }
            _ => false,
        }
    }

    fn push(
        &mut self,
        out: &mut BitWriter,
        h: &Histogram,
        layout: &Layout,
        write_sum: impl FnOnce(&mut BitWriter),
    ) {
        let mut write_sum = Some(write_sum);
        let mut after = |out: &mut BitWriter, i: usize| {
            if let Some(write_sum) = write_sum.take_if(|_| i == 1) {
                write_sum(out);
            }
        };
        match self {
            Self::Integer { all, .. } => {
                let (new, _) = integers(h, layout);
                for (i, ((n, step), new)) in all.iter_mut().zip(new).enumerate() {
                    let new_step = new.wrapping_sub(*n);
                    out.varbit(new_step.wrapping_sub(*step));
                    (*n, *step) = (new, new_step);
                    after(out, i);
                }
            }
            Self::Float(all) => {
                for (i, (before, v)) in all.iter_mut().zip(floats(h, layout)).enumerate() {
                    before.push(out, v);
                    after(out, i);
                }
            }
        }
    }
}

/// Whether no bucket falls; both as differences.
fn rises(before: &[(i64, i64)], now: &[i64]) -> bool {
    let (mut a, mut b) = (0_i64, 0_i64);
    before.iter().zip(now).all(|((delta, _), new)| {
        a = a.wrapping_add(*delta);
        b = b.wrapping_add(*new);
        b >= a
    })
}

/// Count, zero count, differences of the positive and of the negative buckets; and how many are positive.
fn integers(h: &Histogram, layout: &Layout) -> (Vec<i64>, usize) {
    match &h.counts {
        Counts::Integer {
            count,
            zero_count,
            positive,
            negative,
        } if !layout.is_stale => {
            let totals = [*count as i64, *zero_count as i64];
            let all = totals.iter().chain(positive).chain(negative).copied();
            (all.collect(), positive.len())
        }
        _ => (vec![0; 2], 0),
    }
}

/// The same of float counts.
fn floats(h: &Histogram, layout: &Layout) -> Vec<f64> {
    match &h.counts {
        Counts::Float {
            count,
            zero_count,
            positive,
            negative,
        } if !layout.is_stale => {
            let totals = [*count, *zero_count];
            totals
                .iter()
                .chain(positive)
                .chain(negative)
                .copied()
                .collect()
        }
        _ => vec![0.0; 2],
    }
}

/// A threshold: one byte for zero and for the powers of two between 2^-243 and 2^10.
fn zero_threshold(out: &mut BitWriter, threshold: f64) {
    if threshold == 0.0 {
        return out.byte(0);
    }
    let bits = threshold.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    let is_power = bits & ((1 << 52) - 1) == 0 && threshold > 0.0;
    if is_power && (-243..=10).contains(&exponent) {
        // The exponent of a fraction between a half and one is greater by one.
        out.byte((exponent + 1 + 243) as u8);
    } else {
        out.byte(0xff);
        out.float(threshold);
    }
}

/// A custom bound: in thousandths where it is one that people write.
fn bound(out: &mut BitWriter, bound: f64) {
    const MAX_THOUSANDTHS: f64 = 33_554_430.0;
    let thousandths = bound * 1000.0;
    let is_whole = thousandths.round() / 1000.0 == bound;
    if (0.0..=MAX_THOUSANDTHS).contains(&thousandths) && is_whole {
        out.varbit_unsigned(thousandths.round() as u64 + 1);
    } else {
        out.bit(false);
        out.float(bound);
    }
}
