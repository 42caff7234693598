//! Sorted texts, front coded: each as the number of bytes it shares with the one before, then the rest of it.

use crate::codec::ChunkError;
use crate::codec::varint;

/// Adds a text that follows another.
pub(super) fn put(out: &mut Vec<u8>, before: &[u8], text: &[u8]) {
    let shared = std::iter::zip(before, text)
        .take_while(|(a, b)| a == b)
        .count();
    varint::put(out, shared as u64);
    put_bytes(out, &text[shared..]);
}

/// Most bytes of the texts of one page, written out in full. What is shared costs a byte and stands for any number of them, so a
/// small page could ask for all memory there is.
const MAX_BYTES: usize = if cfg!(test) { 1 << 16 } else { 1 << 30 };

/// Takes texts that [`put`] added, one after the other.
#[derive(Debug, Default)]
pub(super) struct Texts {
    text: Vec<u8>,
    bytes: usize,
}

impl Texts {
    /// Takes the next one.
    ///
    /// # Errors
    /// `Truncated`; `Number` when more is shared than there is, or all of them are too long.
    pub(super) fn take(&mut self, rest: &mut &[u8]) -> Result<&[u8], ChunkError> {
        let shared = take_size(rest)?;
        let own = take_bytes(rest)?;
        // No sum overflows: what is compared is no longer than what is in memory.
        if shared > self.text.len() || self.bytes + shared + own.len() > MAX_BYTES {
            return Err(ChunkError::Number);
        }
        self.bytes += shared + own.len();
        self.text.truncate(shared);
        self.text.extend_from_slice(own);
        Ok(&self.text)
    }
}

/// Adds bytes after their number.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes bytes that [`put_bytes`] added.
///
/// # Errors
/// `Truncated`.
pub(super) fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], ChunkError> {
    let size = take_size(rest)?;
    let (bytes, tail) = rest.split_at_checked(size).ok_or(ChunkError::Truncated)?;
    *rest = tail;
    Ok(bytes)
}

/// Takes a number that fits in memory.
///
/// # Errors
/// `Truncated`, `Number`.
pub(super) fn take_size(rest: &mut &[u8]) -> Result<usize, ChunkError> {
    usize::try_from(varint::take(rest)?).map_err(|_| ChunkError::Number)
}

/// Takes the number of things that follow, each of so many bytes at least.
///
/// # Errors
/// `Truncated` when there cannot be so many.
pub(super) fn take_count(rest: &mut &[u8], least_bytes: usize) -> Result<usize, ChunkError> {
    let count = take_size(rest)?;
    match count <= rest.len() / least_bytes {
        true => Ok(count),
        false => Err(ChunkError::Truncated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_share_what_there_is_not_are_refused() {
        let mut out = Vec::new();
        put(&mut out, b"", b"ab");
        put(&mut out, b"abc", b"abcd");
        let (mut rest, mut texts) = (&out[..], Texts::default());
        assert_eq!(texts.take(&mut rest).unwrap(), b"ab");
        assert_eq!(texts.take(&mut rest), Err(ChunkError::Number));
    }

    #[test]
    fn few_bytes_do_not_become_many_texts_of_great_length() {
        let long = vec![b'x'; MAX_BYTES / 4];
        let mut out = Vec::new();
        put(&mut out, b"", &long);
        for _ in 0..1000 {
            put(&mut out, &long, &long);
        }
        let (mut rest, mut texts) = (&out[..], Texts::default());
        let taken = std::iter::from_fn(|| texts.take(&mut rest).ok().map(<[u8]>::len));
        assert_eq!(taken.sum::<usize>(), MAX_BYTES);
    }

    #[test]
    fn a_count_is_no_more_than_fits_into_the_rest() {
        let counted = |count: u8, least| take_count(&mut &[count, 0, 0, 0, 0, 0, 0][..], least);
        assert_eq!(counted(6, 1), Ok(6));
        assert_eq!(counted(3, 2), Ok(3));
        assert_eq!(counted(4, 2), Err(ChunkError::Truncated));
    }
}
