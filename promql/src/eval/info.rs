//! `info`: adds the labels of info metrics to the series that they are about.

use hashbrown::{HashMap, HashSet};
use indexmap::IndexMap;
use storage::model::{Labels, LabelsBuilder, METRIC_NAME, Matcher};

use super::Evaluator;
use crate::plan::EvalError;
use crate::plan::node::Node;
use crate::vector::output::Output;
use crate::vector::{Grid, StepSeries};

/// Labels that tell which series an info series is about.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

impl Evaluator<'_> {
    pub(super) fn info(
        &mut self,
        child: Node,
        info: usize,
        names: &[Matcher],
        data: &[Matcher],
        grid: Grid,
    ) -> Result<Vec<StepSeries>, EvalError> {
        let base = self.vector(child)?;
        let mut infos = self.series(info)?;
        // Info series are not enriched themselves.
        let is_info = |labels: &Labels| names.iter().all(|m| m.matches_labels(labels));
        let mut known: [HashSet<&str>; 2] = [HashSet::new(), HashSet::new()];
        for series in base.iter().filter(|s| !is_info(&s.labels)) {
            for (name, values) in IDENTIFYING.iter().zip(&mut known) {
                values.extend(series.labels.get(name));
            }
        }
        let nothing_known = known.iter().all(HashSet::is_empty);
        infos.retain(|s| {
            let wanted = |(name, values): (&&str, &HashSet<&str>)| {
                values.is_empty() || s.labels.get(name).is_some_and(|v| values.contains(v))
            };
            !nothing_known && IDENTIFYING.iter().zip(&known).all(wanted)
        });
        let by_target = targets(&infos);
        let optional = data.iter().all(Matcher::matches_empty);
        let mut out = Output::new(self.frame(&grid));
        for series in &base {
            if is_info(&series.labels) {
                out.put_all(series.clone())?;
                continue;
            }
            let key = series.labels.keep(&IDENTIFYING);
            let candidates = by_target.get(&key);
            for step in 0..grid.steps {
                let Some(sample) = series.get(step) else {
                    continue;
                };
                let mut added = LabelsBuilder::default();
                let mut matched = false;
                for group in candidates.iter().flat_map(|c| c.values()) {
                    if let Some(i) = newest(group, &infos, step)? {
                        matched = true;
                        add_labels(&mut added, &infos[i].labels, &series.labels, data)?;
                    }
                }
                if !matched && !optional {
                    continue;
                }
                let mut labels = series.labels.to_builder();
                for (name, value) in &added.finish() {
                    labels.set(name, value);
                }
                let slot = out.slot(labels.finish(), series.drop_name)?;
                out.put(slot, step, sample)?;
            }
        }
        Ok(out.finish())
    }
}

/// Positions of info series by the labels of what they are about, then by their name.
type Targets<'a> = HashMap<Labels, IndexMap<&'a str, Vec<usize>>>;

fn targets(infos: &[StepSeries]) -> Targets<'_> {
    let mut out: Targets<'_> = HashMap::new();
    for (i, series) in infos.iter().enumerate() {
        let name = series.labels.get(METRIC_NAME).unwrap_or("");
        let by_name = out.entry(series.labels.keep(&IDENTIFYING)).or_default();
        by_name.entry(name).or_default().push(i);
    }
    out
}

/// The info series whose sample is the newest at a step; the values are the times of the samples.
///
/// # Errors
/// Where two are equally new.
fn newest(group: &[usize], infos: &[StepSeries], step: usize) -> Result<Option<usize>, EvalError> {
    let mut best: Option<usize> = None;
    for &i in group.iter().filter(|i| infos[**i].has(step)) {
        let Some(b) = best else {
            best = Some(i);
            continue;
        };
        let (old, new) = (infos[b].values[step], infos[i].values[step]);
        if new > old {
            best = Some(i);
        } else if new == old {
            return Err(EvalError::Execution(format!(
                "found duplicate series for info metric: existing {} @ {old}, new {} @ {new}",
                infos[b].labels, infos[i].labels
            )));
        }
    }
    Ok(best)
}

fn add_labels(
    added: &mut LabelsBuilder,
    info: &Labels,
    base: &Labels,
    data: &[Matcher],
) -> Result<(), EvalError> {
    for (name, value) in info {
        let wanted = data.is_empty() || data.iter().any(|m| m.name() == name);
        if name == METRIC_NAME || !wanted {
            continue;
        }
        if added.get(name).is_some_and(|v| v != value) {
            return Err(EvalError::Execution(format!("conflicting label: {name}")));
        }
        if base.get(name).is_none() {
            added.set(name, value);
        }
    }
    Ok(())
}
