//! Bits, the highest first, and the numbers of varying width made of them.

/// Writes bits behind each other.
#[derive(Clone, Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Free bits of the last byte.
    free: u32,
}

impl BitWriter {
    /// Starts behind whole bytes.
    pub(super) const fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, free: 0 }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn bit(&mut self, bit: bool) {
        self.bits(u64::from(bit), 1);
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.bits(u64::from(byte), 8);
    }

    pub(super) fn float(&mut self, value: f64) {
        self.bits(value.to_bits(), 64);
    }

    /// The lowest `count` bits of a number.
    pub(super) fn bits(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let part = (value >> (left - take)) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part as u8) << (self.free - take);
            }
            self.free -= take;
            left -= take;
        }
    }

    /// A number of seven bits a byte, as protobuf has them.
    pub(super) fn uvarint(&mut self, mut n: u64) {
        while n > 0x7f {
            self.byte(n as u8 | 0x80);
            n >>= 7;
        }
        self.byte(n as u8);
    }

    /// A signed number, zigzag.
    pub(super) fn varint(&mut self, n: i64) {
        self.uvarint(((n << 1) ^ (n >> 63)) as u64);
    }

    /// A signed number in the buckets of histogram chunks.
    pub(super) fn varbit(&mut self, n: i64) {
        // A bucket of w bits holds -(2^(w-1) - 1) to 2^(w-1).
        let fits = |width: u32| {
            let half = 1_i64 << (width - 1);
            -half < n && n <= half
        };
        self.bucket(n as u64, n == 0, fits);
    }

    /// An unsigned number in the same buckets.
    pub(super) fn varbit_unsigned(&mut self, n: u64) {
        self.bucket(n, n == 0, |width| n < 1 << width);
    }

    fn bucket(&mut self, n: u64, is_zero: bool, fits: impl Fn(u32) -> bool) {
        if is_zero {
            return self.bit(false);
        }
        for (ones, width) in [(1, 3), (2, 6), (3, 9), (4, 12), (5, 18), (6, 25), (7, 56)] {
            if fits(width) {
                self.bits((1 << (ones + 1)) - 2, ones + 1);
                return self.bits(n, width);
            }
        }
        self.byte(0xff);
        self.bits(n, 64);
    }
}

/// A float as the difference to the one before, which is all that changes of it in bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Xor {
    bits: u64,
    /// Zero bits around the difference written last; `None` before the first.
    window: Option<(u32, u32)>,
}

impl Xor {
    pub(super) const fn new(value: f64) -> Self {
        Self {
            bits: value.to_bits(),
            window: None,
        }
    }

    pub(super) const fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }

    pub(super) fn push(&mut self, out: &mut BitWriter, value: f64) {
        let delta = value.to_bits() ^ std::mem::replace(&mut self.bits, value.to_bits());
        if delta == 0 {
            return out.bit(false);
        }
        out.bit(true);
        // Five bits tell the leading zeros.
        let (leading, trailing) = (delta.leading_zeros().min(31), delta.trailing_zeros());
        if let Some((l, t)) = self.window
            && leading >= l
            && trailing >= t
        {
            out.bit(false);
            return out.bits(delta >> t, 64 - l - t);
        }
        self.window = Some((leading, trailing));
        let width = 64 - leading - trailing;
        out.bit(true);
        out.bits(u64::from(leading), 5);
        // 64 does not fit into six bits and is written as 0.
        out.bits(u64::from(width), 6);
        out.bits(delta >> trailing, width);
    }
}
