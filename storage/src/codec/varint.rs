//! LEB128: seven bits a byte, the lowest first, the top bit says that more follow. Zigzag maps small negative numbers to
//! small positive ones.

use super::ChunkError;

/// Adds an unsigned number.
pub fn put(out: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Adds a signed number.
pub fn put_signed(out: &mut Vec<u8>, n: i64) {
    put(out, ((n << 1) ^ (n >> 63)) as u64);
}

/// Takes an unsigned number from the front.
///
/// # Errors
/// `Truncated`; `Number` when it does not fit.
pub fn take(bytes: &mut &[u8]) -> Result<u64, ChunkError> {
    let (mut n, mut shift) = (0_u64, 0);
    loop {
        let (&byte, rest) = bytes.split_first().ok_or(ChunkError::Truncated)?;
        *bytes = rest;
        if shift == 63 && byte > 1 {
            return Err(ChunkError::Number);
        }
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(n);
        }
        shift += 7;
    }
}

/// Takes a signed number from the front.
///
/// # Errors
/// As [`take`].
pub fn take_signed(bytes: &mut &[u8]) -> Result<i64, ChunkError> {
    let n = take(bytes)?;
    Ok((n >> 1) as i64 ^ -((n & 1) as i64))
}

/// Takes so many bytes from the front.
///
/// # Errors
/// `Truncated`.
pub fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], ChunkError> {
    let (array, rest) = bytes
        .split_first_chunk::<N>()
        .ok_or(ChunkError::Truncated)?;
    *bytes = rest;
    Ok(*array)
}

/// Takes so many bytes from the front.
///
/// # Errors
/// `Truncated`.
pub fn take_slice<'a>(bytes: &mut &'a [u8], len: u64) -> Result<&'a [u8], ChunkError> {
    let len = usize::try_from(len).map_err(|_| ChunkError::Number)?;
    let (slice, rest) = bytes.split_at_checked(len).ok_or(ChunkError::Truncated)?;
    *bytes = rest;
    Ok(slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for n in [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN, 1 << 40] {
            let mut bytes = Vec::new();
            put_signed(&mut bytes, n);
            put(&mut bytes, n as u64);
            let mut rest = &bytes[..];
            assert_eq!(take_signed(&mut rest), Ok(n));
            assert_eq!(take(&mut rest), Ok(n as u64));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn too_long_numbers_are_refused() {
        assert_eq!(take(&mut &[0xff; 10][..]), Err(ChunkError::Number));
        assert_eq!(take(&mut &[0xff; 3][..]), Err(ChunkError::Truncated));
    }
}
