//! Doors for fuzzing: decoders of stored bytes that nobody outside has a use for. Not for use by anything else.

use crate::metrics;

/// Most rows of a page.
const MAX_ROWS: usize = 1 << 20;

/// A part of the index of a block of metrics, unpacked; which one, the first byte tells. What it holds, encoded anew, is the same.
pub fn block_index(data: &[u8]) {
    metrics::block_index(data);
}

/// A page of times or of values; the first three bytes, little-endian, tell how many rows it should have.
pub fn samples_page(data: &[u8]) {
    if let Some((&[a, b, c], page)) = data.split_first_chunk() {
        let rows = u32::from_le_bytes([a, b, c, 0]) as usize;
        metrics::samples_page(page, rows.min(MAX_ROWS));
    }
}
