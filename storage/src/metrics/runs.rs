//! Samples of one series from several places, merged into one column buffer.
//!
//! A *run* is a list of pieces ascending in time. Where two runs hold the same time, the earlier run in the list wins: callers list
//! older sources first.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::codec::ChunkError;
use crate::codec::gorilla::{FloatDecoder, FloatSample};
use crate::codec::histogram::{HistogramDecoder, HistogramSample};
use crate::model::{MsRange, NO_START_MS, SampleBuf};
use crate::read::ReadError;

/// Ascending samples in one of their forms.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// A chunk of floats or histograms.
    Chunk(Arc<[u8]>),
    /// Floats as they are.
    Floats(Box<[FloatSample]>),
    /// Histograms as they are.
    Histograms(Box<[HistogramSample]>),
}

/// Pieces ascending in time.
#[derive(Clone, Debug)]
pub(super) struct Run(pub(super) SmallVec<[Piece; 2]>);

impl Run {
    /// Bytes kept alive.
    pub(super) fn held_bytes(&self) -> usize {
        let piece = |p: &Piece| match p {
            Piece::Chunk(bytes) => bytes.len(),
            Piece::Floats(samples) => std::mem::size_of_val(&**samples),
            Piece::Histograms(samples) => samples.len() * 512,
        };
        size_of::<Self>() + self.0.iter().map(piece).sum::<usize>()
    }

    /// Adds the samples of a range to a buffer whose last time is before the run's first.
    pub(super) fn read(&self, range: MsRange, out: &mut SampleBuf) -> Result<(), ReadError> {
        for piece in &self.0 {
            match piece {
                Piece::Chunk(bytes) => read_chunk(bytes, range, out).map_err(corrupt)?,
                Piece::Floats(samples) => {
                    for s in samples.iter().filter(|s| range.contains(s.t_ms)) {
                        out.push_float(s.t_ms, f64::from_bits(s.bits), s.start_ms);
                    }
                }
                Piece::Histograms(samples) => {
                    for s in samples.iter().filter(|s| range.contains(s.t_ms)) {
                        out.push_histogram(s.t_ms, Arc::clone(&s.histogram), s.start_ms);
                    }
                }
            }
        }
        Ok(())
    }
}

fn corrupt(e: ChunkError) -> ReadError {
    ReadError(format!("a chunk of the metrics head is corrupt: {e}"))
}

fn read_chunk(bytes: &[u8], range: MsRange, out: &mut SampleBuf) -> Result<(), ChunkError> {
    match FloatDecoder::new(bytes) {
        Ok(mut decoder) => {
            out.t_ms.reserve(decoder.remaining());
            out.values.reserve(decoder.remaining());
            while let Some(s) = decoder.next_sample()? {
                if s.t_ms > range.max_ms {
                    break;
                }
                if s.t_ms >= range.min_ms {
                    out.push_float(s.t_ms, f64::from_bits(s.bits), s.start_ms);
                }
            }
            Ok(())
        }
        Err(ChunkError::Kind) => {
            let mut decoder = HistogramDecoder::new(bytes)?;
            while let Some(s) = decoder.next_sample()? {
                if s.t_ms > range.max_ms {
                    break;
                }
                if s.t_ms >= range.min_ms {
                    out.push_histogram(s.t_ms, s.histogram, s.start_ms);
                }
            }
            Ok(())
        }
        Err(e) => Err(e),
    }
}

/// Merges buffers that are each ascending, in order of precedence, into a cleared one. May take what the buffers hold.
pub(super) fn merge(parts: &mut Vec<SampleBuf>, out: &mut SampleBuf) {
    parts.retain(|p| !p.is_empty());
    // Parts that follow each other in time are the usual case: blocks, then heads.
    let apart = parts
        .windows(2)
        .all(|w| w[0].t_ms.last() < w[1].t_ms.first());
    if apart {
        for part in parts {
            append(out, part);
        }
        return;
    }
    let mut at = vec![0_usize; parts.len()];
    loop {
        let mut next: Option<(i64, usize)> = None;
        for (p, part) in parts.iter().enumerate() {
            if let Some(&t_ms) = part.t_ms.get(at[p])
                && next.is_none_or(|(best, _)| t_ms < best)
            {
                next = Some((t_ms, p));
            }
        }
        let Some((t_ms, from)) = next else {
            return;
        };
        push_from(out, &parts[from], at[from]);
        for (p, part) in parts.iter().enumerate() {
            if part.t_ms.get(at[p]) == Some(&t_ms) {
                at[p] += 1;
            }
        }
    }
}

/// Adds a buffer that begins after the last sample of another.
fn append(out: &mut SampleBuf, part: &mut SampleBuf) {
    if out.is_empty() {
        std::mem::swap(out, part);
        return;
    }
    let plain = |b: &SampleBuf| b.histograms.is_empty() && b.start_ms.is_empty();
    if plain(out) && plain(part) {
        out.t_ms.extend_from_slice(&part.t_ms);
        out.values.extend_from_slice(&part.values);
        return;
    }
    for i in 0..part.len() {
        push_from(out, part, i);
    }
}

fn push_from(out: &mut SampleBuf, part: &SampleBuf, i: usize) {
    let start_ms = part.start_ms.get(i).copied().unwrap_or(NO_START_MS);
    match part.histogram(i) {
        Some(h) => out.push_histogram(part.t_ms[i], Arc::clone(h), start_ms),
        None => out.push_float(part.t_ms[i], part.values[i], start_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buf(samples: &[(i64, f64)]) -> SampleBuf {
        let mut out = SampleBuf::default();
        for &(t_ms, value) in samples {
            out.push_float(t_ms, value, NO_START_MS);
        }
        out
    }

    #[test]
    fn the_older_source_wins_where_two_hold_one_time() {
        let mut out = SampleBuf::default();
        let parts = [
            buf(&[(1, 1.0), (3, 1.0)]),
            buf(&[(0, 2.0), (1, 2.0), (4, 2.0)]),
            buf(&[(3, 3.0), (4, 3.0), (5, 3.0)]),
        ];
        merge(&mut parts.to_vec(), &mut out);
        assert_eq!(out.t_ms, [0, 1, 3, 4, 5]);
        assert_eq!(out.values, [2.0, 1.0, 1.0, 2.0, 3.0]);
    }
}
