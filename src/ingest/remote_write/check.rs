//! What the door refuses before storage sees a batch: samples from the future, histograms that contradict themselves, exemplars with
//! too many labels. What is left is written anew, so that the log holds no more than what was let in.

use storage::model::{Histogram, MetricBatch, NO_START_MS};

use super::super::native_histogram::{HistogramFault, is_too_fine, reduce, validate};
use crate::wire::remote_write::Writer;

/// Samples further ahead of the clock are refused, as Prometheus does.
pub(super) const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

/// Characters that names and values of an exemplar's labels may have together.
/// Source: OpenMetrics 1.0, "Exemplars".
const MAX_EXEMPLAR_CHARS: usize = 128;

/// A refused item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ItemFault {
    /// Index in [`MetricBatch::series`].
    pub(crate) series: usize,
    /// Why, in Prometheus's words.
    pub(crate) text: String,
    /// Whether the sample comes at the wrong time (late, early, twice); else it is malformed.
    pub(crate) is_untimely: bool,
}

/// What [`inspect`] found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Refused samples and histograms, series by series.
    pub(super) faults: Vec<ItemFault>,
    /// Whether the batch has to be written anew: something is refused, or a histogram too fine.
    pub(super) rewrite: bool,
}

/// Looks at everything; allocates only for what is refused.
pub(super) fn inspect(batch: &MetricBatch<'_>, latest_ms: i64) -> Findings {
    let mut found = Findings::default();
    for (i, series) in batch.series.iter().enumerate() {
        for t_ms in &batch.t_ms[series.floats.clone()] {
            if let Err(refusal) = check_time(*t_ms, latest_ms) {
                found.faults.push(refusal.of_series(i));
            }
        }
        for (t_ms, _, histogram) in &batch.histograms[series.histograms.clone()] {
            match check_histogram(*t_ms, histogram, latest_ms) {
                Ok(None) => {}
                Ok(Some(_)) => found.rewrite = true,
                Err(refusal) => found.faults.push(refusal.of_series(i)),
            }
        }
    }
    // Refused exemplars are nobody's fault: Prometheus drops them without a word.
    found.rewrite |= !found.faults.is_empty()
        || batch
            .exemplars
            .iter()
            .any(|e| !is_fit(&e.labels, e.t_ms, latest_ms));
    found
}

/// The batch without what [`inspect`] refuses, too fine histograms merged down, in the form that has start timestamps.
/// Series keep their places.
pub(super) fn rewrite(batch: &MetricBatch<'_>, latest_ms: i64) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut pairs = Vec::new();
    for metadata in &batch.metadata {
        writer.metadata(metadata);
    }
    for series in &batch.series {
        // A series with bad labels stays in its place, empty.
        if (batch.decode_labels)(series.key, &mut pairs).is_err() {
            writer.series([]);
            continue;
        }
        writer.series(pairs.iter().copied());
        for i in series.floats.clone() {
            if check_time(batch.t_ms[i], latest_ms).is_ok() {
                let start_ms = batch.start_ms.get(i).copied().unwrap_or(NO_START_MS);
                writer.float(batch.t_ms[i], batch.values[i], start_ms);
            }
        }
        for (t_ms, start_ms, histogram) in &batch.histograms[series.histograms.clone()] {
            match check_histogram(*t_ms, histogram, latest_ms) {
                Ok(None) => writer.histogram(*t_ms, histogram, *start_ms),
                Ok(Some(reduced)) => writer.histogram(*t_ms, &reduced, *start_ms),
                Err(_) => {}
            }
        }
        for e in &batch.exemplars[series.exemplars.clone()] {
            if is_fit(&e.labels, e.t_ms, latest_ms) {
                writer.exemplar(e.labels.iter(), e.value, e.t_ms);
            }
        }
    }
    writer.finish()
}

enum Refusal {
    FromTheFuture,
    BadHistogram(HistogramFault),
}

impl Refusal {
    fn of_series(self, series: usize) -> ItemFault {
        let (text, is_untimely) = match self {
            Self::FromTheFuture => {
                let text = "out of bounds: timestamp is too far in the future";
                (text.to_owned(), true)
            }
            Self::BadHistogram(fault) => (fault.to_string(), false),
        };
        ItemFault {
            series,
            text,
            is_untimely,
        }
    }
}

const fn check_time(t_ms: i64, latest_ms: i64) -> Result<(), Refusal> {
    if t_ms > latest_ms {
        return Err(Refusal::FromTheFuture);
    }
    Ok(())
}

/// The histogram merged down where that is needed.
fn check_histogram(
    t_ms: i64,
    histogram: &Histogram,
    latest_ms: i64,
) -> Result<Option<Histogram>, Refusal> {
    check_time(t_ms, latest_ms)?;
    if !is_too_fine(histogram) {
        return validate(histogram)
            .map(|()| None)
            .map_err(Refusal::BadHistogram);
    }
    let mut reduced = histogram.clone();
    reduce(&mut reduced)
        .and_then(|()| validate(&reduced))
        .map_err(Refusal::BadHistogram)?;
    Ok(Some(reduced))
}

fn is_fit(labels: &storage::model::Labels, t_ms: i64, latest_ms: i64) -> bool {
    let chars = |text: &str| text.chars().count();
    t_ms <= latest_ms
        && labels
            .iter()
            .map(|(n, v)| chars(n) + chars(v))
            .sum::<usize>()
            <= MAX_EXEMPLAR_CHARS
}

#[cfg(test)]
mod tests {
    use storage::model::{BucketSpan, Counts};

    use super::*;
    use crate::wire::remote_write::{Form, decode};

    const FORM: Form = Form { with_start: true };

    fn histogram(schema: i32, count: u64) -> Histogram {
        Histogram {
            schema,
            positive_spans: vec![BucketSpan {
                offset: 0,
                length: 1,
            }],
            counts: Counts::Integer {
                count,
                zero_count: 0,
                positive: vec![1],
                negative: Vec::new(),
            },
            ..Histogram::default()
        }
    }

    #[test]
    fn what_is_refused_is_left_out_and_the_rest_stays_in_its_place() {
        let mut writer = Writer::default();
        writer.series([("no", "name")]);
        writer.float(1, 0.5, NO_START_MS);
        writer.series([("__name__", "x")]);
        writer.float(1, 1.0, 0);
        writer.float(1_000_000, 2.0, NO_START_MS);
        writer.exemplar([("trace_id", "a")], 1.0, 1);
        writer.exemplar([("trace_id", "b")], 1.0, 1_000_000);
        writer.exemplar([("trace_id", "ü".repeat(121).as_str())], 1.0, 2);
        writer.series([("__name__", "h")]);
        writer.histogram(1, &histogram(0, 1), 5);
        writer.histogram(2, &histogram(0, 2), NO_START_MS);
        writer.histogram(3, &histogram(20, 1), NO_START_MS);
        writer.histogram(4, &histogram(60, 1), NO_START_MS);
        let body = writer.finish();
        let batch = decode(&body, FORM).unwrap();
        let found = inspect(&batch, 1000);
        assert!(found.rewrite);
        let faults: Vec<(usize, &str)> = found
            .faults
            .iter()
            .map(|f| (f.series, f.text.as_str()))
            .collect();
        assert_eq!(
            faults[0],
            (1, "out of bounds: timestamp is too far in the future")
        );
        assert!(faults[1].0 == 2 && faults[1].1.starts_with("1 observations found in buckets"));
        assert!(faults[2].1.ends_with("got schema 60"));
        assert_eq!(faults.len(), 3);
        let body = rewrite(&batch, 1000);
        let batch = decode(&body, FORM).unwrap();
        assert_eq!(batch.series.len(), 3);
        assert_eq!((&batch.t_ms[..], &batch.start_ms[..]), (&[1][..], &[0][..]));
        assert_eq!(batch.exemplars.len(), 1);
        let kept: Vec<(i64, i64, i32)> = batch
            .histograms
            .iter()
            .map(|(t, start, h)| (*t, *start, h.schema))
            .collect();
        assert_eq!(kept, [(1, 5, 0), (3, NO_START_MS, 8)]);
        assert_eq!(inspect(&batch, 1000), Findings::default());
    }
}
