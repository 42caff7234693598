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

/// Turns the text before into the one that follows it.
///
/// # Errors
/// `Truncated`; `Number` when more is shared than there is.
pub(super) fn take(rest: &mut &[u8], text: &mut Vec<u8>) -> Result<(), ChunkError> {
    let shared = take_size(rest)?;
    if shared > text.len() {
        return Err(ChunkError::Number);
    }
    text.truncate(shared);
    text.extend_from_slice(take_bytes(rest)?);
    Ok(())
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

/// Takes the number of things that follow, each of one byte at least.
///
/// # Errors
/// `Truncated` when there cannot be so many.
pub(super) fn take_count(rest: &mut &[u8]) -> Result<usize, ChunkError> {
    let count = take_size(rest)?;
    match count <= rest.len() {
        true => Ok(count),
        false => Err(ChunkError::Truncated),
    }
}
