//! The streamed answer: frames with chunks, the series of each query in order of their labels, at most one series a frame.
//!
//! Storage gives series in any order, and a reader merges what it gets, so they are sorted here, without holding them all: of one pass over a
//! selection those with the smallest labels are kept that fit the memory, and the next pass goes on behind them. A pass that finds room for all
//! is the last, and mostly the first.

use std::collections::{BTreeMap, VecDeque};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::header;
use storage::model::{Labels, SampleBuf};
use storage::read::SeriesBatch;
use tokio::sync::SemaphorePermit;

use super::{MAX_FRAME_BYTES, Reading, TextError, with_external};
use crate::wire::remote_read;
use crate::wire::tsdb_chunk;

const CONTENT_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

pub(super) async fn answer(
    reading: Reading,
    room: SemaphorePermit<'static>,
) -> Result<Response, TextError> {
    let mut frames = Frames {
        reading,
        query: 0,
        from: None,
        ready: VecDeque::new(),
    };
    // What goes wrong before the first frame can still be said with a status.
    let first = frames.next().await?;
    let frames = stream::try_unfold((first, frames, room), |(first, mut frames, room)| async {
        let frame = match first {
            Some(first) => Some(first),
            None => frames.next().await?,
        };
        Ok::<_, TextError>(frame.map(|frame| (frame, (None, frames, room))))
    });
    let headers = [(header::CONTENT_TYPE, CONTENT_TYPE)];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// The frames that are still to be sent.
struct Frames {
    reading: Reading,
    /// The query at hand.
    query: usize,
    /// Where its next pass begins; everything before is ready or sent.
    from: Option<Labels>,
    ready: VecDeque<Bytes>,
}

impl Frames {
    /// The next frame, `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, TextError> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            let Some(query) = self.reading.queries.get(self.query) else {
                return Ok(None);
            };
            let next = if query.only_labels {
                self.labels().await?;
                None
            } else {
                self.pass().await?
            };
            if next.is_none() {
                self.query += 1;
            }
            self.from = next;
        }
    }

    /// Makes frames of series that have labels and an empty chunk.
    async fn labels(&mut self) -> Result<(), TextError> {
        let reading = &self.reading;
        let select = &reading.queries[self.query].select;
        let (any_of, range) = ([select.matchers.clone()], select.range);
        let storage = &reading.app.storage;
        let all = storage
            .series_labels(&reading.tenant, &any_of, range, 0)
            .await?;
        let chunk = remote_read::chunk(&tsdb_chunk::empty(range.min_ms, range.max_ms));
        for labels in all {
            let labels = with_external(&labels, &reading.external);
            let frame = remote_read::frame(&labels, &chunk, self.query);
            self.ready.push_back(frame.into());
        }
        Ok(())
    }

    /// Makes frames of the next series, as many as fit; where the pass after it begins.
    async fn pass(&mut self) -> Result<Option<Labels>, TextError> {
        let reading = &self.reading;
        let select = &reading.queries[self.query].select;
        let mut kept = Kept {
            from: self.from.take(),
            limit: reading.held_bytes,
            ..Kept::default()
        };
        let storage = &reading.app.storage;
        let mut set = storage.select_series(&reading.tenant, select).await?;
        while let Some(batch) = set.next_batch().await? {
            tokio::task::block_in_place(|| kept.add(batch, self.query, &reading.external))?;
        }
        self.ready.extend(kept.series.into_values().flatten());
        Ok(kept.end)
    }
}

/// The series of a pass with the smallest labels, encoded.
#[derive(Default)]
struct Kept {
    /// Smaller labels were sent before.
    from: Option<Labels>,
    /// Greater labels, and these, are left to the next pass.
    end: Option<Labels>,
    limit: usize,
    held: usize,
    series: BTreeMap<Labels, Vec<Bytes>>,
}

impl Kept {
    fn add(
        &mut self,
        batch: SeriesBatch,
        query: usize,
        external: &Labels,
    ) -> Result<(), TextError> {
        let mut samples = SampleBuf::default();
        for series in batch {
            let labels = series.labels();
            if self.from.as_ref().is_some_and(|from| labels < from)
                || self.end.as_ref().is_some_and(|end| labels >= end)
            {
                continue;
            }
            series.samples(&mut samples)?;
            let frames = encode(&with_external(labels, external), &samples, query);
            if !frames.is_empty() {
                self.insert(labels.clone(), frames);
            }
        }
        Ok(())
    }

    fn insert(&mut self, labels: Labels, frames: Vec<Bytes>) {
        let bytes = |frames: &[Bytes]| frames.iter().map(Bytes::len).sum::<usize>();
        self.held += bytes(&frames);
        self.series.insert(labels, frames);
        // One series is kept whatever its size, or the passes would not come to an end.
        while self.held > self.limit
            && self.series.len() > 1
            && let Some((labels, frames)) = self.series.pop_last()
        {
            self.held -= bytes(&frames);
            self.end = Some(labels);
        }
    }
}

/// The frames of one series.
fn encode(labels: &[u8], samples: &SampleBuf, query: usize) -> Vec<Bytes> {
    let room = MAX_FRAME_BYTES.saturating_sub(labels.len());
    let (mut frames, mut chunks) = (Vec::new(), Vec::new());
    tsdb_chunk::encode(samples, |chunk| {
        chunks.extend(remote_read::chunk(&chunk));
        if chunks.len() >= room {
            frames.push(remote_read::frame(labels, &chunks, query).into());
            chunks.clear();
        }
    });
    if !chunks.is_empty() {
        frames.push(remote_read::frame(labels, &chunks, query).into());
    }
    frames
}

#[cfg(test)]
mod tests {
    use storage::model::NO_START_MS;
    use storage::read::Series;

    use super::*;

    struct Fixed(Labels, usize);

    impl Series for Fixed {
        fn labels(&self) -> &Labels {
            &self.0
        }

        fn samples(&self, out: &mut SampleBuf) -> Result<(), storage::read::ReadError> {
            out.clear();
            (0..self.1).for_each(|i| out.push_float(i as i64, i as f64 * 0.1, NO_START_MS));
            Ok(())
        }
    }

    fn labels(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)])
    }

    /// The names that each pass sends.
    fn passes(sizes: &[(&str, usize)], limit: usize) -> Vec<Vec<String>> {
        let mut out = Vec::new();
        let mut from = None;
        loop {
            let mut kept = Kept {
                from,
                limit,
                ..Kept::default()
            };
            let batch = sizes.iter().map(|(name, n)| {
                let series: Box<dyn Series> = Box::new(Fixed(labels(name), *n));
                series
            });
            kept.add(batch.collect(), 0, &Labels::empty()).unwrap();
            let names = kept.series.keys().filter_map(Labels::metric_name);
            out.push(names.map(str::to_owned).collect());
            from = kept.end;
            if from.is_none() {
                return out;
            }
        }
    }

    #[test]
    fn series_come_sorted_in_as_many_passes_as_the_memory_asks_for() {
        let sizes = [("d", 100), ("b", 100), ("e", 0), ("a", 100), ("c", 100)];
        assert_eq!(passes(&sizes, 1 << 20), [["a", "b", "c", "d"]]);
        let one = encode(
            &remote_read::labels(labels("a").iter()),
            &{
                let mut samples = SampleBuf::default();
                Fixed(labels("a"), 100).samples(&mut samples).unwrap();
                samples
            },
            0,
        );
        let bytes: usize = one.iter().map(Bytes::len).sum();
        assert_eq!(passes(&sizes, bytes * 2), [["a", "b"], ["c", "d"]]);
        assert_eq!(passes(&sizes, 1).len(), 4);
    }

    #[test]
    fn a_long_series_is_spread_over_frames() {
        let mut samples = SampleBuf::default();
        for i in 0..400_000_u64 {
            let noise = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            samples.push_float(i as i64, f64::from_bits(noise), NO_START_MS);
        }
        let frames = encode(&[], &samples, 0);
        assert!(frames.len() > 2);
        assert!(frames.iter().all(|f| f.len() < MAX_FRAME_BYTES + (8 << 10)));
    }
}
