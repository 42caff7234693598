//! Takes the samples of a range of time out of a series.

use super::{Growth, SeriesState};
use crate::codec::ChunkError;
use crate::codec::gorilla::{FloatEncoder, FloatSample};
use crate::codec::histogram::{HistogramDecoder, HistogramEncoder, HistogramSample};
use crate::metrics::late::{SealedChunk, decode_floats, seal_into};
use crate::model::MsRange;

impl SeriesState {
    /// Takes out what lies in a range. What the series knows of its newest time stays: whether a write comes late does not
    /// depend on deletions.
    pub(in crate::metrics) fn delete(&mut self, range: MsRange, growth: &mut Growth) {
        if !self.overlaps(range) {
            return;
        }
        let before = self.held();
        keep_outside(&mut self.sealed, range, reseal_floats);
        if !self.open.is_empty() && range.overlaps(open_range(&self.open)) {
            // Bytes of our own of a moment ago: they can be read.
            let samples = decode_floats(&self.open.to_bytes()).unwrap_or_default();
            self.open = FloatEncoder::new(self.open.with_start());
            let kept = samples.into_iter().filter(|s| !range.contains(s.t_ms));
            kept.for_each(|s| self.open.push(s));
        }
        if let Some(rare) = self.rare.as_deref_mut() {
            keep_outside(&mut rare.late.chunks, range, reseal_floats);
            rare.late.buffer.retain(|s| !range.contains(s.t_ms));
            keep_outside(&mut rare.sealed, range, reseal_histograms);
            let last_ms = rare.open.last().map(|s| s.t_ms);
            if last_ms.is_some_and(|t| range.overlaps(MsRange::new(rare.open.first_ms(), t))) {
                let samples = decode_histograms(&rare.open.to_bytes()).unwrap_or_default();
                rare.open = HistogramEncoder::default();
                let kept = samples.into_iter().filter(|s| !range.contains(s.t_ms));
                kept.for_each(|s| rare.open.push(s));
            }
            rare.late_histograms
                .retain(|&t_ms, _| !range.contains(t_ms));
        }
        self.narrow();
        let after = self.held();
        growth.bytes += after.bytes - before.bytes;
        growth.chunks += after.chunks - before.chunks;
    }

    /// Brings the first and last time to what is there.
    fn narrow(&mut self) {
        let mut ends: Vec<(i64, i64)> = Vec::new();
        let mut list = |chunks: &[SealedChunk]| {
            ends.extend(chunks.iter().map(|c| (c.min_ms, c.max_ms)));
        };
        list(&self.sealed);
        if let Some(rare) = self.rare.as_deref() {
            list(&rare.late.chunks);
            list(&rare.sealed);
            ends.extend(rare.late.buffer.iter().map(|s| (s.t_ms, s.t_ms)));
            ends.extend(rare.late_histograms.keys().map(|&t_ms| (t_ms, t_ms)));
            ends.extend(rare.open.last().map(|s| (rare.open.first_ms(), s.t_ms)));
        }
        if !self.open.is_empty() {
            let open = open_range(&self.open);
            ends.push((open.min_ms, open.max_ms));
        }
        self.min_ms = ends.iter().map(|e| e.0).min().unwrap_or(i64::MAX);
        self.max_ms = ends.iter().map(|e| e.1).max().unwrap_or(i64::MIN);
    }
}

fn open_range(open: &FloatEncoder) -> MsRange {
    MsRange::new(open.first_ms(), open.last().t_ms)
}

/// Chunks wholly in the range go, those that reach into it are sealed again.
fn keep_outside(
    chunks: &mut Vec<SealedChunk>,
    range: MsRange,
    reseal: fn(&SealedChunk, MsRange, &mut Vec<SealedChunk>) -> Result<(), ChunkError>,
) {
    let touched = |c: &SealedChunk| range.overlaps(MsRange::new(c.min_ms, c.max_ms));
    if !chunks.iter().any(touched) {
        return;
    }
    let mut kept = Vec::with_capacity(chunks.len());
    for chunk in chunks.iter() {
        if !touched(chunk) {
            kept.push(chunk.clone());
        } else if !(range.contains(chunk.min_ms) && range.contains(chunk.max_ms)) {
            // It can be read, for we wrote it. Where not, no sample of it would be seen again anyway.
            let _ = reseal(chunk, range, &mut kept);
        }
    }
    *chunks = kept;
}

fn reseal_floats(
    chunk: &SealedChunk,
    range: MsRange,
    out: &mut Vec<SealedChunk>,
) -> Result<(), ChunkError> {
    let mut samples: Vec<FloatSample> = decode_floats(&chunk.bytes)?;
    samples.retain(|s| !range.contains(s.t_ms));
    seal_into(out, &samples);
    Ok(())
}

fn reseal_histograms(
    chunk: &SealedChunk,
    range: MsRange,
    out: &mut Vec<SealedChunk>,
) -> Result<(), ChunkError> {
    let mut encoder = HistogramEncoder::default();
    let samples = decode_histograms(&chunk.bytes)?.into_iter();
    samples
        .filter(|s| !range.contains(s.t_ms))
        .for_each(|s| encoder.push(s));
    if let Some(last) = encoder.last() {
        out.push(SealedChunk {
            min_ms: encoder.first_ms(),
            max_ms: last.t_ms,
            bytes: encoder.to_bytes(),
        });
    }
    Ok(())
}

fn decode_histograms(chunk: &[u8]) -> Result<Vec<HistogramSample>, ChunkError> {
    let mut decoder = HistogramDecoder::new(chunk)?;
    let mut samples = Vec::new();
    while let Some(sample) = decoder.next_sample()? {
        samples.push(sample);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Histogram, NO_START_MS, SampleBuf};

    fn held(state: &SeriesState) -> BTreeMap<i64, u64> {
        let mut out = BTreeMap::new();
        for run in state.snapshot(MsRange::ALL) {
            let mut samples = SampleBuf::default();
            run.read(MsRange::ALL, &mut samples).unwrap();
            for i in 0..samples.len() {
                let number = match samples.histogram(i) {
                    Some(h) => h.sum.to_bits(),
                    None => samples.values[i].to_bits(),
                };
                assert!(out.insert(samples.t_ms[i], number).is_none());
            }
        }
        out
    }

    proptest! {
        #[test]
        fn what_is_deleted_is_gone_and_the_rest_stays(
            writes in proptest::collection::vec((0_i64..900, any::<bool>(), any::<bool>()), 1..900),
            deletions in proptest::collection::vec((0_i64..900, 0_i64..400, 0_usize..900), 1..6),
        ) {
            let mut state = SeriesState::new(None);
            let (mut growth, mut model) = (Growth::default(), BTreeMap::new());
            for (n, &(t_ms, is_histogram, has_start)) in writes.iter().enumerate() {
                for (min_ms, len, at) in &deletions {
                    if *at == n {
                        let range = MsRange::new(*min_ms, min_ms + len);
                        state.delete(range, &mut growth);
                        model.retain(|t, _| !range.contains(*t));
                        prop_assert_eq!(&held(&state), &model);
                        prop_assert_eq!(state.overlaps(MsRange::ALL), !model.is_empty());
                    }
                }
                // Histograms come seldom, so that chunks of floats are sealed too.
                let value = n as f64;
                let start_ms = if has_start { t_ms - 1 } else { NO_START_MS };
                let taken = if is_histogram && n % 7 == 0 {
                    let histogram = Arc::new(Histogram { sum: value, ..Histogram::default() });
                    state.push_histogram(HistogramSample { t_ms, start_ms, histogram }, None, &mut growth)
                } else {
                    state.push_float(FloatSample { t_ms, bits: value.to_bits(), start_ms }, None, &mut growth)
                };
                prop_assert_eq!(taken.is_ok(), !model.contains_key(&t_ms));
                model.entry(t_ms).or_insert(value.to_bits());
            }
            prop_assert_eq!(&held(&state), &model);
            state.delete(MsRange::ALL, &mut growth);
            prop_assert!(held(&state).is_empty());
            prop_assert_eq!(growth.chunks, 0);
        }
    }
}
