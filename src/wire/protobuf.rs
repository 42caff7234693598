//! A borrowing reader and a writer of protobuf's wire format, for messages whose decoding must not
//! allocate. Source: protobuf.dev, "Encoding".

/// Bytes that are no protobuf message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends within a field.
    #[error("unexpected EOF")]
    Truncated,
    /// A number longer than ten bytes.
    #[error("integer overflow")]
    Overflow,
    /// A field number or wire type that does not exist.
    #[error("illegal tag {0}")]
    IllegalTag(u64),
    /// A field with another wire type than its message gives it.
    #[error("wrong wireType for field {field} of {message}")]
    WrongType {
        /// Name of the message.
        message: &'static str,
        /// Number of the field.
        field: u32,
    },
}

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// Reads the fields of one message in their order.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of a message.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next field.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// The next field, `None` at the end. Groups are an error: no message here has one.
    ///
    /// # Errors
    /// See [`WireError`].
    #[inline]
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator cannot stop at the first error"
    )]
    pub fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3).map_err(|_| WireError::IllegalTag(tag))?;
        if field == 0 {
            return Err(WireError::IllegalTag(tag));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Value::Bytes(self.delimited()?),
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireError::IllegalTag(tag)),
        };
        Ok(Some((field, value)))
    }

    /// A bare number at this place, as in packed fields.
    ///
    /// # Errors
    /// `Truncated` or `Overflow`.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(WireError::Truncated)?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(WireError::Overflow);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Overflow)
    }

    /// A message behind its length, as streams of messages have them.
    ///
    /// # Errors
    /// `Truncated` or `Overflow`.
    #[inline]
    pub fn delimited(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
        let end = self.at.checked_add(length).ok_or(WireError::Truncated)?;
        let bytes = self.bytes.get(self.at..end).ok_or(WireError::Truncated)?;
        self.at = end;
        Ok(bytes)
    }

    /// Whether the message is read to its end.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let bytes = self
            .bytes
            .get(self.at..self.at + N)
            .ok_or(WireError::Truncated)?;
        self.at += N;
        bytes.try_into().map_err(|_| WireError::Truncated)
    }
}

/// Undoes the zigzag coding of signed numbers.
#[must_use]
pub const fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Zigzag coding of signed numbers.
#[must_use]
pub const fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

/// Appends a bare number.
pub fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a field that is a number; zero is left out.
pub fn put_uint(out: &mut Vec<u8>, field: u32, n: u64) {
    if n != 0 {
        put_varint(out, u64::from(field) << 3);
        put_varint(out, n);
    }
}

/// Appends a field of eight bytes.
pub fn put_fixed64(out: &mut Vec<u8>, field: u32, n: u64) {
    put_varint(out, u64::from(field) << 3 | 1);
    out.extend_from_slice(&n.to_le_bytes());
}

/// Appends a field that is bytes, text or a message.
pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_come_back_as_written(n: u64, bytes: Vec<u8>, signed: i64) {
            let mut out = Vec::new();
            put_uint(&mut out, 1, n | 1);
            put_bytes(&mut out, 2, &bytes);
            put_fixed64(&mut out, 3000, n);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.next(), Ok(Some((1, Value::Varint(n | 1)))));
            prop_assert_eq!(reader.next(), Ok(Some((2, Value::Bytes(&bytes)))));
            prop_assert_eq!(reader.next(), Ok(Some((3000, Value::Fixed64(n)))));
            prop_assert_eq!(reader.next(), Ok(None));
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while let Ok(Some(_)) = reader.next() {}
        }
    }
}
