//! Chunks of floats.

use super::bits::{BitWriter, Xor};

/// A chunk of floats that may take more.
pub(super) struct FloatChunk {
    out: BitWriter,
    count: u16,
    t_ms: i64,
    delta_ms: i64,
    value: Xor,
}

impl Default for FloatChunk {
    fn default() -> Self {
        Self {
            out: BitWriter::after(vec![0; 2]),
            count: 0,
            t_ms: 0,
            delta_ms: 0,
            value: Xor::new(0.0),
        }
    }
}

impl FloatChunk {
    pub(super) fn new(t_ms: i64, value: f64) -> Self {
        let mut chunk = Self {
            count: 1,
            t_ms,
            value: Xor::new(value),
            ..Self::default()
        };
        chunk.out.varint(t_ms);
        chunk.out.float(value);
        chunk
    }

    pub(super) fn push(&mut self, t_ms: i64, value: f64) {
        let delta_ms = t_ms.wrapping_sub(self.t_ms);
        if self.count == 1 {
            self.out.uvarint(delta_ms as u64);
        } else {
            self.delta_of_delta(delta_ms.wrapping_sub(self.delta_ms));
        }
        self.value.push(&mut self.out, value);
        (self.t_ms, self.delta_ms) = (t_ms, delta_ms);
        self.count += 1;
    }

    fn delta_of_delta(&mut self, n: i64) {
        if n == 0 {
            return self.out.bit(false);
        }
        for (ones, width) in [(1, 14), (2, 17), (3, 20)] {
            let half = 1_i64 << (width - 1);
            if -half < n && n <= half {
                self.out.bits((1 << (ones + 1)) - 2, ones + 1);
                return self.out.bits(n as u64, width);
            }
        }
        self.out.bits(0b1111, 4);
        self.out.bits(n as u64, 64);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.bytes_mut()[..2].copy_from_slice(&self.count.to_be_bytes());
        self.out.finish()
    }
}
