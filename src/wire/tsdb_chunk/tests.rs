//! Chunks are read back by a decoder written from the format's description alone.

use proptest::prelude::*;
use storage::model::{BucketSpan, Counts, NO_START_MS, ResetHint, STALE_NAN, is_stale};

use super::*;

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> bool {
        let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
        self.at += 1;
        bit == 1
    }

    fn bits(&mut self, n: u32) -> u64 {
        (0..n).fold(0, |v, _| v << 1 | u64::from(self.bit()))
    }

    fn float(&mut self) -> f64 {
        f64::from_bits(self.bits(64))
    }

    fn uvarint(&mut self) -> u64 {
        let (mut n, mut shift) = (0, 0);
        loop {
            let byte = self.bits(8);
            n |= (byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return n;
            }
        }
    }

    fn varint(&mut self) -> i64 {
        let n = self.uvarint();
        (n >> 1) as i64 ^ -((n & 1) as i64)
    }

    fn ones(&mut self, most: usize) -> usize {
        (0..most).take_while(|_| self.bit()).count()
    }

    fn signed(&mut self, width: u32) -> i64 {
        let n = self.bits(width);
        if n > 1 << (width - 1) {
            n.wrapping_sub(1 << width) as i64
        } else {
            n as i64
        }
    }

    fn varbit(&mut self) -> i64 {
        match self.ones(8) {
            0 => 0,
            8 => self.bits(64) as i64,
            n => self.signed([3, 6, 9, 12, 18, 25, 56][n - 1]),
        }
    }

    fn varbit_unsigned(&mut self) -> u64 {
        match self.ones(8) {
            0 => 0,
            8 => self.bits(64),
            n => self.bits([3, 6, 9, 12, 18, 25, 56][n - 1]),
        }
    }

    fn xor(&mut self, before: f64, window: &mut (u32, u32)) -> f64 {
        if !self.bit() {
            return before;
        }
        if self.bit() {
            let leading = self.bits(5) as u32;
            let width = match self.bits(6) as u32 {
                0 => 64,
                n => n,
            };
            *window = (leading, 64 - leading - width);
        }
        let delta = self.bits(64 - window.0 - window.1) << window.1;
        f64::from_bits(before.to_bits() ^ delta)
    }

    fn spans(&mut self) -> Vec<BucketSpan> {
        let n = self.varbit_unsigned();
        (0..n)
            .map(|_| BucketSpan {
                length: self.varbit_unsigned() as u32,
                offset: self.varbit() as i32,
            })
            .collect()
    }
}

fn decode_floats(data: &[u8]) -> Vec<(i64, f64)> {
    let count = u16::from_be_bytes([data[0], data[1]]);
    let mut bits = Bits {
        bytes: &data[2..],
        at: 0,
    };
    let (mut t, mut delta, mut v, mut window) = (0, 0_i64, 0.0, (0, 0));
    let mut out = Vec::new();
    for i in 0..count {
        match i {
            0 => (t, v) = (bits.varint(), bits.float()),
            1 => delta = bits.uvarint() as i64,
            _ => {
                let step = match bits.ones(4) {
                    0 => 0,
                    4 => bits.bits(64) as i64,
                    n => bits.signed([14, 17, 20][n - 1]),
                };
                delta = delta.wrapping_add(step);
            }
        }
        if i > 0 {
            t = i64::wrapping_add(t, delta);
            v = bits.xor(v, &mut window);
        }
        out.push((t, v));
    }
    out
}

/// Times and histograms, with the hint that a reader takes from a chunk.
fn decode_histograms(encoding: Encoding, data: &[u8]) -> Vec<(i64, Histogram)> {
    let count = u16::from_be_bytes([data[0], data[1]]);
    let first_hint = match data[2] >> 6 {
        0 => ResetHint::Unknown,
        1 => ResetHint::No,
        2 => ResetHint::Yes,
        _ => ResetHint::Gauge,
    };
    let mut bits = Bits {
        bytes: &data[3..],
        at: 0,
    };
    let zero_threshold = match bits.bits(8) {
        0 => 0.0,
        255 => bits.float(),
        n => 2_f64.powi(n as i32 - 244),
    };
    let schema = bits.varbit() as i32;
    let (positive_spans, negative_spans) = (bits.spans(), bits.spans());
    let bounds = if schema == -53 {
        bits.varbit_unsigned()
    } else {
        0
    };
    let custom_values: Vec<f64> = (0..bounds)
        .map(|_| match bits.varbit_unsigned() {
            0 => bits.float(),
            n => (n - 1) as f64 / 1000.0,
        })
        .collect();
    let width = |spans: &[BucketSpan]| spans.iter().map(|s| s.length as usize).sum::<usize>();
    let (p, n) = (width(&positive_spans), width(&negative_spans));
    let integer = encoding == Encoding::Histogram;
    let (mut t, mut t_delta, mut sum, mut sum_window) = (0, 0, 0.0, (0, 0));
    let (mut ints, mut steps) = (vec![0_i64; 2 + p + n], vec![0_i64; 2 + p + n]);
    let (mut floats, mut windows) = (vec![0.0; 2 + p + n], vec![(0, 0); 2 + p + n]);
    let mut out = Vec::new();
    for i in 0..count {
        let step: i64 = bits.varbit();
        if i == 0 {
            t = step;
        } else {
            t_delta += step;
            t += t_delta;
        }
        for at in 0..2 + p + n {
            match (integer, i) {
                (true, 0) if at < 2 => ints[at] = bits.varbit_unsigned() as i64,
                (true, 0) => ints[at] = bits.varbit(),
                (true, _) => {
                    steps[at] = i64::wrapping_add(steps[at], bits.varbit());
                    ints[at] = ints[at].wrapping_add(steps[at]);
                }
                (false, 0) => floats[at] = bits.float(),
                (false, _) => floats[at] = bits.xor(floats[at], &mut windows[at]),
            }
            if at == 1 {
                sum = if i == 0 {
                    bits.float()
                } else {
                    bits.xor(sum, &mut sum_window)
                };
            }
        }
        let counts = if integer {
            Counts::Integer {
                count: ints[0] as u64,
                zero_count: ints[1] as u64,
                positive: ints[2..2 + p].to_vec(),
                negative: ints[2 + p..].to_vec(),
            }
        } else {
            Counts::Float {
                count: floats[0],
                zero_count: floats[1],
                positive: floats[2..2 + p].to_vec(),
                negative: floats[2 + p..].to_vec(),
            }
        };
        let reset_hint = match first_hint {
            ResetHint::Gauge => ResetHint::Gauge,
            hint if i == 0 => hint,
            _ => ResetHint::No,
        };
        let h = Histogram {
            reset_hint,
            schema,
            zero_threshold,
            sum,
            positive_spans: positive_spans.clone(),
            negative_spans: negative_spans.clone(),
            custom_values: custom_values.clone(),
            counts,
        };
        out.push((t, h));
    }
    out
}

fn chunks(samples: &SampleBuf) -> Vec<Chunk> {
    let mut out = Vec::new();
    encode(samples, |c| out.push(c));
    out
}

fn floats(samples: &[(i64, f64)]) -> SampleBuf {
    let mut buf = SampleBuf::default();
    samples
        .iter()
        .for_each(|(t, v)| buf.push_float(*t, *v, NO_START_MS));
    buf
}

fn histograms(all: &[Histogram]) -> SampleBuf {
    let mut buf = SampleBuf::default();
    for (i, h) in all.iter().enumerate() {
        buf.push_histogram(1000 * i as i64, Arc::new(h.clone()), NO_START_MS);
    }
    buf
}

fn integer(count: u64, positive: &[i64]) -> Histogram {
    Histogram {
        schema: 2,
        zero_threshold: 0.001,
        sum: count as f64,
        positive_spans: vec![BucketSpan {
            offset: -3,
            length: positive.len() as u32,
        }],
        counts: Counts::Integer {
            count,
            zero_count: 1,
            positive: positive.to_vec(),
            negative: Vec::new(),
        },
        ..Histogram::default()
    }
}

#[test]
fn a_known_chunk_has_known_bytes() {
    // 1000 ms, 1.5; then 15 s later the same value; then 15 s later 2.5.
    let chunk = &chunks(&floats(&[(1000, 1.5), (16_000, 1.5), (31_000, 2.5)]))[0];
    let mut expected = vec![0, 3, 0xd0, 0x0f, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0x98, 0x75];
    // One bit for the same value, one for the same step, then 11, 1 leading zero, width 12.
    // 1.5 ^ 2.5 is 0x7ffc << 48: leading 1, trailing 50, width 13.
    expected.extend([0b0011_0000, 0b1001_1011, 0b1111_1111, 0b1111_0000]);
    assert_eq!(chunk.data, expected);
    assert_eq!((chunk.min_ms, chunk.max_ms), (1000, 31_000));
    assert_eq!(empty(1, 2).data, [0, 0]);
}

#[test]
fn a_chunk_ends_after_120_samples() {
    let samples: Vec<(i64, f64)> = (0..250).map(|i| (i * 1000, i as f64)).collect();
    let lengths: Vec<usize> = chunks(&floats(&samples))
        .iter()
        .map(|c| decode_floats(&c.data).len())
        .collect();
    assert_eq!(lengths, [120, 120, 10]);
}

#[test]
fn a_chunk_of_histograms_ends_where_a_count_falls_or_the_layout_changes() {
    let mut yes = integer(9, &[4, 0]);
    yes.reset_hint = ResetHint::Yes;
    let mut gauge = integer(9, &[4, 0]);
    gauge.reset_hint = ResetHint::Gauge;
    let mut lower = integer(5, &[2, 0]);
    lower.reset_hint = ResetHint::Gauge;
    let stale = Histogram {
        sum: STALE_NAN,
        ..integer(0, &[])
    };
    let all = [
        integer(3, &[1, 0]),
        integer(5, &[2, 0]),
        // A bucket falls although the count rises.
        integer(6, &[1, 3]),
        integer(9, &[1, 3, 0]),
        yes,
        stale.clone(),
        stale,
        gauge,
        lower,
    ];
    let found: Vec<(usize, Vec<ResetHint>)> = chunks(&histograms(&all))
        .iter()
        .map(|c| {
            let all = decode_histograms(c.encoding, &c.data);
            (all.len(), all.iter().map(|(_, h)| h.reset_hint).collect())
        })
        .collect();
    use ResetHint::{Gauge, No, Unknown, Yes};
    assert_eq!(
        found,
        [
            (2, vec![Unknown, No]),
            (1, vec![Unknown]),
            (1, vec![Unknown]),
            (1, vec![Yes]),
            (2, vec![Unknown, No]),
            (2, vec![Gauge, Gauge]),
        ]
    );
}

#[test]
fn floats_and_histograms_take_turns() {
    let mut buf = floats(&[(1, 1.0), (2, STALE_NAN)]);
    buf.push_histogram(3, Arc::new(integer(1, &[])), NO_START_MS);
    buf.push_float(4, 2.0, NO_START_MS);
    let encodings: Vec<Encoding> = chunks(&buf).iter().map(|c| c.encoding).collect();
    assert_eq!(
        encodings,
        [Encoding::Xor, Encoding::Histogram, Encoding::Xor]
    );
    let first = decode_floats(&chunks(&buf)[0].data);
    assert!(is_stale(first[1].1));
}

#[test]
fn bounds_and_thresholds_survive_in_all_their_forms() {
    let bounds = [
        -1.0,
        0.0,
        0.005,
        0.1,
        2.5,
        33_554.43,
        33_554.431,
        1e9,
        f64::MIN_POSITIVE,
    ];
    let custom = Histogram {
        schema: -53,
        custom_values: bounds.to_vec(),
        ..Histogram::default()
    };
    let chunk = &chunks(&histograms(&[custom]))[0];
    assert_eq!(chunk.encoding, Encoding::FloatHistogram);
    assert_eq!(
        decode_histograms(chunk.encoding, &chunk.data)[0]
            .1
            .custom_values,
        bounds
    );
    for threshold in [
        0.0,
        1e-128,
        0.5,
        1024.0,
        2048.0,
        2_f64.powi(-243),
        2_f64.powi(-244),
        0.001,
    ] {
        let h = Histogram {
            zero_threshold: threshold,
            ..integer(1, &[])
        };
        let chunk = &chunks(&histograms(&[h]))[0];
        let read = decode_histograms(chunk.encoding, &chunk.data);
        assert_eq!(read[0].1.zero_threshold.to_bits(), threshold.to_bits());
    }
}

/// What a reader sees of a histogram: hints apart, and of a marker no more than that it is one.
fn seen(h: &Histogram) -> Histogram {
    if is_stale(h.sum) {
        return Histogram {
            sum: 0.25,
            ..Histogram::default()
        };
    }
    Histogram {
        reset_hint: ResetHint::Unknown,
        ..h.clone()
    }
}

fn any_histogram() -> impl Strategy<Value = Histogram> {
    let spans = |n: usize| {
        let n = n as u32;
        vec![
            BucketSpan {
                offset: -7,
                length: n / 2,
            },
            BucketSpan {
                offset: 3,
                length: n - n / 2,
            },
        ]
    };
    let hint = prop_oneof![
        Just(ResetHint::Unknown),
        Just(ResetHint::Gauge),
        Just(ResetHint::Yes),
        Just(ResetHint::No)
    ];
    (
        hint,
        -4..9_i32,
        prop_oneof![Just(1.5), Just(STALE_NAN), proptest::num::f64::NORMAL],
        prop_oneof![
            (
                any::<u64>(),
                0..9_u64,
                prop::collection::vec(-300..i64::from(i32::MAX), 0..6),
                prop::collection::vec(0..4_i64, 0..3)
            )
                .prop_map(|(count, zero_count, positive, negative)| Counts::Integer {
                    count,
                    zero_count,
                    positive,
                    negative
                }),
            (
                0.0..9.0_f64,
                0.0..9.0_f64,
                prop::collection::vec(0.0..9.0_f64, 0..6),
                prop::collection::vec(0.0..9.0_f64, 0..3)
            )
                .prop_map(|(count, zero_count, positive, negative)| Counts::Float {
                    count,
                    zero_count,
                    positive,
                    negative
                }),
        ],
    )
        .prop_map(move |(reset_hint, schema, sum, counts)| {
            let (p, n) = match &counts {
                Counts::Integer {
                    positive, negative, ..
                } => (positive.len(), negative.len()),
                Counts::Float {
                    positive, negative, ..
                } => (positive.len(), negative.len()),
            };
            Histogram {
                reset_hint,
                schema,
                zero_threshold: 0.001,
                sum,
                positive_spans: spans(p),
                negative_spans: spans(n),
                custom_values: Vec::new(),
                counts,
            }
        })
}

proptest! {
    #[test]
    fn floats_come_back_bit_for_bit(
        steps in prop::collection::vec((prop_oneof![1..20_i64, 1..100_000_i64, 1..1_i64 << 40], any::<u64>()), 1..300),
        first in -(1_i64 << 50)..1 << 50,
    ) {
        let mut t = first;
        let samples: Vec<(i64, f64)> = steps
            .into_iter()
            .map(|(step, bits)| {
                t += step;
                (t, f64::from_bits(bits))
            })
            .collect();
        let read: Vec<(i64, u64)> = chunks(&floats(&samples))
            .iter()
            .flat_map(|c| decode_floats(&c.data))
            .map(|(t, v)| (t, v.to_bits()))
            .collect();
        let written: Vec<(i64, u64)> = samples.iter().map(|(t, v)| (*t, v.to_bits())).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn histograms_come_back_as_a_reader_sees_them(all in prop::collection::vec(any_histogram(), 1..40), repeat in 1..4_usize) {
        let all: Vec<Histogram> = all.into_iter().flat_map(|h| vec![h; repeat]).collect();
        let read: Vec<(i64, Histogram)> = chunks(&histograms(&all))
            .iter()
            .flat_map(|c| decode_histograms(c.encoding, &c.data))
            .map(|(t, h)| (t, seen(&h)))
            .collect();
        let written: Vec<(i64, Histogram)> =
            all.iter().enumerate().map(|(i, h)| (1000 * i as i64, seen(h))).collect();
        prop_assert_eq!(read, written);
    }
}
