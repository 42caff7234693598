//! Samples as chunks in Prometheus's own encoding, which streamed remote read carries.
//!
//! ```text
//!  float chunk      count u16 │ t0 varint, v0 f64 │ Δt uvarint, xor │ (ΔΔt, xor)*
//!  histogram chunk  count u16 │ reset u8 │ zero threshold, schema, spans, spans, bounds │ sample*
//! ```
//! Source: Prometheus `tsdb/docs/format/chunks.md`.
//!
//! A reader takes every histogram of a chunk but the first for one without a reset before it, so a chunk ends where a count falls; and
//! it knows one layout a chunk, so it ends where that changes.

mod bits;
mod float;
mod histogram;

use std::sync::Arc;

use storage::model::{Histogram, SampleBuf};

use self::float::FloatChunk;
use self::histogram::HistogramChunk;

/// Samples of a chunk, as Prometheus cuts them.
const MAX_SAMPLES: u16 = 120;

/// How a chunk's bytes are to be read. The numbers are those of remote read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Floats.
    Xor = 1,
    /// Histograms with integer counts.
    Histogram = 2,
    /// Histograms with float counts.
    FloatHistogram = 3,
}

/// A finished chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Its encoding.
    pub(crate) encoding: Encoding,
    /// Time of its first sample.
    pub(crate) min_ms: i64,
    /// Time of its last sample.
    pub(crate) max_ms: i64,
    /// Its bytes.
    pub(crate) data: Vec<u8>,
}

/// A chunk that may take more.
enum Open {
    Float(FloatChunk),
    Histogram(HistogramChunk),
}

impl Open {
    fn finish(self, min_ms: i64, max_ms: i64) -> Chunk {
        let (encoding, data) = match self {
            Self::Float(c) => (Encoding::Xor, c.finish()),
            Self::Histogram(c) => (c.encoding(), c.finish()),
        };
        Chunk {
            encoding,
            min_ms,
            max_ms,
            data,
        }
    }
}

/// A chunk that holds no sample: what a reader gets of whom only the labels are wanted.
pub(crate) fn empty(min_ms: i64, max_ms: i64) -> Chunk {
    Open::Float(FloatChunk::default()).finish(min_ms, max_ms)
}

/// Hands over the chunks of a series one by one, in order of time.
pub(crate) fn encode(samples: &SampleBuf, mut take: impl FnMut(Chunk)) {
    let mut open: Option<(Open, i64, i64, u16)> = None;
    for (i, t_ms) in samples.t_ms.iter().copied().enumerate() {
        let value = match samples.histogram(i) {
            Some(h) => Value::Histogram(h),
            None => Value::Float(samples.values[i]),
        };
        if let Some((chunk, _, max_ms, count)) = &mut open
            && *count < MAX_SAMPLES
            && push(chunk, t_ms, &value)
        {
            *max_ms = t_ms;
            *count += 1;
            continue;
        }
        let chunk = match value {
            Value::Float(v) => Open::Float(FloatChunk::new(t_ms, v)),
            Value::Histogram(h) => Open::Histogram(HistogramChunk::new(t_ms, h)),
        };
        if let Some((full, min_ms, max_ms, _)) = open.replace((chunk, t_ms, t_ms, 1)) {
            take(full.finish(min_ms, max_ms));
        }
    }
    if let Some((last, min_ms, max_ms, _)) = open {
        take(last.finish(min_ms, max_ms));
    }
}

enum Value<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

/// Adds a sample where the chunk can take it.
fn push(chunk: &mut Open, t_ms: i64, value: &Value<'_>) -> bool {
    match (chunk, value) {
        (Open::Float(c), Value::Float(v)) => {
            c.push(t_ms, *v);
            true
        }
        (Open::Histogram(c), Value::Histogram(h)) => c.push(t_ms, h),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
