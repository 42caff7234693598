//! A stream of bits, most significant bit of each byte first.

use super::ChunkError;
use super::varint::{put, take, take_array};

/// Collects bits. Whole words go to the buffer, the rest waits in a register, so that one sample costs
/// a few shifts and touches the buffer once in several samples.
#[derive(Clone, Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits not yet in `bytes`, from the top.
    word: u64,
    /// Number of bits in `word`: 0 to 63.
    used: u8,
}

impl BitWriter {
    /// Adds the low `n` bits of a value; `n` is 1 to 64 and the bits above are zero.
    #[inline]
    pub fn put(&mut self, value: u64, n: u32) {
        debug_assert!((1..=64).contains(&n) && (n == 64 || value >> n == 0));
        let free = 64 - u32::from(self.used);
        if n < free {
            self.word |= value << (free - n);
            self.used += n as u8;
            return;
        }
        let rest = n - free;
        self.word |= value >> rest;
        if self.bytes.capacity() - self.bytes.len() < 8 {
            self.grow();
        }
        self.bytes.extend_from_slice(&self.word.to_be_bytes());
        self.word = if rest == 0 { 0 } else { value << (64 - rest) };
        self.used = rest as u8;
    }

    /// Half as much again instead of twice as much: most of a head's memory is buffers like this.
    #[cold]
    fn grow(&mut self) {
        let more = (self.bytes.capacity() / 2).max(32) & !7;
        self.bytes.reserve_exact(more);
    }

    /// Adds all that is needed to go on writing after a restart.
    pub fn save(&self, out: &mut Vec<u8>) {
        out.push(self.used);
        out.extend_from_slice(&self.word.to_be_bytes());
        put(out, self.bytes.len() as u64);
        out.extend_from_slice(&self.bytes);
    }

    /// Takes from the front what [`Self::save`] added.
    ///
    /// # Errors
    /// When it is not that.
    pub fn load(bytes: &mut &[u8]) -> Result<Self, ChunkError> {
        let [used] = take_array(bytes)?;
        let word = u64::from_be_bytes(take_array(bytes)?);
        let len = usize::try_from(take(bytes)?).map_err(|_| ChunkError::Number)?;
        let (written, rest) = bytes.split_at_checked(len).ok_or(ChunkError::Truncated)?;
        *bytes = rest;
        if used > 63 {
            return Err(ChunkError::Number);
        }
        let mut own = Vec::with_capacity((written.len() + 32) & !7);
        own.extend_from_slice(written);
        Ok(Self {
            bytes: own,
            word,
            used,
        })
    }

    /// Bytes allocated.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes that [`Self::write_to`] adds.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len() + usize::from(self.used.div_ceil(8))
    }

    /// Adds everything written so far to a buffer; the last byte is filled up with zeros.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        let tail = self.word.to_be_bytes();
        out.extend_from_slice(&tail[..usize::from(self.used.div_ceil(8))]);
    }
}

/// Reads bits.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    rest: &'a [u8],
    /// The next bits, from the top. What lies below `left` bits repeats the start of `rest`.
    word: u64,
    left: u32,
}

impl<'a> BitReader<'a> {
    /// Reads from the first bit of the bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            word: 0,
            left: 0,
        }
    }

    /// At least 56 bits in the register, or all there are.
    #[inline]
    fn refill(&mut self) {
        if let Some(next) = self.rest.first_chunk::<8>() {
            self.word |= u64::from_be_bytes(*next) >> self.left;
            let bytes = (63 - self.left) / 8;
            self.rest = &self.rest[bytes as usize..];
            self.left += bytes * 8;
            return;
        }
        while self.left <= 56
            && let Some((&byte, rest)) = self.rest.split_first()
        {
            self.word |= u64::from(byte) << (56 - self.left);
            self.rest = rest;
            self.left += 8;
        }
    }

    /// The next `n` bits, 1 to 56.
    ///
    /// # Errors
    /// `Truncated`.
    #[inline]
    pub fn take(&mut self, n: u32) -> Result<u64, ChunkError> {
        debug_assert!((1..=56).contains(&n));
        if self.left < n {
            self.refill();
            if self.left < n {
                return Err(ChunkError::Truncated);
            }
        }
        let value = self.word >> (64 - n);
        self.word <<= n;
        self.left -= n;
        Ok(value)
    }

    /// The next `n` bits, 1 to 64.
    ///
    /// # Errors
    /// `Truncated`.
    #[inline]
    pub fn take_long(&mut self, n: u32) -> Result<u64, ChunkError> {
        if n <= 56 {
            return self.take(n);
        }
        let high = self.take(n - 32)?;
        Ok(high << 32 | self.take(32)?)
    }

    /// One bit.
    ///
    /// # Errors
    /// `Truncated`.
    #[inline]
    pub fn bit(&mut self) -> Result<bool, ChunkError> {
        Ok(self.take(1)? == 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_come_back_in_order(parts in proptest::collection::vec((any::<u64>(), 1_u32..=64), 0..200)) {
            let mut writer = BitWriter::default();
            let parts: Vec<_> = parts.iter().map(|&(v, n)| (if n == 64 { v } else { v & ((1 << n) - 1) }, n)).collect();
            for &(value, n) in &parts {
                writer.put(value, n);
            }
            let mut bytes = Vec::new();
            writer.write_to(&mut bytes);
            prop_assert_eq!(bytes.len(), writer.len_bytes());
            let mut reader = BitReader::new(&bytes);
            for &(value, n) in &parts {
                prop_assert_eq!(reader.take_long(n), Ok(value));
            }
            prop_assert!(reader.take(8).is_err());
        }
    }
}
