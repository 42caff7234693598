//! A snappy block that grows: only compressed bytes are held.
//!
//! A block says how long it is inflated before anything else, and compresses pieces of 64 KiB apart from each other. So the
//! pieces can be made as the bytes come, and the length put before them in the end.
//! Source: github.com/google/snappy, `format_description.txt`.

use crate::wire::protobuf::put_varint;

/// Bytes that are compressed together.
const PIECE: usize = 1 << 16;

/// Part of a block's content.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    waiting: Vec<u8>,
    compressed: Vec<u8>,
    inflated: usize,
}

impl Pieces {
    /// Bytes held.
    pub(super) fn held_bytes(&self) -> usize {
        self.waiting.len() + self.compressed.len()
    }

    /// Bytes as they were given.
    pub(super) const fn inflated_bytes(&self) -> usize {
        self.inflated
    }

    /// Adds bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), snap::Error> {
        self.inflated += bytes.len();
        self.waiting.extend_from_slice(bytes);
        let whole = self.waiting.len() / PIECE * PIECE;
        if whole == 0 {
            return Ok(());
        }
        let rest = self.waiting.split_off(whole);
        let full = std::mem::replace(&mut self.waiting, rest);
        full.chunks(PIECE)
            .try_for_each(|piece| self.compress(piece))
    }

    /// Adds pieces that were made apart.
    pub(super) fn append(&mut self, other: Self) -> Result<(), snap::Error> {
        let last = std::mem::take(&mut self.waiting);
        self.compress(&last)?;
        self.inflated += other.inflated;
        self.waiting = other.waiting;
        self.compressed.extend_from_slice(&other.compressed);
        Ok(())
    }

    fn compress(&mut self, piece: &[u8]) -> Result<(), snap::Error> {
        let block = snap::raw::Encoder::new().compress_vec(piece)?;
        // Without its length.
        let length = block.iter().take_while(|b| **b & 0x80 != 0).count() + 1;
        self.compressed.extend(block.get(length..).unwrap_or(&[]));
        Ok(())
    }

    /// The block.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, snap::Error> {
        let last = std::mem::take(&mut self.waiting);
        self.compress(&last)?;
        let mut out = Vec::with_capacity(self.compressed.len() + 10);
        put_varint(&mut out, self.inflated as u64);
        out.append(&mut self.compressed);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_in_parts_comes_back_in_one() {
        let bytes: Vec<u8> = (0..300_000_u32)
            .flat_map(|i| (i / 7).to_le_bytes())
            .collect();
        for step in [1 << 10, PIECE - 1, PIECE, 400_000] {
            let (mut first, mut second) = (Pieces::default(), Pieces::default());
            let (a, b) = bytes.split_at(500_001);
            a.chunks(step).for_each(|c| first.push(c).unwrap());
            b.chunks(step).for_each(|c| second.push(c).unwrap());
            assert_eq!(second.inflated_bytes(), b.len());
            assert!(second.held_bytes() < b.len() + PIECE);
            first.append(second).unwrap();
            let block = first.finish().unwrap();
            assert!(block.len() < bytes.len() / 2);
            let inflated = snap::raw::Decoder::new().decompress_vec(&block).unwrap();
            assert_eq!(inflated, bytes);
        }
        assert_eq!(Pieces::default().finish().unwrap(), [0]);
    }
}
