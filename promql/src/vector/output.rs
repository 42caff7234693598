//! Where results of several series come together: one series a label set, one sample a step.

use hashbrown::HashMap;
use storage::model::Labels;

use super::{Sample, StepSeries};

/// What all results of an evaluation have in common.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Number of steps of every series.
    pub steps: usize,
    /// Names of metrics go at the end of the evaluation rather than at each operator.
    pub delayed_names: bool,
    /// Values that a result may have room for, present or not.
    pub max_cells: usize,
}

/// Why two vectors cannot be combined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatchError {
    /// Series meet that must not; in the upstream's words.
    Refused(String),
    /// The result is larger than [`Frame::max_cells`].
    TooLarge,
}

impl From<&str> for MatchError {
    fn from(text: &str) -> Self {
        Self::Refused(text.to_owned())
    }
}

pub(crate) const SAME_LABELS: &str = "vector cannot contain metrics with the same labelset";

/// Result series, found by their labels.
pub(crate) struct Output {
    steps: usize,
    /// Series that there is room for.
    room: usize,
    index: HashMap<Labels, usize>,
    series: Vec<StepSeries>,
    allow_same_labels: bool,
}

impl Output {
    /// No series yet; no label set may have two samples at a step.
    pub(crate) fn new(frame: Frame) -> Self {
        Self {
            steps: frame.steps,
            room: frame.max_cells / frame.steps.max(1),
            index: HashMap::new(),
            series: Vec::new(),
            allow_same_labels: false,
        }
    }

    /// No series yet. Where names are dropped at the end, and there is a single step, two samples of one label set are judged
    /// then only.
    pub(crate) fn judged_later(frame: Frame) -> Self {
        Self {
            allow_same_labels: frame.delayed_names && frame.steps == 1,
            ..Self::new(frame)
        }
    }

    /// Position of the series with these labels.
    ///
    /// # Errors
    /// [`MatchError::TooLarge`].
    pub(crate) fn slot(&mut self, labels: Labels, drop_name: bool) -> Result<usize, MatchError> {
        if let Some(slot) = self.index.get(&labels) {
            return Ok(*slot);
        }
        let mut new = StepSeries::absent(labels.clone(), self.take_room()?);
        new.drop_name = drop_name;
        self.index.insert(labels, self.series.len());
        self.series.push(new);
        Ok(self.series.len() - 1)
    }

    /// Number of steps, where there is room for a series of so many.
    fn take_room(&mut self) -> Result<usize, MatchError> {
        self.room = self.room.checked_sub(1).ok_or(MatchError::TooLarge)?;
        Ok(self.steps)
    }

    /// Puts a sample into a series.
    ///
    /// # Errors
    /// Where that step has one.
    pub(crate) fn put(
        &mut self,
        slot: usize,
        step: usize,
        sample: Sample,
    ) -> Result<(), MatchError> {
        if !self.series[slot].has(step) {
            self.series[slot].set(step, sample);
            return Ok(());
        }
        if !self.allow_same_labels {
            return Err(SAME_LABELS.into());
        }
        let steps = self.take_room()?;
        let mut twin = StepSeries::absent(self.series[slot].labels.clone(), steps);
        twin.drop_name = self.series[slot].drop_name;
        twin.set(step, sample);
        self.series.push(twin);
        Ok(())
    }

    /// Puts every sample of a series in.
    pub(crate) fn put_all(&mut self, series: StepSeries) -> Result<(), MatchError> {
        if !self.index.contains_key(&series.labels) {
            self.index.insert(series.labels.clone(), self.series.len());
            self.series.push(series);
            return Ok(());
        }
        let slot = self.slot(series.labels.clone(), series.drop_name)?;
        for step in 0..self.steps {
            if let Some(sample) = series.get(step) {
                self.put(slot, step, sample)?;
            }
        }
        Ok(())
    }

    /// The series that have a sample.
    pub(crate) fn finish(mut self) -> Vec<StepSeries> {
        self.series.retain(|s| !s.is_empty());
        self.series
    }
}
