//! Chunks of float samples: delta-of-delta times, XOR values.
//! Source: T. Pelkonen et al., "Gorilla: A Fast, Scalable, In-Memory Time Series Database", VLDB 2015; the buckets
//! of the deltas are widened for millisecond times.
//!
//! ```text
//! +------+-----------+----------------------------------------------------------+
//! | kind | count u16 | bits of sample 1, sample 2, ...                          |
//! +------+-----------+----------------------------------------------------------+
//!  kind: 1 without, 2 with start timestamps; count is little-endian
//!
//!  sample 1:  t (64)  value (64)                      [start (64)]
//!  sample n:  delta of delta   value                  [start]
//!
//!  delta of delta of the times, two's complement      value, XOR with the one before
//!  0                     no change                    0          the same bits
//!  10    + 7 bits                                     10 + bits  within the last window
//!  110   + 14 bits                                    11 + leading zeros (5) + length - 1 (6)
//!  1110  + 20 bits                                                  + bits: a new window
//!  1111  + 64 bits
//!                        start: 0 as before, 10 the time of the sample before, 11 + 64 bits
//! ```
//!
//! Values are bits, not numbers: each NaN comes back as it was. A sample without a start timestamp in a chunk of kind 2 has [`NO_START_MS`].

use std::sync::Arc;

use super::ChunkError;
use super::bitstream::{BitReader, BitWriter};
use super::varint::{put, put_signed, take, take_array, take_signed};
use crate::model::NO_START_MS;

const KIND_PLAIN: u8 = 1;
const KIND_WITH_START: u8 = 2;
const HEADER_BYTES: usize = 3;
/// Says that there is no window yet.
const NO_WINDOW: u8 = 0xff;

/// A float sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatSample {
    /// Milliseconds.
    pub t_ms: i64,
    /// Bits of the value.
    pub bits: u64,
    /// Start timestamp or [`NO_START_MS`].
    pub start_ms: i64,
}

/// A chunk that takes samples.
#[derive(Clone, Debug)]
pub struct FloatEncoder {
    stream: BitWriter,
    t_ms: i64,
    delta: i64,
    bits: u64,
    start_ms: i64,
    first_ms: i64,
    count: u16,
    leading: u8,
    trailing: u8,
    with_start: bool,
}

impl Default for FloatEncoder {
    fn default() -> Self {
        Self::new(false)
    }
}

impl FloatEncoder {
    /// An empty chunk; one without start timestamps cannot take a sample that has one.
    #[must_use]
    pub fn new(with_start: bool) -> Self {
        Self {
            stream: BitWriter::default(),
            t_ms: 0,
            delta: 0,
            bits: 0,
            start_ms: NO_START_MS,
            first_ms: 0,
            count: 0,
            leading: NO_WINDOW,
            trailing: 0,
            with_start,
        }
    }

    /// Number of samples.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no sample.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether samples have start timestamps.
    #[must_use]
    pub const fn with_start(&self) -> bool {
        self.with_start
    }

    /// Time of the first sample.
    #[must_use]
    pub const fn first_ms(&self) -> i64 {
        self.first_ms
    }

    /// The newest sample; meaningless in an empty chunk.
    #[must_use]
    pub const fn last(&self) -> FloatSample {
        FloatSample {
            t_ms: self.t_ms,
            bits: self.bits,
            start_ms: self.start_ms,
        }
    }

    /// Bytes allocated.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.stream.capacity()
    }

    /// Adds a sample; the caller seals the chunk before its 65,535th.
    #[inline]
    pub fn push(&mut self, sample: FloatSample) {
        if self.count == 0 {
            self.stream.put(sample.t_ms as u64, 64);
            self.stream.put(sample.bits, 64);
            self.first_ms = sample.t_ms;
            if self.with_start {
                self.stream.put(sample.start_ms as u64, 64);
            }
        } else {
            let delta = sample.t_ms.wrapping_sub(self.t_ms);
            self.put_delta(delta.wrapping_sub(self.delta));
            self.delta = delta;
            self.put_value(sample.bits);
            if self.with_start {
                self.put_start(sample.start_ms);
            }
        }
        self.t_ms = sample.t_ms;
        self.bits = sample.bits;
        self.start_ms = sample.start_ms;
        self.count += 1;
    }

    #[inline]
    fn put_delta(&mut self, change: i64) {
        let fits = |bits: u32| change >= -(1 << (bits - 1)) && change < 1 << (bits - 1);
        let low = |bits: u32| change as u64 & ((1 << bits) - 1);
        if change == 0 {
            self.stream.put(0, 1);
        } else if fits(7) {
            self.stream.put(0b10 << 7 | low(7), 9);
        } else if fits(14) {
            self.stream.put(0b110 << 14 | low(14), 17);
        } else if fits(20) {
            self.stream.put(0b1110 << 20 | low(20), 24);
        } else {
            self.stream.put(0b1111, 4);
            self.stream.put(change as u64, 64);
        }
    }

    #[inline]
    fn put_value(&mut self, bits: u64) {
        let xor = bits ^ self.bits;
        if xor == 0 {
            self.stream.put(0, 1);
            return;
        }
        let leading = xor.leading_zeros().min(31);
        let trailing = xor.trailing_zeros();
        let length = 64 - leading - trailing;
        if self.leading != NO_WINDOW
            && leading >= u32::from(self.leading)
            && trailing >= u32::from(self.trailing)
        {
            let window = 64 - u32::from(self.leading) - u32::from(self.trailing);
            // A window much wider than the value needs costs more than a new one.
            if window <= length + 11 {
                self.stream.put(0b10, 2);
                self.stream.put(xor >> self.trailing, window);
                return;
            }
        }
        self.leading = leading as u8;
        self.trailing = trailing as u8;
        self.stream.put(
            0b11 << 11 | u64::from(leading) << 6 | u64::from(length - 1),
            13,
        );
        self.stream.put(xor >> trailing, length);
    }

    fn put_start(&mut self, start_ms: i64) {
        if start_ms == self.start_ms {
            self.stream.put(0, 1);
        } else if start_ms == self.t_ms {
            self.stream.put(0b10, 2);
        } else {
            self.stream.put(0b11, 2);
            self.stream.put(start_ms as u64, 64);
        }
    }

    /// Adds all that is needed to go on with this chunk after a restart.
    pub fn save(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.with_start));
        put(out, u64::from(self.count));
        put_signed(out, self.first_ms);
        put_signed(out, self.t_ms);
        put_signed(out, self.delta);
        put_signed(out, self.start_ms);
        out.extend_from_slice(&self.bits.to_le_bytes());
        out.extend_from_slice(&[self.leading, self.trailing]);
        self.stream.save(out);
    }

    /// Takes from the front what [`Self::save`] added.
    ///
    /// # Errors
    /// When it is not that.
    pub fn load(bytes: &mut &[u8]) -> Result<Self, ChunkError> {
        let [with_start] = take_array(bytes)?;
        let count = u16::try_from(take(bytes)?).map_err(|_| ChunkError::Number)?;
        let first_ms = take_signed(bytes)?;
        let t_ms = take_signed(bytes)?;
        let delta = take_signed(bytes)?;
        let start_ms = take_signed(bytes)?;
        let bits = u64::from_le_bytes(take_array(bytes)?);
        let [leading, trailing] = take_array(bytes)?;
        if leading != NO_WINDOW && leading.saturating_add(trailing) > 63 {
            return Err(ChunkError::Number);
        }
        Ok(Self {
            stream: BitWriter::load(bytes)?,
            t_ms,
            delta,
            bits,
            start_ms,
            first_ms,
            count,
            leading,
            trailing,
            with_start: with_start != 0,
        })
    }

    /// The chunk so far as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Arc<[u8]> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.stream.len_bytes());
        out.push(if self.with_start {
            KIND_WITH_START
        } else {
            KIND_PLAIN
        });
        out.extend_from_slice(&self.count.to_le_bytes());
        self.stream.write_to(&mut out);
        Arc::from(out)
    }
}

/// Reads a chunk's samples in the order of writing.
#[derive(Clone, Debug)]
pub struct FloatDecoder<'a> {
    stream: BitReader<'a>,
    left: u16,
    first: bool,
    with_start: bool,
    leading: u32,
    trailing: u32,
    delta: i64,
    sample: FloatSample,
}

impl<'a> FloatDecoder<'a> {
    /// Opens a chunk.
    ///
    /// # Errors
    /// `Truncated`, `Kind`.
    pub fn new(chunk: &'a [u8]) -> Result<Self, ChunkError> {
        let (&[kind, low, high], bits) = chunk
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(ChunkError::Truncated)?;
        if kind != KIND_PLAIN && kind != KIND_WITH_START {
            return Err(ChunkError::Kind);
        }
        Ok(Self {
            stream: BitReader::new(bits),
            left: u16::from_le_bytes([low, high]),
            first: true,
            with_start: kind == KIND_WITH_START,
            leading: 0,
            trailing: 0,
            delta: 0,
            sample: FloatSample {
                t_ms: 0,
                bits: 0,
                start_ms: NO_START_MS,
            },
        })
    }

    /// Number of samples not yet read.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.left as usize
    }

    /// The next sample, `None` at the end.
    ///
    /// # Errors
    /// `Truncated`, `Number`.
    #[inline]
    pub fn next_sample(&mut self) -> Result<Option<FloatSample>, ChunkError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if self.first {
            self.first = false;
            self.sample.t_ms = self.stream.take_long(64)? as i64;
            self.sample.bits = self.stream.take_long(64)?;
            if self.with_start {
                self.sample.start_ms = self.stream.take_long(64)? as i64;
            }
            return Ok(Some(self.sample));
        }
        let before_ms = self.sample.t_ms;
        self.delta = self.delta.wrapping_add(self.take_delta()?);
        self.sample.t_ms = before_ms.wrapping_add(self.delta);
        self.sample.bits ^= self.take_xor()?;
        if self.with_start && self.stream.bit()? {
            self.sample.start_ms = if self.stream.bit()? {
                self.stream.take_long(64)? as i64
            } else {
                before_ms
            };
        }
        Ok(Some(self.sample))
    }

    #[inline]
    fn take_delta(&mut self) -> Result<i64, ChunkError> {
        let width = if !self.stream.bit()? {
            return Ok(0);
        } else if !self.stream.bit()? {
            7
        } else if !self.stream.bit()? {
            14
        } else if !self.stream.bit()? {
            20
        } else {
            return Ok(self.stream.take_long(64)? as i64);
        };
        let value = self.stream.take(width)?;
        Ok((value << (64 - width)) as i64 >> (64 - width))
    }

    #[inline]
    fn take_xor(&mut self) -> Result<u64, ChunkError> {
        if !self.stream.bit()? {
            return Ok(0);
        }
        if self.stream.bit()? {
            let window = self.stream.take(11)? as u32;
            let (leading, length) = (window >> 6, (window & 63) + 1);
            if leading + length > 64 {
                return Err(ChunkError::Number);
            }
            self.leading = leading;
            self.trailing = 64 - leading - length;
        }
        let xor = self.stream.take_long(64 - self.leading - self.trailing)?;
        Ok(xor << self.trailing)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::STALE_NAN_BITS;

    fn encode(samples: &[FloatSample]) -> Arc<[u8]> {
        let with_start = samples.iter().any(|s| s.start_ms != NO_START_MS);
        let mut encoder = FloatEncoder::new(with_start);
        for &sample in samples {
            encoder.push(sample);
        }
        encoder.to_bytes()
    }

    fn decode(chunk: &[u8]) -> Result<Vec<FloatSample>, ChunkError> {
        let mut decoder = FloatDecoder::new(chunk)?;
        let mut out = Vec::new();
        while let Some(sample) = decoder.next_sample()? {
            out.push(sample);
        }
        Ok(out)
    }

    fn plain(t_ms: i64, value: f64) -> FloatSample {
        FloatSample {
            t_ms,
            bits: value.to_bits(),
            start_ms: NO_START_MS,
        }
    }

    #[test]
    fn a_steady_counter_takes_less_than_two_bytes_a_sample() {
        let samples: Vec<_> = (0..240)
            .map(|i| plain(1_793_491_200_000 + i * 15_000, (i * 3) as f64))
            .collect();
        let bytes = encode(&samples);
        assert_eq!(decode(&bytes).unwrap(), samples);
        assert!(bytes.len() < 2 * 240, "{}", bytes.len());
        let constant: Vec<_> = (0..240).map(|i| plain(i * 15_000, 1.0)).collect();
        assert!(encode(&constant).len() < 240 / 4 + 40);
    }

    #[test]
    fn a_missing_start_timestamp_costs_nothing() {
        let samples: Vec<_> = (0..100).map(|i| plain(i, i as f64)).collect();
        let mut with = samples.clone();
        with[50].start_ms = 7;
        assert_eq!(decode(&encode(&with)).unwrap(), with);
        assert!(encode(&with).len() > encode(&samples).len());
        assert_eq!(encode(&samples)[0], KIND_PLAIN);
    }

    #[test]
    fn bytes_of_a_chunk_stay_what_they_are() {
        let bytes = encode(&[plain(1000, 1.0), plain(16_000, 2.0), plain(31_000, 2.0)]);
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert!(
            hex.starts_with("01030000000000000003e83ff0000000000000"),
            "{hex}"
        );
        assert_eq!(decode(&bytes).unwrap().len(), 3);
    }

    #[test]
    fn foreign_bytes_are_errors() {
        assert_eq!(decode(&[]).unwrap_err(), ChunkError::Truncated);
        assert_eq!(decode(&[9, 1, 0, 0]).unwrap_err(), ChunkError::Kind);
        assert_eq!(decode(&[1, 1, 0, 0]).unwrap_err(), ChunkError::Truncated);
        assert!(decode(&[0xff; 100]).is_err());
        let mut all_ones = vec![0xff; 100];
        all_ones[0] = KIND_PLAIN;
        assert!(decode(&all_ones).is_err());
    }

    fn sample() -> impl Strategy<Value = (i64, u64, i64)> {
        let step = prop_oneof![
            4 => Just(15_000_i64),
            2 => 14_900_i64..15_100,
            1 => -1_000_000_i64..10_000_000,
            1 => any::<i64>(),
        ];
        let bits = prop_oneof![
            3 => (-1000_i32..1000).prop_map(|n| f64::from(n).to_bits()),
            1 => Just(STALE_NAN_BITS),
            1 => any::<u64>(),
            1 => any::<f64>().prop_map(f64::to_bits),
        ];
        let start = prop_oneof![6 => Just(NO_START_MS), 1 => any::<i64>(), 1 => 0_i64..100_000];
        (step, bits, start)
    }

    proptest! {
        #[test]
        fn a_saved_chunk_goes_on_where_it_was(parts in proptest::collection::vec(sample(), 1..120), cut in 0_usize..120, starts in any::<bool>()) {
            let mut t_ms = 0_i64;
            let samples: Vec<_> = parts.into_iter().map(|(step, bits, start)| {
                t_ms = t_ms.wrapping_add(step);
                FloatSample { t_ms, bits, start_ms: if starts { start } else { NO_START_MS } }
            }).collect();
            let mut whole = FloatEncoder::new(starts);
            let mut halves = FloatEncoder::new(starts);
            for (i, &sample) in samples.iter().enumerate() {
                if i == cut {
                    let mut saved = Vec::new();
                    halves.save(&mut saved);
                    let mut rest = &saved[..];
                    halves = FloatEncoder::load(&mut rest).unwrap();
                    prop_assert!(rest.is_empty());
                    for n in 0..saved.len() {
                        prop_assert!(FloatEncoder::load(&mut &saved[..n]).is_err());
                    }
                }
                whole.push(sample);
                halves.push(sample);
            }
            prop_assert_eq!(whole.to_bytes(), halves.to_bytes());
        }

        #[test]
        fn samples_come_back_bit_for_bit(parts in proptest::collection::vec(sample(), 0..300), starts in any::<bool>()) {
            let mut t_ms = 0_i64;
            let samples: Vec<_> = parts.into_iter().map(|(step, bits, start)| {
                t_ms = t_ms.wrapping_add(step);
                FloatSample { t_ms, bits, start_ms: if starts { start } else { NO_START_MS } }
            }).collect();
            prop_assert_eq!(decode(&encode(&samples)).unwrap(), samples);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0_u8..4) {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let _ = decode(&bytes);
        }
    }
}
