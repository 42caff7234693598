//! What a query holds and looks at, against its limits.

use super::{EvalError, EvalOptions, Stats};
use crate::vector::Grid;

/// What the evaluation of series one by one adds to the figures of a query. Each thread counts on its own.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    samples_read: u64,
    /// Samples looked at, per step of the outermost grid.
    per_step: Vec<u64>,
    /// Most samples held for a moment since this was last taken.
    momentary: usize,
}

impl Tally {
    /// Nothing yet, for a query of so many steps.
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            per_step: vec![0; steps],
            ..Self::default()
        }
    }

    /// Counts samples that a step of a grid looked at. What is evaluated once for all steps counts for each of them; within a
    /// subquery it is the function around it that looks.
    pub(crate) fn looked_at(&mut self, step: usize, grid: &Grid, samples: usize, inner: bool) {
        if inner {
            return;
        }
        let samples = samples as u64;
        if grid.steps == self.per_step.len() {
            self.per_step[step] += samples;
        } else {
            self.per_step.iter_mut().for_each(|n| *n += samples);
        }
    }

    /// Counts samples that were taken out of storage.
    pub(crate) fn read(&mut self, samples: usize) {
        self.samples_read += samples as u64;
    }

    /// Counts samples that are held for a moment.
    pub(crate) fn note(&mut self, samples: usize) {
        self.momentary = self.momentary.max(samples);
    }

    /// The most samples held for a moment since the last call.
    pub(crate) fn take_momentary(&mut self) -> usize {
        std::mem::take(&mut self.momentary)
    }

    fn add(&mut self, other: &Self) {
        self.samples_read += other.samples_read;
        for (own, others) in self.per_step.iter_mut().zip(&other.per_step) {
            *own += others;
        }
    }
}

/// Samples held and looked at.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    held: usize,
    peak: usize,
    max_cells: usize,
    cells: usize,
    pub(crate) tally: Tally,
}

impl Budget {
    /// The limits of a query of so many steps.
    pub(crate) fn new(options: &EvalOptions, steps: usize) -> Self {
        Self {
            max: options.max_samples,
            held: 0,
            peak: 0,
            max_cells: options.max_cells(),
            cells: 0,
            tally: Tally::new(steps),
        }
    }

    /// Samples held.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Takes room for samples.
    pub(crate) fn hold(&mut self, samples: usize) -> Result<(), EvalError> {
        self.held += samples;
        self.note(0)
    }

    /// Takes memory for values, present or not.
    pub(crate) fn widen(&mut self, cells: usize) -> Result<(), EvalError> {
        self.cells = self.cells.saturating_add(cells);
        if self.cells > self.max_cells {
            return Err(EvalError::TooManySamples);
        }
        Ok(())
    }

    /// Gives room back.
    pub(crate) fn release(&mut self, samples: usize) {
        self.held = self.held.saturating_sub(samples);
    }

    /// Checks that there is room for samples that are held for a moment.
    pub(crate) fn note(&mut self, samples: usize) -> Result<(), EvalError> {
        let peak = self.held + samples;
        self.peak = self.peak.max(peak);
        if peak > self.max {
            return Err(EvalError::TooManySamples);
        }
        Ok(())
    }

    /// Checks what the own tally holds for a moment.
    pub(crate) fn note_tally(&mut self) -> Result<(), EvalError> {
        let samples = self.tally.take_momentary();
        self.note(samples)
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn add(&mut self, mut tally: Tally) -> Result<(), EvalError> {
        self.tally.add(&tally);
        self.note(tally.take_momentary())
    }

    /// The figures, with the times of the steps.
    pub(crate) fn finish(self, grid: &Grid) -> Stats {
        let per_step = &self.tally.per_step;
        let steps = per_step.iter().enumerate();
        Stats {
            total_samples: per_step.iter().sum(),
            samples_read: self.tally.samples_read,
            samples_per_step: steps.map(|(i, n)| (grid.at(i), *n)).collect(),
            peak_samples: self.peak,
        }
    }
}
