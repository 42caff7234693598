//! Series in memory, as a source for the evaluator; and where the shared recordings lie.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use promql::Source;
use storage::model::{Histogram, Labels, NO_START_MS, SampleBuf};
use storage::read::{ReadError, Series, SeriesBatch, SeriesSelect};

/// A sample as it is put in.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// All series, by their labels.
#[derive(Default)]
pub(crate) struct Memory {
    series: HashMap<Labels, Vec<(i64, Stored, i64)>>,
    order: Vec<Labels>,
}

impl Memory {
    pub(crate) fn put(&mut self, labels: &Labels, t_ms: i64, value: Stored, start_ms: Option<i64>) {
        if !self.series.contains_key(labels) {
            self.order.push(labels.clone());
        }
        let samples = self.series.entry(labels.clone()).or_default();
        let sample = (t_ms, value, start_ms.unwrap_or(NO_START_MS));
        let at = samples.partition_point(|(t, ..)| *t < t_ms);
        match samples.get_mut(at) {
            Some(old) if old.0 == t_ms => *old = sample,
            _ => samples.insert(at, sample),
        }
    }
}

struct InMemory {
    labels: Labels,
    samples: Vec<(i64, Stored, i64)>,
}

impl Series for InMemory {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn samples(&self, out: &mut SampleBuf) -> Result<(), ReadError> {
        for (t, value, start) in &self.samples {
            match value {
                Stored::Float(v) => out.push_float(*t, *v, *start),
                Stored::Histogram(h) => out.push_histogram(*t, Arc::clone(h), *start),
            }
        }
        Ok(())
    }
}

impl Source for Memory {
    fn select(&self, select: &SeriesSelect) -> SeriesBatch {
        let mut batch: SeriesBatch = Vec::new();
        for labels in &self.order {
            if !select.matchers.iter().all(|m| m.matches_labels(labels)) {
                continue;
            }
            let all = self.series[labels].iter();
            let samples = all.filter(|(t, ..)| select.range.contains(*t)).cloned();
            batch.push(Box::new(InMemory {
                labels: labels.clone(),
                samples: samples.collect(),
            }));
        }
        batch
    }
}

/// The folder of shared material, if it is there.
pub(crate) fn shared(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TRILOBITE_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let path = root.join("conformance").join(folder);
    path.is_dir().then_some(path)
}
