//! Series in memory: what unit tests of rules are evaluated over. Takes and refuses samples as a default Prometheus does.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use promql::vector::Sample;
use promql::{EvalOptions, Expr, FloatHistogram, ParseOptions, Source, Value, VectorSample};
use storage::model::{
    Histogram, Labels, METRIC_NAME, MatchOp, Matcher, MsRange, NO_START_MS, ResetHint, SampleBuf,
    is_stale,
};
use storage::read::{ReadError, Series, SeriesBatch, SeriesSelect};

use super::store::{Appended, Newest, Store};

/// Series in memory.
#[derive(Debug)]
pub struct Memory {
    /// By name of the metric, then by labels.
    series: RwLock<BTreeMap<String, BTreeMap<Labels, Stored>>>,
    language: Language,
}

/// How expressions are read and evaluated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Language {
    /// Parts of PromQL that are switched on.
    pub promql: ParseOptions,
    /// Step of a subquery that names none.
    pub subquery_step_ms: i64,
    /// Names of metrics are dropped at the end rather than by each operator.
    pub delayed_name_removal: bool,
}

/// The samples of a series, ascending in time. Copied on write, so that a query keeps what it has seen.
#[derive(Clone, Debug, Default)]
struct Stored {
    samples: Arc<Vec<(i64, Kept)>>,
}

#[derive(Clone, Debug)]
enum Kept {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Memory {
    /// No series yet.
    #[must_use]
    pub fn new(language: Language) -> Self {
        Self {
            series: RwLock::default(),
            language,
        }
    }

    /// Adds a sample.
    ///
    /// # Errors
    /// One that is older than the series' newest, or differs from what is there at its time, in upstream's words.
    pub fn put(&self, labels: &Labels, t_ms: i64, sample: &Sample) -> Result<(), &'static str> {
        let name = labels.metric_name().unwrap_or_default().to_owned();
        let mut all = self.series.write();
        let series = all
            .entry(name)
            .or_default()
            .entry(labels.clone())
            .or_default();
        if let Some((newest_ms, newest)) = series.samples.last() {
            if *newest_ms > t_ms {
                return Err("out of order sample");
            }
            if *newest_ms == t_ms {
                return if is_same(newest, sample) {
                    Ok(())
                } else {
                    Err("duplicate sample for timestamp")
                };
            }
        }
        let kept = match sample {
            Sample::Float(value) => Kept::Float(*value),
            Sample::Histogram(h) => Kept::Histogram(Arc::new(with_hint(h, series).to_stored())),
        };
        Arc::make_mut(&mut series.samples).push((t_ms, kept));
        Ok(())
    }
}

fn is_same(kept: &Kept, sample: &Sample) -> bool {
    match (kept, sample) {
        (Kept::Float(a), Sample::Float(b)) => a.to_bits() == b.to_bits(),
        (Kept::Histogram(a), Sample::Histogram(b)) => FloatHistogram::from_stored(a).same_as(b),
        _ => false,
    }
}

/// A histogram of a counter with what Prometheus, reading it back, tells of a reset before it: none where it continues the one
/// before, else nothing.
fn with_hint(histogram: &FloatHistogram, series: &Stored) -> FloatHistogram {
    let mut histogram = histogram.clone();
    if histogram.reset_hint == ResetHint::Gauge {
        return histogram;
    }
    let before = match series.samples.last() {
        Some((_, Kept::Histogram(before))) if !is_stale(before.sum) => {
            Some(FloatHistogram::from_stored(before))
        }
        _ => None,
    };
    let continues = histogram.reset_hint != ResetHint::Yes
        && before.is_some_and(|before| {
            before.reset_hint != ResetHint::Gauge
                && before.schema == histogram.schema
                && before.zero_threshold == histogram.zero_threshold
                && before.custom_values == histogram.custom_values
                && !histogram.is_reset_after(&before)
        });
    histogram.reset_hint = if continues {
        ResetHint::No
    } else {
        ResetHint::Unknown
    };
    histogram
}

impl Source for Memory {
    fn select(&self, select: &SeriesSelect) -> SeriesBatch {
        let all = self.series.read();
        let name = select
            .matchers
            .iter()
            .find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
        let wanted = all
            .iter()
            .filter(|(metric, _)| name.is_none_or(|name| name.value() == metric.as_str()));
        let mut batch: SeriesBatch = Vec::new();
        for (labels, stored) in wanted.flat_map(|(_, series)| series) {
            if select.matchers.iter().all(|m| m.matches_labels(labels)) {
                batch.push(Box::new(Selected {
                    labels: labels.clone(),
                    samples: Arc::clone(&stored.samples),
                    range: select.range,
                }));
            }
        }
        batch
    }
}

/// A series of a selection.
struct Selected {
    labels: Labels,
    samples: Arc<Vec<(i64, Kept)>>,
    range: MsRange,
}

impl Series for Selected {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn samples(&self, out: &mut SampleBuf) -> Result<(), ReadError> {
        for (t_ms, kept) in self.samples.iter() {
            if !self.range.contains(*t_ms) {
                continue;
            }
            match kept {
                Kept::Float(value) => out.push_float(*t_ms, *value, NO_START_MS),
                Kept::Histogram(h) => out.push_histogram(*t_ms, Arc::clone(h), NO_START_MS),
            }
        }
        Ok(())
    }
}

impl Store for Memory {
    fn parse(&self, text: &str) -> Result<Expr, String> {
        promql::parse(text, &self.language.promql).map_err(|e| e.to_string())
    }

    fn query(&self, expr: &Expr, t_ms: i64) -> Result<Value, String> {
        let options = EvalOptions {
            subquery_step_ms: self.language.subquery_step_ms,
            delayed_name_removal: self.language.delayed_name_removal,
            ..EvalOptions::instant(t_ms)
        };
        let answer = promql::evaluate(expr.clone(), options, self);
        answer.map(|a| a.value).map_err(|e| e.to_string())
    }

    fn append(&self, samples: &[VectorSample]) -> Result<Appended, String> {
        let mut appended = Appended::default();
        for (at, sample) in samples.iter().enumerate() {
            if let Err(fault) = self.put(&sample.labels, sample.t_ms, &sample.sample) {
                appended.refused.push(at);
                appended.fault.get_or_insert_with(|| fault.to_owned());
            }
        }
        Ok(appended)
    }

    fn newest(&self, matchers: Vec<Matcher>, range: MsRange) -> Result<Vec<Newest>, String> {
        let mut newest = Vec::new();
        let mut buf = SampleBuf::default();
        for series in self.select(&SeriesSelect { matchers, range }) {
            buf.clear();
            series.samples(&mut buf).map_err(|e| e.to_string())?;
            if let (Some(&t_ms), Some(&value)) = (buf.t_ms.last(), buf.values.last()) {
                newest.push(Newest {
                    labels: series.labels().clone(),
                    t_ms,
                    value,
                });
            }
        }
        Ok(newest)
    }
}
