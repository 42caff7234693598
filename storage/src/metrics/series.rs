//! One series of a head: its chunks, and the decision over each sample.
//!
//! ```text
//!  floats in order      [sealed] [sealed] ... [open]
//!  floats late          [sealed] ... + a short sorted buffer          (see late.rs)
//!  histograms in order  [sealed] ... [open]
//!  histograms late      by time
//! ```
//!
//! Invariant: over all four a time comes once. A series without late samples and histograms pays for none of them.

mod delete;
mod saved;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::head::KeyHash;
use super::late::{CHUNK_SAMPLES, LateFloats, SealedChunk, chunk_at, decode_floats};
use super::runs::{Piece, Run};
use crate::codec::gorilla::{FloatEncoder, FloatSample};
use crate::codec::histogram::{
    HistogramDecoder, HistogramEncoder, HistogramSample, same_histogram,
};
use crate::model::{Histogram, MsRange, NO_START_MS, RefuseReason};

/// Samples and bytes at which a chunk of histograms is sealed.
const HISTOGRAM_CHUNK_SAMPLES: usize = 120;
const HISTOGRAM_CHUNK_BYTES: usize = 8 << 10;

/// A series in memory.
#[derive(Debug)]
pub(super) struct MemSeries {
    /// Its id in the index of its generation.
    pub(super) id: u32,
    /// Guards the samples; held for one series' samples of one batch, or to copy an open chunk.
    pub(super) state: Mutex<SeriesState>,
}

impl MemSeries {
    pub(super) fn new(id: u32, newest_before_ms: Option<i64>) -> Self {
        Self::with_state(id, SeriesState::new(newest_before_ms))
    }

    /// A series that was loaded from a snapshot.
    pub(super) const fn with_state(id: u32, state: SeriesState) -> Self {
        let state = Mutex::new(state);
        Self { id, state }
    }
}

/// By how much a write changed a head's figures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    pub(super) bytes: i64,
    pub(super) chunks: i64,
}

/// The samples of a series.
#[derive(Debug)]
pub(super) struct SeriesState {
    /// The key under which it was first met here.
    pub(super) key: KeyHash,
    /// The series that came behind it the last time, if any (see [`super::walk::Walk`]).
    pub(super) next: Weak<MemSeries>,
    /// Newest time ever seen, earlier generations included; `i64::MIN` when there is none.
    newest_ms: i64,
    /// First and last time in this generation; empty when the first is greater.
    min_ms: i64,
    max_ms: i64,
    open: FloatEncoder,
    sealed: Vec<SealedChunk>,
    rare: Option<Box<Rare>>,
}

/// What most series do not have.
#[derive(Debug, Default)]
struct Rare {
    late: LateFloats,
    open: HistogramEncoder,
    sealed: Vec<SealedChunk>,
    late_histograms: BTreeMap<i64, (i64, Arc<Histogram>)>,
}

/// Where a sample goes that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind all that the series has.
    Newest,
    /// Between or before what the series has.
    Late,
    /// Nowhere: the very same is there.
    Same,
}

enum Found {
    Float(u64),
    Histogram(Arc<Histogram>),
}

impl SeriesState {
    pub(super) fn new(newest_before_ms: Option<i64>) -> Self {
        Self {
            key: KeyHash::NONE,
            next: Weak::new(),
            newest_ms: newest_before_ms.unwrap_or(i64::MIN),
            min_ms: i64::MAX,
            max_ms: i64::MIN,
            open: FloatEncoder::default(),
            sealed: Vec::new(),
            rare: None,
        }
    }

    /// Newest time ever seen.
    pub(super) fn newest_ms(&self) -> Option<i64> {
        (self.newest_ms != i64::MIN).then_some(self.newest_ms)
    }

    /// Whether a sample of this generation may lie in the range.
    pub(super) fn overlaps(&self, range: MsRange) -> bool {
        self.min_ms <= self.max_ms && range.overlaps(MsRange::new(self.min_ms, self.max_ms))
    }

    /// Takes a float; `false` when the very same is there already. `window_ms` as in [`crate::Options::out_of_order_window`].
    #[inline]
    pub(super) fn push_float(
        &mut self,
        sample: FloatSample,
        window_ms: Option<i64>,
        growth: &mut Growth,
    ) -> Result<bool, RefuseReason> {
        match self.place_float(sample.t_ms, sample.bits, window_ms)? {
            Place::Newest => {
                self.newest_ms = sample.t_ms;
                self.append_float(sample, growth);
            }
            Place::Same => return Ok(false),
            Place::Late => {
                self.widen(sample.t_ms);
                let grown = self.rare(growth).late.insert(sample);
                growth.bytes += grown;
            }
        }
        Ok(true)
    }

    /// Where a float would go.
    #[inline]
    pub(super) fn place_float(
        &self,
        t_ms: i64,
        bits: u64,
        window_ms: Option<i64>,
    ) -> Result<Place, RefuseReason> {
        if t_ms > self.newest_ms {
            return Ok(Place::Newest);
        }
        if t_ms == self.open.last().t_ms && !self.open.is_empty() {
            return match self.open.last().bits == bits {
                true => Ok(Place::Same),
                false => Err(RefuseReason::DuplicateTimestamp),
            };
        }
        self.check_window(t_ms, window_ms)?;
        match self.find(t_ms) {
            Some(Found::Float(found)) if found == bits => Ok(Place::Same),
            Some(_) => Err(RefuseReason::DuplicateTimestamp),
            None => Ok(Place::Late),
        }
    }

    #[inline]
    fn append_float(&mut self, sample: FloatSample, growth: &mut Growth) {
        if self.open.len() >= CHUNK_SAMPLES
            || sample.start_ms != NO_START_MS && !self.open.with_start()
        {
            self.seal_floats(sample.start_ms != NO_START_MS, growth);
        }
        if self.open.is_empty() {
            growth.chunks += 1;
        }
        let before = self.open.capacity();
        self.open.push(sample);
        growth.bytes += self.open.capacity() as i64 - before as i64;
        self.widen(sample.t_ms);
    }

    #[cold]
    fn seal_floats(&mut self, with_start: bool, growth: &mut Growth) {
        growth.bytes -= self.open.capacity() as i64;
        let open = std::mem::replace(&mut self.open, FloatEncoder::new(with_start));
        if open.is_empty() {
            return;
        }
        let chunk = SealedChunk {
            min_ms: open.first_ms(),
            max_ms: open.last().t_ms,
            bytes: open.to_bytes(),
        };
        growth.bytes += chunk.data_bytes() as i64 + push_exact(&mut self.sealed, chunk);
    }

    /// Takes a histogram; see [`Self::push_float`].
    pub(super) fn push_histogram(
        &mut self,
        sample: HistogramSample,
        window_ms: Option<i64>,
        growth: &mut Growth,
    ) -> Result<bool, RefuseReason> {
        let t_ms = sample.t_ms;
        match self.place_histogram(t_ms, &sample.histogram, window_ms)? {
            Place::Newest => {}
            Place::Same => return Ok(false),
            Place::Late => {
                self.widen(t_ms);
                growth.bytes += histogram_bytes(&sample.histogram) as i64;
                self.rare(growth)
                    .late_histograms
                    .insert(t_ms, (sample.start_ms, sample.histogram));
                return Ok(true);
            }
        }
        self.newest_ms = t_ms;
        self.widen(t_ms);
        let rare = self.rare(growth);
        let before = rare.open.capacity();
        if rare.open.is_empty() {
            growth.chunks += 1;
            // The encoder keeps the newest histogram as it is.
            growth.bytes += histogram_bytes(&sample.histogram) as i64;
        }
        rare.open.push(sample);
        growth.bytes += rare.open.capacity() as i64 - before as i64;
        if rare.open.len() >= HISTOGRAM_CHUNK_SAMPLES
            || rare.open.len_bytes() >= HISTOGRAM_CHUNK_BYTES
        {
            let open = std::mem::take(&mut rare.open);
            let chunk = SealedChunk {
                min_ms: open.first_ms(),
                max_ms: t_ms,
                bytes: open.to_bytes(),
            };
            let kept = open.last().map_or(0, |s| histogram_bytes(&s.histogram));
            growth.bytes += chunk.data_bytes() as i64 - (open.capacity() + kept) as i64;
            growth.bytes += push_exact(&mut rare.sealed, chunk);
        }
        Ok(true)
    }

    /// Where a histogram would go.
    pub(super) fn place_histogram(
        &self,
        t_ms: i64,
        histogram: &Histogram,
        window_ms: Option<i64>,
    ) -> Result<Place, RefuseReason> {
        if t_ms > self.newest_ms {
            return Ok(Place::Newest);
        }
        self.check_window(t_ms, window_ms)?;
        match self.find(t_ms) {
            Some(Found::Histogram(found)) if same_histogram(&found, histogram) => Ok(Place::Same),
            Some(_) => Err(RefuseReason::DuplicateTimestamp),
            None => Ok(Place::Late),
        }
    }

    fn check_window(&self, t_ms: i64, window_ms: Option<i64>) -> Result<(), RefuseReason> {
        match window_ms {
            Some(0) if t_ms < self.newest_ms => Err(RefuseReason::OutOfOrder),
            Some(window) if self.newest_ms.saturating_sub(t_ms) > window => {
                Err(RefuseReason::TooOld)
            }
            _ => Ok(()),
        }
    }

    fn widen(&mut self, t_ms: i64) {
        self.min_ms = self.min_ms.min(t_ms);
        self.max_ms = self.max_ms.max(t_ms);
    }

    fn rare(&mut self, growth: &mut Growth) -> &mut Rare {
        self.rare.get_or_insert_with(|| {
            growth.bytes += size_of::<Rare>() as i64;
            Box::default()
        })
    }

    /// What is kept at a time. Decodes at most one chunk of each kind.
    fn find(&self, t_ms: i64) -> Option<Found> {
        if t_ms < self.min_ms || t_ms > self.max_ms {
            return None;
        }
        let open = &self.open;
        let floats = if !open.is_empty() && open.first_ms() <= t_ms && t_ms <= open.last().t_ms {
            decode_floats(&open.to_bytes()).ok()
        } else {
            chunk_at(&self.sealed, t_ms).and_then(|c| decode_floats(&c.bytes).ok())
        };
        let in_order = floats.and_then(|f| f.into_iter().find(|s| s.t_ms == t_ms));
        if let Some(sample) = in_order {
            return Some(Found::Float(sample.bits));
        }
        let rare = self.rare.as_deref()?;
        if let Some(sample) = rare.late.find(t_ms) {
            return Some(Found::Float(sample.bits));
        }
        if let Some((_, h)) = rare.late_histograms.get(&t_ms) {
            return Some(Found::Histogram(Arc::clone(h)));
        }
        match rare.open.last() {
            Some(last) if last.t_ms == t_ms => {
                return Some(Found::Histogram(Arc::clone(&last.histogram)));
            }
            Some(last) if rare.open.first_ms() <= t_ms && t_ms <= last.t_ms => {
                return find_histogram(&rare.open.to_bytes(), t_ms);
            }
            _ => {}
        }
        find_histogram(&chunk_at(&rare.sealed, t_ms)?.bytes, t_ms)
    }

    /// The chunks that reach into a range, as runs of ascending pieces. Sealed chunks are shared, open ones copied.
    pub(super) fn snapshot(&self, range: MsRange) -> SmallVec<[Run; 1]> {
        let mut runs = SmallVec::new();
        if !self.overlaps(range) {
            return runs;
        }
        let mut floats = sealed_run(&self.sealed, range);
        let open = &self.open;
        if !open.is_empty() && range.overlaps(MsRange::new(open.first_ms(), open.last().t_ms)) {
            floats.push(Piece::Chunk(open.to_bytes()));
        }
        push_run(&mut runs, floats);
        let Some(rare) = self.rare.as_deref() else {
            return runs;
        };
        push_run(&mut runs, sealed_run(&rare.late.chunks, range));
        let waiting: Vec<FloatSample> = in_range(&rare.late.buffer, range).to_vec();
        if !waiting.is_empty() {
            push_run(
                &mut runs,
                smallvec::smallvec![Piece::Floats(waiting.into())],
            );
        }
        let mut histograms = sealed_run(&rare.sealed, range);
        if let Some(last) = rare.open.last()
            && range.overlaps(MsRange::new(rare.open.first_ms(), last.t_ms))
        {
            histograms.push(Piece::Chunk(rare.open.to_bytes()));
        }
        push_run(&mut runs, histograms);
        if range.min_ms <= range.max_ms && !rare.late_histograms.is_empty() {
            let late: Vec<HistogramSample> = rare
                .late_histograms
                .range(range.min_ms..=range.max_ms)
                .map(|(&t_ms, (start_ms, histogram))| HistogramSample {
                    t_ms,
                    start_ms: *start_ms,
                    histogram: Arc::clone(histogram),
                })
                .collect();
            if !late.is_empty() {
                push_run(
                    &mut runs,
                    smallvec::smallvec![Piece::Histograms(late.into())],
                );
            }
        }
        runs
    }
}

/// Adds a chunk to a list that mostly stays short; returns by how many bytes the list grew.
fn push_exact(chunks: &mut Vec<SealedChunk>, chunk: SealedChunk) -> i64 {
    let before = chunks.capacity();
    if chunks.len() == before {
        chunks.reserve_exact(1 + before / 2);
    }
    chunks.push(chunk);
    ((chunks.capacity() - before) * size_of::<SealedChunk>()) as i64
}

fn push_run(runs: &mut SmallVec<[Run; 1]>, pieces: SmallVec<[Piece; 2]>) {
    if !pieces.is_empty() {
        runs.push(Run(pieces));
    }
}

fn sealed_run(chunks: &[SealedChunk], range: MsRange) -> SmallVec<[Piece; 2]> {
    let start = chunks.partition_point(|c| c.max_ms < range.min_ms);
    chunks
        .iter()
        .skip(start)
        .take_while(|c| c.min_ms <= range.max_ms)
        .map(|c| Piece::Chunk(Arc::clone(&c.bytes)))
        .collect()
}

fn in_range(samples: &[FloatSample], range: MsRange) -> &[FloatSample] {
    let start = samples.partition_point(|s| s.t_ms < range.min_ms);
    let end = samples.partition_point(|s| s.t_ms <= range.max_ms);
    samples.get(start..end).unwrap_or(&[])
}

fn find_histogram(chunk: &[u8], t_ms: i64) -> Option<Found> {
    let mut decoder = HistogramDecoder::new(chunk).ok()?;
    while let Ok(Some(sample)) = decoder.next_sample() {
        if sample.t_ms == t_ms {
            return Some(Found::Histogram(sample.histogram));
        }
    }
    None
}

/// Bytes that a histogram takes in memory.
fn histogram_bytes(h: &Histogram) -> usize {
    let buckets = match &h.counts {
        crate::model::Counts::Integer {
            positive, negative, ..
        } => positive.len() + negative.len(),
        crate::model::Counts::Float {
            positive, negative, ..
        } => positive.len() + negative.len(),
    };
    let spans = h.positive_spans.len() + h.negative_spans.len();
    size_of::<Histogram>() + 64 + 8 * (buckets + spans + h.custom_values.len())
}
