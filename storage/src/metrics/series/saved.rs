//! A series' samples as bytes, for a snapshot of the head, and back.
//!
//! ```text
//!  newest, first and last time (zigzag) | flags | [open floats] | sealed list | [rare]
//!  list   count, then: first time, last - first, length, chunk        all varints
//!  rare   late list, late buffer, open histograms (as chunks), sealed list, late histograms (as chunks)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Growth, Rare, SeriesState, histogram_bytes};
use crate::codec::ChunkError;
use crate::codec::gorilla::{FloatEncoder, FloatSample};
use crate::codec::histogram::{HistogramDecoder, HistogramEncoder, HistogramSample};
use crate::codec::varint::{put, put_signed, take, take_array, take_signed, take_slice};
use crate::metrics::late::{LateFloats, SealedChunk};
use crate::model::{MsRange, SampleBuf};
use crate::read::ReadError;

const OPEN: u8 = 1;
const RARE: u8 = 2;
/// Histograms of a chunk of late ones: its count has sixteen bits.
const LATE_CHUNK: usize = 1024;

impl SeriesState {
    /// Adds everything to a buffer.
    pub(in crate::metrics) fn save(&self, out: &mut Vec<u8>) {
        put_signed(out, self.newest_ms);
        put_signed(out, self.min_ms);
        put_signed(out, self.max_ms);
        let mut flags = 0;
        if !self.open.is_empty() {
            flags |= OPEN;
        }
        if self.rare.is_some() {
            flags |= RARE;
        }
        out.push(flags);
        if !self.open.is_empty() {
            self.open.save(out);
        }
        put_list(out, &self.sealed);
        let Some(rare) = self.rare.as_deref() else {
            return;
        };
        put_list(out, &rare.late.chunks);
        put(out, rare.late.buffer.len() as u64);
        for s in &rare.late.buffer {
            put_signed(out, s.t_ms);
            out.extend_from_slice(&s.bits.to_le_bytes());
            put_signed(out, s.start_ms);
        }
        let open: &[_] = &[rare.open.to_bytes()];
        put_chunks(out, if rare.open.is_empty() { &[] } else { open });
        put_list(out, &rare.sealed);
        let late: Vec<_> = rare.late_histograms.iter().collect();
        let late: Vec<_> = late
            .chunks(LATE_CHUNK)
            .map(|part| {
                let mut chunk = HistogramEncoder::default();
                for (t_ms, (start_ms, histogram)) in part {
                    chunk.push(HistogramSample {
                        t_ms: **t_ms,
                        start_ms: *start_ms,
                        histogram: Arc::clone(histogram),
                    });
                }
                chunk.to_bytes()
            })
            .collect();
        put_chunks(out, &late);
    }

    /// Takes from the front what [`Self::save`] added.
    ///
    /// # Errors
    /// When it is not that.
    pub(in crate::metrics) fn load(bytes: &mut &[u8]) -> Result<Self, ChunkError> {
        let mut state = Self::new(None);
        state.newest_ms = take_signed(bytes)?;
        state.min_ms = take_signed(bytes)?;
        state.max_ms = take_signed(bytes)?;
        let [flags] = take_array(bytes)?;
        if flags & OPEN != 0 {
            state.open = FloatEncoder::load(bytes)?;
        }
        state.sealed = take_list(bytes)?;
        if flags & RARE == 0 {
            return Ok(state);
        }
        let mut rare = Rare {
            late: LateFloats {
                chunks: take_list(bytes)?,
                buffer: Vec::new(),
            },
            ..Rare::default()
        };
        for _ in 0..take(bytes)? {
            let t_ms = take_signed(bytes)?;
            let bits = take_array(bytes)?;
            rare.late.buffer.push(FloatSample {
                t_ms,
                bits: u64::from_le_bytes(bits),
                start_ms: take_signed(bytes)?,
            });
        }
        for sample in take_histograms(bytes)? {
            rare.open.push(sample);
        }
        rare.sealed = take_list(bytes)?;
        rare.late_histograms = take_histograms(bytes)?
            .into_iter()
            .map(|s| (s.t_ms, (s.start_ms, s.histogram)))
            .collect::<BTreeMap<_, _>>();
        state.rare = Some(Box::new(rare));
        Ok(state)
    }

    /// What it holds, as a head accounts for it.
    pub(in crate::metrics) fn held(&self) -> Growth {
        let listed = |list: &Vec<SealedChunk>| {
            list.iter().map(SealedChunk::data_bytes).sum::<usize>()
                + list.capacity() * size_of::<SealedChunk>()
        };
        let mut bytes = self.open.capacity() + listed(&self.sealed);
        let mut chunks = self.sealed.len() + usize::from(!self.open.is_empty());
        if let Some(rare) = self.rare.as_deref() {
            let open = rare
                .open
                .last()
                .map_or(0, |s| histogram_bytes(&s.histogram));
            let late = rare.late_histograms.values();
            bytes += size_of::<Rare>()
                + rare.late.held_bytes()
                + rare.open.capacity()
                + open
                + listed(&rare.sealed)
                + late.map(|(_, h)| histogram_bytes(h)).sum::<usize>();
            chunks += rare.sealed.len() + usize::from(!rare.open.is_empty());
        }
        Growth {
            bytes: bytes as i64,
            chunks: chunks as i64,
        }
    }

    /// Number of samples.
    pub(in crate::metrics) fn sample_count(&self) -> usize {
        let listed = |list: &[SealedChunk]| list.iter().map(SealedChunk::len).sum::<usize>();
        let rare = self.rare.as_deref().map_or(0, |r| {
            listed(&r.late.chunks)
                + r.late.buffer.len()
                + r.open.len()
                + listed(&r.sealed)
                + r.late_histograms.len()
        });
        self.open.len() + listed(&self.sealed) + rare
    }

    /// First and last time; empty when the first is greater.
    pub(in crate::metrics) const fn times(&self) -> (i64, i64) {
        (self.min_ms, self.max_ms)
    }

    /// Takes all samples of another state of the same series, which was written later.
    ///
    /// # Errors
    /// When a chunk of it cannot be read.
    pub(in crate::metrics) fn absorb(
        &mut self,
        later: &Self,
        growth: &mut Growth,
    ) -> Result<(), ReadError> {
        let mut samples = SampleBuf::default();
        for run in later.snapshot(MsRange::ALL) {
            samples.clear();
            run.read(MsRange::ALL, &mut samples)?;
            for i in 0..samples.len() {
                let t_ms = samples.t_ms[i];
                let start_ms = samples.start_ms.get(i).copied();
                let start_ms = start_ms.unwrap_or(crate::model::NO_START_MS);
                // A sample that is here already stays as it is: the earlier record wins.
                let _ = match samples.histogram(i) {
                    Some(histogram) => {
                        let histogram = Arc::clone(histogram);
                        self.push_histogram(
                            HistogramSample {
                                t_ms,
                                start_ms,
                                histogram,
                            },
                            None,
                            growth,
                        )
                    }
                    None => {
                        let bits = samples.values[i].to_bits();
                        self.push_float(
                            FloatSample {
                                t_ms,
                                bits,
                                start_ms,
                            },
                            None,
                            growth,
                        )
                    }
                };
            }
        }
        Ok(())
    }
}

fn put_list(out: &mut Vec<u8>, chunks: &[SealedChunk]) {
    put(out, chunks.len() as u64);
    for chunk in chunks {
        put_signed(out, chunk.min_ms);
        put(out, chunk.max_ms.wrapping_sub(chunk.min_ms) as u64);
        put(out, chunk.bytes.len() as u64);
        out.extend_from_slice(&chunk.bytes);
    }
}

fn take_list(bytes: &mut &[u8]) -> Result<Vec<SealedChunk>, ChunkError> {
    let count = take(bytes)?;
    // Each takes three bytes at least.
    let mut list = Vec::with_capacity((count as usize).min(bytes.len() / 3));
    for _ in 0..count {
        let min_ms = take_signed(bytes)?;
        let max_ms = min_ms.wrapping_add(take(bytes)? as i64);
        let len = take(bytes)?;
        let bytes = Arc::from(take_slice(bytes, len)?);
        list.push(SealedChunk {
            min_ms,
            max_ms,
            bytes,
        });
    }
    Ok(list)
}

fn put_chunks(out: &mut Vec<u8>, chunks: &[Arc<[u8]>]) {
    put(out, chunks.len() as u64);
    for chunk in chunks {
        put(out, chunk.len() as u64);
        out.extend_from_slice(chunk);
    }
}

fn take_histograms(bytes: &mut &[u8]) -> Result<Vec<HistogramSample>, ChunkError> {
    let mut samples = Vec::new();
    for _ in 0..take(bytes)? {
        let len = take(bytes)?;
        let mut decoder = HistogramDecoder::new(take_slice(bytes, len)?)?;
        while let Some(sample) = decoder.next_sample()? {
            samples.push(sample);
        }
    }
    Ok(samples)
}
