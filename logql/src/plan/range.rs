//! A range function: samples of lines, then a value for each step from the window `(t - range, t]`.
//!
//! Counts of lines and bytes are sums of whole numbers. Once a series has more samples than steps they are
//! kept as differences between steps, one addition and one subtraction a line, and exact; other
//! functions keep their samples, and two ends slide over them.

use indexmap::IndexMap;
use storage::model::{EntryBuf, MatchOp, Matcher};
use storage::read::LogPage;

use super::Params;
use super::streams::{Options, Streams};
use crate::answer::Stats;
use crate::ast::{Grouping, RangeExpr, RangeOp};
use crate::error::Error;
use crate::eval::{Series, Steps};
use crate::labels::{LabelBuilder, LabelSet};
use crate::pipeline::Pipeline;
use crate::stages::{self, Hints, Value};
use crate::vector::over_time;

enum Samples {
    List(Vec<(i64, f64)>),
    /// For each step how many lines, and how much, come into the window and leave it.
    Differences(Vec<(i64, f64)>),
}

pub(super) struct RangeQuery {
    expr: RangeExpr,
    /// The function's own grouping, or that of a sum around it.
    grouping: Option<Grouping>,
    pipeline: Result<Pipeline, Error>,
    value: Option<Value>,
    steps: Steps,
    options: Options,
    streams: Streams,
    series: IndexMap<LabelSet, Samples>,
    buf: EntryBuf,
}

impl RangeQuery {
    pub(super) fn new(
        expr: &RangeExpr,
        injected: Option<&Grouping>,
        variant: bool,
        steps: &Steps,
        params: &Params,
    ) -> Self {
        let grouping = expr.grouping.as_ref().or(injected).cloned();
        let hints = hints(expr, grouping.as_ref(), params.now_ns);
        let pipeline = Pipeline::with_hints(&expr.range.log.stages, &hints);
        let value = expr.range.unwrap.as_ref().map(|unwrap| {
            Value::new(unwrap).map_err(|message| Error::Stage {
                stage: unwrap.to_string(),
                message,
            })
        });
        let (pipeline, value) = match value {
            Some(Err(error)) => (Err(error), None),
            Some(Ok(value)) => (pipeline, Some(value)),
            None => (pipeline, None),
        };
        Self {
            expr: expr.clone(),
            grouping,
            pipeline,
            value,
            steps: *steps,
            options: Options {
                hide_level: params.compat2,
                twice: variant,
            },
            streams: Streams::default(),
            series: IndexMap::new(),
            buf: EntryBuf::default(),
        }
    }

    pub(super) fn matchers(&self) -> &[Matcher] {
        &self.expr.range.log.matchers
    }

    pub(super) fn needles(&self) -> Vec<String> {
        stages::needles(&self.expr.range.log.stages)
    }

    /// Start (in) and end (out) of what has to be read.
    pub(super) fn bounds(&self, steps: &Steps) -> (i64, i64) {
        let range = &self.expr.range;
        let first = steps
            .start_ns
            .saturating_sub(range.offset_ns)
            .saturating_sub(range.range_ns);
        let last = steps.at(steps.count - 1).saturating_sub(range.offset_ns);
        (first.saturating_add(1), last.saturating_add(1))
    }

    pub(super) fn push(&mut self, page: &dyn LogPage, stats: &mut Stats) -> Result<(), Error> {
        let pipeline = match &self.pipeline {
            Ok(pipeline) => pipeline,
            Err(error) => return Err(error.clone()),
        };
        let op = self.expr.op;
        self.buf.clear();
        page.entries(&mut self.buf)?;
        let state = self.streams.get(&page.stream().labels);
        for entry in self.buf.iter() {
            let (t_ns, line) = (entry.t_ns(), entry.line());
            stats.lines += 1;
            stats.bytes += line.len() as u64;
            if !pipeline.admits(line) {
                continue;
            }
            state.start(&entry, self.options);
            let Some(line) = pipeline.run(t_ns, line, &mut state.labels) else {
                continue;
            };
            let value = match &self.value {
                Some(unwrap) => match unwrap.extract(&mut state.labels) {
                    Some(value) => value,
                    None => continue,
                },
                None if matches!(op, RangeOp::Bytes | RangeOp::BytesRate) => line.len() as f64,
                None => 1.0,
            };
            if state.labels.error().is_some() || state.labels.get("__error__").is_some() {
                return Err(Error::Pipeline {
                    kind: state.labels.error().unwrap_or_default().to_owned(),
                    series: state.labels.labels().to_string(),
                });
            }
            let (series, grouping) = (&mut self.series, self.grouping.as_ref());
            let number = state.number(|labels| {
                let key = if op == RangeOp::Absent {
                    LabelSet::empty()
                } else {
                    key(labels, grouping)
                };
                let entry = series.entry(key);
                let number = entry.index();
                entry.or_insert_with(|| Samples::List(Vec::new()));
                number
            });
            if let Some((_, samples)) = self.series.get_index_mut(number) {
                match samples {
                    Samples::List(list) => list.push((t_ns, value)),
                    Samples::Differences(differences) => {
                        let range = &self.expr.range;
                        let window = self.steps.reached_by(t_ns, range.range_ns, range.offset_ns);
                        count(differences, window, value);
                    }
                }
                if let Samples::List(list) = samples
                    && counts(op, self.value.is_some())
                    && list.len() > self.steps.count + 64
                {
                    *samples = differences(
                        list,
                        &self.steps,
                        self.expr.range.range_ns,
                        self.expr.range.offset_ns,
                    );
                }
            }
        }
        Ok(())
    }

    /// Bytes held, roughly.
    pub(super) fn held_bytes(&self) -> usize {
        let samples: usize = self
            .series
            .values()
            .map(|s| match s {
                Samples::List(list) => list.capacity(),
                Samples::Differences(differences) => differences.capacity(),
            })
            .sum();
        samples * 16 + self.series.len() * 512
    }

    /// The series with a value for each step.
    pub(super) fn finish(self) -> Vec<Series> {
        let Self {
            expr,
            steps,
            series,
            ..
        } = self;
        if expr.op == RangeOp::Absent {
            return absent(&expr, &steps, series.into_values().next());
        }
        series
            .into_iter()
            .map(|(labels, samples)| Series {
                labels,
                values: match samples {
                    Samples::Differences(differences) => summed(&expr, &differences),
                    Samples::List(list) => slide(&expr, &steps, list),
                },
            })
            .collect()
    }
}

/// Whether the function adds up whole numbers.
const fn counts(op: RangeOp, unwraps: bool) -> bool {
    !unwraps
        && matches!(
            op,
            RangeOp::Count | RangeOp::Rate | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Absent
        )
}

fn key(labels: &LabelBuilder, grouping: Option<&Grouping>) -> LabelSet {
    match grouping {
        Some(grouping) => labels
            .iter()
            .filter(|(name, value)| {
                !value.is_empty() && grouping.labels.iter().any(|l| l == name) != grouping.without
            })
            .collect(),
        None => labels
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .collect(),
    }
}

fn count(differences: &mut [(i64, f64)], (first, past): (usize, usize), value: f64) {
    if first >= past {
        return;
    }
    if let Some(d) = differences.get_mut(first) {
        *d = (d.0 + 1, d.1 + value);
    }
    if let Some(d) = differences.get_mut(past) {
        *d = (d.0 - 1, d.1 - value);
    }
}

fn differences(list: &[(i64, f64)], steps: &Steps, range_ns: i64, offset_ns: i64) -> Samples {
    let mut differences = vec![(0, 0.0); steps.count];
    for (t_ns, value) in list {
        count(
            &mut differences,
            steps.reached_by(*t_ns, range_ns, offset_ns),
            *value,
        );
    }
    Samples::Differences(differences)
}

fn summed(expr: &RangeExpr, differences: &[(i64, f64)]) -> Vec<Option<f64>> {
    let seconds = expr.range.range_ns as f64 / 1e9;
    let (mut lines, mut sum) = (0, 0.0);
    differences
        .iter()
        .map(|(l, s)| {
            lines += l;
            sum += s;
            (lines > 0).then_some(match expr.op {
                RangeOp::Rate | RangeOp::BytesRate => sum / seconds,
                _ => sum,
            })
        })
        .collect()
}

fn slide(expr: &RangeExpr, steps: &Steps, mut list: Vec<(i64, f64)>) -> Vec<Option<f64>> {
    // Pages overlap, and so do streams whose labels have become equal.
    list.sort_by_key(|(t_ns, _)| *t_ns);
    let (mut from, mut to) = (0, 0);
    (0..steps.count)
        .map(|i| {
            let end = steps.at(i).saturating_sub(expr.range.offset_ns);
            let start = end.saturating_sub(expr.range.range_ns);
            while list.get(to).is_some_and(|(t, _)| *t <= end) {
                to += 1;
            }
            while from < to && list[from].0 <= start {
                from += 1;
            }
            (from < to).then(|| over_time(expr, &list[from..to]))
        })
        .collect()
}

/// 1 wherever there is no line at all, with the labels that the selector fixes.
fn absent(expr: &RangeExpr, steps: &Steps, samples: Option<Samples>) -> Vec<Series> {
    let present = match samples {
        None => vec![None; steps.count],
        Some(Samples::Differences(d)) => summed(expr, &d),
        Some(Samples::List(list)) => slide(expr, steps, list),
    };
    let matchers = &expr.range.log.matchers;
    let labels = matchers
        .iter()
        .filter(|m| {
            m.op() == MatchOp::Equal
                && !m.value().is_empty()
                && matchers
                    .iter()
                    .filter(|other| other.name() == m.name())
                    .count()
                    == 1
        })
        .map(|m| (m.name(), m.value()))
        .collect();
    let values = present.iter().map(|p| p.is_none().then_some(1.0)).collect();
    vec![Series { labels, values }]
}

/// What parsers may leave out because nothing looks at it.
fn hints(expr: &RangeExpr, grouping: Option<&Grouping>, now_ns: i64) -> Hints {
    let everything = Hints {
        now_ns,
        ..Hints::default()
    };
    let Some(grouping) = grouping.filter(|g| !g.without) else {
        return everything;
    };
    let mut required = grouping.labels.clone();
    for stage in &expr.range.log.stages {
        if stages::looks_at(stage, &mut required).is_none() {
            return everything;
        }
    }
    if let Some(unwrap) = &expr.range.unwrap {
        required.push(unwrap.label.clone());
        unwrap
            .filters
            .iter()
            .for_each(|f| stages::filter_names(f, &mut required));
    }
    required.sort_unstable();
    required.dedup();
    if required.is_empty() {
        return Hints {
            no_labels: true,
            ..everything
        };
    }
    Hints {
        required: Some(required),
        ..everything
    }
}
