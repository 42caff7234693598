//! Evaluation of the series of a selection, each on its own: what can be done by several threads at once.

use std::sync::Arc;

use storage::model::SampleBuf;
use storage::read::Series;

use super::budget::Tally;
use super::pipeline::{Product, Scratch, Way};
use super::{EvalError, EvalOptions, Plan};
use crate::annotation::Annotations;

/// Takes series of one selection through all that can be computed from each of them alone. Knows nothing of other series, so that
/// several threads can use it on different ones.
#[derive(Clone)]
pub struct SeriesEvaluator {
    options: EvalOptions,
    /// Number of the pipeline, and the way through it.
    ways: Vec<(usize, Arc<Way>)>,
    /// Of the outermost grid.
    steps: usize,
}

/// What has become of some series, to be handed to their plan.
pub struct EvaluatedSeries {
    /// Number of the pipeline, samples held for a moment up to here, and what came out.
    products: Vec<(usize, usize, Product)>,
    annotations: Annotations,
    tally: Tally,
}

impl SeriesEvaluator {
    /// Values that a series comes to at most, over all uses of the selection.
    #[must_use]
    pub fn width(&self) -> usize {
        self.ways.iter().map(|(_, way)| way.grid.steps).sum()
    }

    /// Evaluates some series.
    ///
    /// # Errors
    /// Any; the evaluation of the whole plan is over then.
    pub fn evaluate(&self, batch: &[Box<dyn Series>]) -> Result<EvaluatedSeries, EvalError> {
        let mut out = EvaluatedSeries {
            products: Vec::with_capacity(batch.len() * self.ways.len()),
            annotations: Annotations::default(),
            tally: Tally::new(self.steps),
        };
        let (mut buf, mut scratch) = (SampleBuf::default(), Scratch::default());
        for series in batch {
            self.options.interrupt.check()?;
            buf.clear();
            series.samples(&mut buf)?;
            if buf.is_empty() {
                continue;
            }
            scratch.load(&mut buf);
            for (id, way) in &self.ways {
                if way.without_buckets {
                    scratch.strip_buckets(&way.sought(&scratch.t_ms, &self.options));
                }
                let (annotations, tally) = (&mut out.annotations, &mut out.tally);
                let labels = series.labels();
                let product = way.walk(labels, &scratch, &self.options, annotations, tally);
                let product = match product {
                    Err(EvalError::Execution(message)) => Some(Product::Fault(message)),
                    product => product?,
                };
                if let Some(product) = product {
                    let momentary = out.tally.take_momentary();
                    out.products.push((*id, momentary, product));
                }
            }
        }
        Ok(out)
    }
}

impl Plan {
    /// The evaluator for the series of a selection.
    #[must_use]
    pub fn series_evaluator(&self, select: usize) -> SeriesEvaluator {
        let users = self.pipelines.iter().enumerate();
        let users = users.filter(|(_, p)| p.select == select);
        let mut ways: Vec<_> = users.map(|(i, p)| (i, Arc::clone(&p.way))).collect();
        // Those that need less come last: the rest is then taken away.
        ways.sort_by_key(|(_, way)| way.without_buckets);
        SeriesEvaluator {
            options: self.options.clone(),
            ways,
            steps: self.grid.steps,
        }
    }

    /// Takes what has become of some series of a selection. The order in which series are taken is the order in which they are added up.
    ///
    /// # Errors
    /// [`EvalError::TooManySamples`]; the evaluation is over then.
    pub fn take(&mut self, evaluated: EvaluatedSeries) -> Result<(), EvalError> {
        for (id, momentary, product) in evaluated.products {
            self.budget.note(momentary)?;
            self.pipelines[id].take(product, &mut self.budget)?;
        }
        self.annotations.merge(evaluated.annotations);
        self.budget.add(evaluated.tally)
    }
}
