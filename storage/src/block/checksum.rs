//! Checksums of a block's files, piece by piece: whoever reads a part of a file finds out whether that part is what
//! was written, without reading the rest.

use std::ops::Range;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Size of a piece. Smaller ones make long manifests, larger ones make short reads dear.
pub(crate) const PIECE_BYTES: u64 = 32 * 1024;

/// CRC-32C of each piece of a file, in order; the last piece may be shorter. None at all where a file was written
/// before pieces were summed. In a manifest: eight hexadecimal digits a piece, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PieceSums(Vec<u32>);

impl PieceSums {
    /// Whether nothing is known of the file.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares bytes that begin at the start of a piece and end at the end of one, or of the file.
    ///
    /// # Errors
    /// The offset in the file of the first piece that differs.
    pub(crate) fn verify(&self, start: u64, bytes: &[u8]) -> Result<(), u64> {
        if self.is_empty() {
            return Ok(());
        }
        let first = start / PIECE_BYTES;
        for (n, piece) in (first..).zip(bytes.chunks(PIECE_BYTES as usize)) {
            let expected = usize::try_from(n).ok().and_then(|n| self.0.get(n));
            if expected != Some(&crc32c::crc32c(piece)) {
                return Err(n * PIECE_BYTES);
            }
        }
        Ok(())
    }
}

/// The whole pieces that a range of a file of `size` bytes lies in; none where it begins behind them.
pub(crate) fn whole_pieces(range: &Range<u64>, size: u64) -> Range<u64> {
    let start = range.start / PIECE_BYTES * PIECE_BYTES;
    let end = range.end.div_ceil(PIECE_BYTES) * PIECE_BYTES;
    start..end.min(size).max(start)
}

impl Serialize for PieceSums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = self.0.iter().map(|sum| format!("{sum:08x}")).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for PieceSums {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let sum = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok().filter(|d| d.len() == 8)?;
            u32::from_str_radix(digits, 16).ok()
        };
        let sums = text.as_bytes().chunks(8).map(sum).collect::<Option<_>>();
        sums.map(Self)
            .ok_or_else(|| D::Error::custom("not a list of checksums"))
    }
}

/// Sums a file while it is written or read from its start.
#[derive(Debug, Default)]
pub(crate) struct Summer {
    pieces: Vec<u32>,
    /// Of all whole pieces.
    whole: u32,
    /// Of the piece that is not whole yet.
    open: u32,
    open_bytes: u64,
    bytes: u64,
}

impl Summer {
    /// Takes the next bytes.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = (PIECE_BYTES - self.open_bytes) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.open = crc32c::crc32c_append(self.open, now);
            self.open_bytes += now.len() as u64;
            if self.open_bytes == PIECE_BYTES {
                self.close_piece();
            }
            bytes = later;
        }
    }

    fn close_piece(&mut self) {
        self.pieces.push(self.open);
        self.whole = crc32c::crc32c_combine(self.whole, self.open, self.open_bytes as usize);
        self.open = 0;
        self.open_bytes = 0;
    }

    /// Number of bytes, checksum of them all, and of each piece.
    pub(crate) fn finish(mut self) -> (u64, u32, PieceSums) {
        if self.open_bytes > 0 {
            self.close_piece();
        }
        (self.bytes, self.whole, PieceSums(self.pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    #[test]
    fn sums_do_not_depend_on_how_the_bytes_come() {
        for len in [0, 1, 32_767, 32_768, 32_769, 100_000] {
            let bytes = sample(len);
            let mut whole = Summer::default();
            whole.update(&bytes);
            let mut parts = Summer::default();
            bytes.chunks(7001).for_each(|part| parts.update(part));
            let (n, crc, pieces) = whole.finish();
            assert_eq!((n, crc), (len as u64, crc32c::crc32c(&bytes)));
            assert_eq!(parts.finish(), (n, crc, pieces.clone()));
            pieces.verify(0, &bytes).unwrap();
        }
    }

    #[test]
    fn a_flipped_bit_and_a_cut_tail_are_found_in_their_piece() {
        let mut bytes = sample(100_000);
        let mut summer = Summer::default();
        summer.update(&bytes);
        let (.., sums) = summer.finish();
        bytes[50_000] ^= 4;
        assert_eq!(sums.verify(0, &bytes), Err(32_768));
        let range = whole_pieces(&(65_536..65_540), 100_000);
        assert_eq!(range, 65_536..98_304);
        sums.verify(65_536, &bytes[65_536..98_304]).unwrap();
        sums.verify(98_304, &bytes[98_304..]).unwrap();
        assert_eq!(sums.verify(98_304, &bytes[98_304..99_999]), Err(98_304));
        assert_eq!(whole_pieces(&(99_900..100_000), 100_000), 98_304..100_000);
    }

    #[test]
    fn sums_are_text_in_a_manifest() {
        let sums = PieceSums(vec![0, 0xdead_beef]);
        let text = serde_json::to_string(&sums).unwrap();
        assert_eq!(text, "\"00000000deadbeef\"");
        assert_eq!(serde_json::from_str::<PieceSums>(&text).unwrap(), sums);
        assert!(serde_json::from_str::<PieceSums>("\"0000000\"").is_err());
        assert!(serde_json::from_str::<PieceSums>("\"0000000g\"").is_err());
    }
}
