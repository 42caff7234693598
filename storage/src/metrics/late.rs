//! Float samples of one series that came out of order.
//!
//! Invariant: the chunks are ascending and do not overlap, so that a look at one time decodes one chunk. New samples wait in
//! a short sorted buffer and are folded into the chunks they belong to, which keeps the cost of each
//! bounded whatever the order of arrival.

use std::sync::Arc;

use crate::codec::ChunkError;
use crate::codec::gorilla::{FloatDecoder, FloatEncoder, FloatSample};
use crate::model::NO_START_MS;

/// Samples of a chunk.
pub(super) const CHUNK_SAMPLES: usize = 240;
/// Samples that wait before they are folded in.
const BUFFER_SAMPLES: usize = 64;

/// A chunk that takes no more samples. Both times are in it.
#[derive(Clone, Debug)]
pub(super) struct SealedChunk {
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    pub(super) bytes: Arc<[u8]>,
}

impl SealedChunk {
    /// Bytes of memory behind the entry: the reference counts and the chunk.
    pub(super) fn data_bytes(&self) -> usize {
        16 + self.bytes.len()
    }

    /// Number of samples; every kind of chunk has it in the same place.
    pub(super) fn len(&self) -> usize {
        match self.bytes[..] {
            [_, low, high, ..] => usize::from(u16::from_le_bytes([low, high])),
            _ => 0,
        }
    }
}

/// The chunk of an ascending list that may hold a time.
pub(super) fn chunk_at(chunks: &[SealedChunk], t_ms: i64) -> Option<&SealedChunk> {
    let at = chunks.partition_point(|c| c.max_ms < t_ms);
    chunks.get(at).filter(|c| c.min_ms <= t_ms)
}

/// All samples of a chunk of floats.
pub(super) fn decode_floats(bytes: &[u8]) -> Result<Vec<FloatSample>, ChunkError> {
    let mut decoder = FloatDecoder::new(bytes)?;
    let mut out = Vec::with_capacity(decoder.remaining());
    while let Some(sample) = decoder.next_sample()? {
        out.push(sample);
    }
    Ok(out)
}

/// Late samples.
#[derive(Debug, Default)]
pub(super) struct LateFloats {
    pub(super) chunks: Vec<SealedChunk>,
    /// Ascending.
    pub(super) buffer: Vec<FloatSample>,
}

impl LateFloats {
    /// The sample at a time.
    pub(super) fn find(&self, t_ms: i64) -> Option<FloatSample> {
        if let Ok(i) = self.buffer.binary_search_by_key(&t_ms, |s| s.t_ms) {
            return self.buffer.get(i).copied();
        }
        let chunk = chunk_at(&self.chunks, t_ms)?;
        let samples = decode_floats(&chunk.bytes).ok()?;
        samples.into_iter().find(|s| s.t_ms == t_ms)
    }

    /// Adds a sample at a time that has none. Returns by how many bytes of memory this grew.
    pub(super) fn insert(&mut self, sample: FloatSample) -> i64 {
        let buffered = self.buffer.capacity();
        let at = self.buffer.partition_point(|s| s.t_ms < sample.t_ms);
        self.buffer.insert(at, sample);
        let mut grown = ((self.buffer.capacity() - buffered) * size_of::<FloatSample>()) as i64;
        if self.buffer.len() >= BUFFER_SAMPLES {
            let before = self.held_bytes() as i64;
            self.fold();
            grown += self.held_bytes() as i64 - before;
        }
        grown
    }

    /// Bytes of memory.
    pub(super) fn held_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(SealedChunk::data_bytes).sum();
        chunks
            + self.chunks.capacity() * size_of::<SealedChunk>()
            + self.buffer.capacity() * size_of::<FloatSample>()
    }

    fn fold(&mut self) {
        let waiting = std::mem::take(&mut self.buffer);
        let old = std::mem::take(&mut self.chunks);
        let mut rest = &waiting[..];
        if old.is_empty() {
            seal_into(&mut self.chunks, rest);
        }
        for (i, chunk) in old.iter().enumerate() {
            // Each chunk takes what lies before the next one begins.
            let n = match old.get(i + 1) {
                Some(next) => rest.partition_point(|s| s.t_ms < next.min_ms),
                None => rest.len(),
            };
            let (mine, others) = rest.split_at(n);
            rest = others;
            let behind = mine.first().is_some_and(|s| s.t_ms > chunk.max_ms);
            if mine.is_empty() || behind && chunk.len() >= CHUNK_SAMPLES {
                self.chunks.push(chunk.clone());
                seal_into(&mut self.chunks, mine);
                continue;
            }
            match decode_floats(&chunk.bytes) {
                Ok(mut samples) => {
                    samples.extend_from_slice(mine);
                    samples.sort_by_key(|s| s.t_ms);
                    seal_into(&mut self.chunks, &samples);
                }
                // Our own bytes of a moment ago: cannot be, and must not lose the new ones.
                Err(_) => seal_into(&mut self.chunks, mine),
            }
        }
    }
}

/// Seals ascending samples as chunks of even size.
pub(super) fn seal_into(chunks: &mut Vec<SealedChunk>, samples: &[FloatSample]) {
    let pieces = samples.len().div_ceil(CHUNK_SAMPLES);
    if pieces == 0 {
        return;
    }
    for piece in samples.chunks(samples.len().div_ceil(pieces)) {
        let mut encoder = FloatEncoder::new(piece.iter().any(|s| s.start_ms != NO_START_MS));
        for &sample in piece {
            encoder.push(sample);
        }
        chunks.push(SealedChunk {
            min_ms: encoder.first_ms(),
            max_ms: encoder.last().t_ms,
            bytes: encoder.to_bytes(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn late_samples_are_found_whatever_their_order(times in proptest::collection::vec(0_i64..2000, 0..1500)) {
            let mut late = LateFloats::default();
            let mut model = BTreeMap::new();
            for (i, t_ms) in times.into_iter().enumerate() {
                let sample = FloatSample { t_ms, bits: i as u64, start_ms: NO_START_MS };
                prop_assert_eq!(late.find(t_ms), model.get(&t_ms).copied());
                if late.find(t_ms).is_none() {
                    late.insert(sample);
                    model.insert(t_ms, sample);
                }
            }
            for pair in late.chunks.windows(2) {
                prop_assert!(pair[0].max_ms < pair[1].min_ms);
            }
            let mut all: Vec<_> = late.chunks.iter().flat_map(|c| decode_floats(&c.bytes).unwrap()).collect();
            all.extend_from_slice(&late.buffer);
            all.sort_by_key(|s| s.t_ms);
            prop_assert_eq!(all, model.into_values().collect::<Vec<_>>());
        }
    }
}
