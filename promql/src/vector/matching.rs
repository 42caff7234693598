//! Operators between two vectors: which series of one side meets which of the other.
//!
//! Series are grouped by their match labels once; within a group, steps are gone through, because
//! a series may stand in for another at other steps.

use hashbrown::{HashMap, HashSet};
use storage::model::{Labels, METRIC_NAME};

use super::binary::{Operator, Outcome, apply};
use super::output::{Frame, MatchError, Output};
use super::{ABSENT, Sample, StepSeries, is_present, without_metric};
use crate::annotation::Note;
use crate::lexer::quote;

/// How many series of one side may meet one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// One each.
    OneToOne,
    /// Many on the left: `group_left`.
    ManyToOne,
    /// Many on the right: `group_right`.
    OneToMany,
}

/// How series of two vectors pair up.
#[derive(Clone, Debug)]
pub struct Matching {
    /// How many may meet how many; set operators do not look at it.
    pub cardinality: Cardinality,
    /// `on` rather than `ignoring`.
    pub on: bool,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Labels taken over from the "one" side.
    pub include: Vec<String>,
    /// Value in place of a missing left sample.
    pub fill_left: Option<f64>,
    /// Value in place of a missing right sample.
    pub fill_right: Option<f64>,
}

/// A set operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum SetOperator {
    And,
    Or,
    Unless,
}

impl Matching {
    /// The labels that must agree.
    fn key(&self, labels: &Labels) -> Labels {
        let listed = |name: &str| self.labels.iter().any(|l| l == name);
        if self.on {
            Labels::from_sorted(labels.iter().filter(|(n, _)| listed(n)))
        } else {
            Labels::from_sorted(
                labels
                    .iter()
                    .filter(|(n, _)| *n != METRIC_NAME && !listed(n)),
            )
        }
    }

    /// Labels of a result.
    fn result(&self, many: &Labels, one: &Labels, drop_metric: bool) -> Labels {
        let mut labels = if drop_metric {
            without_metric(many)
        } else {
            many.clone()
        };
        if self.cardinality == Cardinality::OneToOne {
            let listed = |name: &str| self.labels.iter().any(|l| l == name);
            labels = Labels::from_sorted(labels.iter().filter(|(n, _)| listed(n) == self.on));
        }
        if !self.include.is_empty() {
            let mut builder = labels.to_builder();
            for name in &self.include {
                builder.set(name, one.get(name).unwrap_or(""));
            }
            labels = builder.finish();
        }
        labels
    }
}

/// Series of both sides that have the same match labels, by position.
#[derive(Default)]
struct MatchGroup {
    left: Vec<usize>,
    right: Vec<usize>,
}

fn groups(left: &[StepSeries], right: &[StepSeries], matching: &Matching) -> Vec<MatchGroup> {
    let mut index: HashMap<Labels, usize> = HashMap::with_capacity(left.len());
    let mut groups: Vec<MatchGroup> = Vec::with_capacity(left.len());
    let mut group_of = |series: &StepSeries, groups: &mut Vec<MatchGroup>| {
        *index
            .entry(matching.key(&series.labels))
            .or_insert_with(|| {
                groups.push(MatchGroup::default());
                groups.len() - 1
            })
    };
    for (i, series) in left.iter().enumerate() {
        let at = group_of(series, &mut groups);
        groups[at].left.push(i);
    }
    for (i, series) in right.iter().enumerate() {
        let at = group_of(series, &mut groups);
        groups[at].right.push(i);
    }
    groups
}

/// [`combine`] for whoever has no use for remarks.
///
/// # Errors
/// Where series meet that must not, in the upstream's words.
pub fn combine_quietly(
    operation: &Operation,
    left: &[StepSeries],
    right: &[StepSeries],
    matching: &Matching,
) -> Result<Vec<StepSeries>, MatchError> {
    combine(operation, left, right, matching, &mut |_| {})
}

/// An operator between two vectors.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// The operator.
    pub op: Operator,
    /// A comparison answers 0 or 1 rather than filter.
    pub bool_modifier: bool,
    /// Of both vectors and the result.
    pub frame: Frame,
}

/// Applies an operator between two vectors, series by series.
///
/// # Errors
/// Where series meet that must not, in the upstream's words.
pub(crate) fn combine(
    operation: &Operation,
    left: &[StepSeries],
    right: &[StepSeries],
    matching: &Matching,
    remark: &mut dyn FnMut(Note<'static>),
) -> Result<Vec<StepSeries>, MatchError> {
    let &Operation {
        op,
        bool_modifier,
        frame,
    } = operation;
    let steps = frame.steps;
    let swapped = matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if swapped {
        (right, left)
    } else {
        (left, right)
    };
    let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
    let mut pairing = Pairing {
        op,
        bool_modifier,
        swapped,
        many,
        one,
        matching,
        drop_metric: op.changes_metric() || (bool_modifier && !frame.delayed_names),
        out: Output::judged_later(frame),
        slots: HashMap::new(),
        notes: HashMap::new(),
    };
    // Nothing is matched, and nothing refused, at steps where a side has no sample at all.
    let alive = |side: &[StepSeries]| -> Vec<bool> {
        (0..steps).map(|i| side.iter().any(|s| s.has(i))).collect()
    };
    let mut live: Option<Vec<bool>> = None;
    for mut group in groups(left, right, matching) {
        if swapped {
            std::mem::swap(&mut group.left, &mut group.right);
        }
        let simple = group.left.len() == 1 && group.right.len() == 1 && !filled;
        if simple {
            pairing.pair(group.left[0], group.right[0], 0..steps)?;
            continue;
        }
        let idle = group.left.is_empty() || group.right.is_empty();
        if idle && !filled && group.right.len() < 2 {
            continue;
        }
        let live = live.get_or_insert_with(|| {
            let (many, one) = (alive(many), alive(one));
            many.iter()
                .zip(&one)
                .map(|(m, o)| if filled { *m || *o } else { *m && *o })
                .collect()
        });
        for step in (0..steps).filter(|i| live[*i]) {
            if let Err(error) = pairing.step(&group, step) {
                let refusal = (0..steps)
                    .filter(|i| live[*i])
                    .find_map(|step| pairing.refusal(step));
                return Err(refusal.unwrap_or(error));
            }
        }
    }
    let mut notes: Vec<_> = pairing.notes.into_iter().collect();
    notes.sort_unstable_by_key(|(step, _)| *step);
    notes.into_iter().for_each(|(_, (_, note))| remark(note));
    Ok(pairing.out.finish())
}

struct Pairing<'a> {
    op: Operator,
    bool_modifier: bool,
    swapped: bool,
    many: &'a [StepSeries],
    one: &'a [StepSeries],
    matching: &'a Matching,
    drop_metric: bool,
    out: Output,
    /// Result series of a pair; a side that is filled in has no position.
    slots: HashMap<(Option<usize>, Option<usize>), usize>,
    /// For each step the remark on the pair that upstream comes to last, with the pair's place: it keeps no others.
    notes: HashMap<usize, (usize, Note<'static>)>,
}

impl Pairing<'_> {
    fn slot(&mut self, many: Option<usize>, one: Option<usize>) -> Result<usize, MatchError> {
        if let Some(slot) = self.slots.get(&(many, one)) {
            return Ok(*slot);
        }
        let labels = match (many, one) {
            (Some(m), Some(o)) => {
                let (m, o) = (&self.many[m].labels, &self.one[o].labels);
                self.matching.result(m, o, self.drop_metric)
            }
            (Some(m), None) => {
                let m = &self.many[m].labels;
                self.matching
                    .result(m, &self.matching.key(m), self.drop_metric)
            }
            (None, Some(o)) => {
                let o = &self.one[o].labels;
                self.matching
                    .result(&self.matching.key(o), o, self.drop_metric)
            }
            (None, None) => Labels::empty(),
        };
        let slot = self.out.slot(labels, self.bool_modifier)?;
        self.slots.insert((many, one), slot);
        Ok(slot)
    }

    /// Two series that meet nobody else.
    fn pair(
        &mut self,
        m: usize,
        o: usize,
        steps: std::ops::Range<usize>,
    ) -> Result<(), MatchError> {
        let (many, one) = (&self.many[m], &self.one[o]);
        let floats = many.histograms.is_empty() && one.histograms.is_empty();
        let trims = matches!(self.op, Operator::TrimLower | Operator::TrimUpper);
        let slot = self.slot(Some(m), Some(o))?;
        for step in steps {
            let (a, b) = (many.values[step], one.values[step]);
            if !is_present(a) || !is_present(b) {
                continue;
            }
            if floats && !trims {
                let (l, r) = if self.swapped { (b, a) } else { (a, b) };
                let value = if !self.op.is_comparison() {
                    self.op.arithmetic(l, r)
                } else if self.bool_modifier {
                    self.op.scalar(l, r)
                } else if self.op.compare(l, r) {
                    l
                } else {
                    ABSENT
                };
                if is_present(value) {
                    self.out.put(slot, step, Sample::Float(value))?;
                }
            } else if let (Some(a), Some(b)) = (many.get(step), one.get(step))
                && let Some(outcome) = self.outcome(m, step, &a, &b)
            {
                self.put(slot, step, outcome)?;
            }
        }
        Ok(())
    }

    /// The result of two samples, where they have one, and whether a comparison holds. `place` is that of the pair among
    /// those of its step.
    fn outcome(
        &mut self,
        place: usize,
        step: usize,
        many: &Sample,
        one: &Sample,
    ) -> Option<(Sample, bool)> {
        let outcome = self.applied(many, one);
        if let Some(note) = outcome.note
            && self.notes.get(&step).is_none_or(|(last, _)| *last < place)
        {
            self.notes.insert(step, (place, note));
        }
        Some((outcome.value?, outcome.holds))
    }

    fn applied(&self, many: &Sample, one: &Sample) -> Outcome {
        if self.swapped {
            apply(self.op, one, many)
        } else {
            apply(self.op, many, one)
        }
    }

    fn put(
        &mut self,
        slot: usize,
        step: usize,
        (value, holds): (Sample, bool),
    ) -> Result<(), MatchError> {
        if self.bool_modifier {
            let truth = f64::from(u8::from(holds));
            self.out.put(slot, step, Sample::Float(truth))
        } else if holds {
            self.out.put(slot, step, value)
        } else {
            Ok(())
        }
    }

    /// One step of a group in which several series may meet.
    fn step(&mut self, group: &MatchGroup, step: usize) -> Result<(), MatchError> {
        let present = |side: &[StepSeries], of: &[usize]| -> Vec<usize> {
            of.iter().copied().filter(|i| side[*i].has(step)).collect()
        };
        let (many, one) = (
            present(self.many, &group.left),
            present(self.one, &group.right),
        );
        if let [first, second, ..] = one[..] {
            return Err(self.duplicates(first, second));
        }
        let one = one.first().copied();
        let one_sample = one.and_then(|o| self.one[o].get(step));
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let mut seen: Vec<usize> = Vec::new();
        for m in many {
            let one_value = match (&one_sample, self.matching.fill_right) {
                (Some(sample), _) => sample.clone(),
                (None, Some(fill)) => Sample::Float(fill),
                (None, None) => break,
            };
            let Some(sample) = self.many[m].get(step) else {
                continue;
            };
            // A pair that has no result has not met.
            let Some(outcome) = self.outcome(m, step, &sample, &one_value) else {
                continue;
            };
            let slot = self.slot(Some(m), one)?;
            if (one_to_one && !seen.is_empty()) || seen.contains(&slot) {
                return Err(self.met_twice());
            }
            seen.push(slot);
            self.put(slot, step, outcome)?;
        }
        if seen.is_empty()
            && let (Some(fill), Some(sample)) = (self.matching.fill_left, &one_sample)
        {
            // Whatever is left over on the one side comes behind all pairs.
            let place = self.many.len() + one.unwrap_or(0);
            let fill = Sample::Float(fill);
            if let Some(outcome) = self.outcome(place, step, &fill, sample) {
                let slot = self.slot(None, one)?;
                self.put(slot, step, outcome)?;
            }
        }
        Ok(())
    }

    /// What is wrong first at a step, in the order in which upstream looks at series: the "one" side, then the other. Groups
    /// are gone through one after the other, so what is found first is not what upstream tells.
    fn refusal(&self, step: usize) -> Option<MatchError> {
        let mut ones: HashMap<Labels, usize> = HashMap::new();
        for (at, series) in self.one.iter().enumerate().filter(|(_, s)| s.has(step)) {
            if let Some(first) = ones.insert(self.matching.key(&series.labels), at) {
                return Some(self.duplicates(first, at));
            }
        }
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let mut seen: HashSet<(Labels, Option<Labels>)> = HashSet::new();
        for many in self.many {
            let key = self.matching.key(&many.labels);
            let one = ones.get(&key).map(|at| &self.one[*at]);
            let one_sample = one.and_then(|one| one.get(step));
            let one_sample = one_sample.or(self.matching.fill_right.map(Sample::Float));
            let (Some(sample), Some(one_sample)) = (many.get(step), one_sample) else {
                continue;
            };
            if self.applied(&sample, &one_sample).value.is_none() {
                continue;
            }
            let result = (!one_to_one).then(|| {
                let one = one.map_or(&key, |one| &one.labels);
                self.matching.result(&many.labels, one, self.drop_metric)
            });
            if !seen.insert((key, result)) {
                return Some(self.met_twice());
            }
        }
        None
    }

    /// Several series of the "many" side met one where they must not.
    fn met_twice(&self) -> MatchError {
        if self.matching.cardinality == Cardinality::OneToOne {
            "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)".into()
        } else {
            "multiple matches for labels: grouping labels must ensure unique matches".into()
        }
    }

    fn duplicates(&self, first: usize, second: usize) -> MatchError {
        let mut pair = [first, second].map(|i| printed(&self.one[i].labels));
        pair.sort();
        let group = printed(&self.matching.key(&self.one[second].labels));
        let side = if self.swapped { "left" } else { "right" };
        MatchError::Refused(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
            pair[0], pair[1]
        ))
    }
}

/// A label set as upstream prints it, a name in quotes where it needs them.
fn printed(labels: &Labels) -> String {
    let pairs = labels.iter().map(|(name, value)| {
        let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        let name = if is_plain {
            name.to_owned()
        } else {
            quote(name)
        };
        format!("{name}={}", quote(value))
    });
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

/// A set operator between two vectors.
///
/// # Errors
/// Where the result has two samples of one label set at one step.
pub fn combine_sets(
    op: SetOperator,
    left: Vec<StepSeries>,
    right: Vec<StepSeries>,
    matching: &Matching,
    frame: Frame,
) -> Result<Vec<StepSeries>, MatchError> {
    let steps = frame.steps;
    let mut keep_left = vec![Vec::new(); left.len()];
    let mut keep_right = vec![Vec::new(); right.len()];
    let anywhere = |side: &[StepSeries], of: &[usize]| -> Vec<bool> {
        let mut any = vec![false; steps];
        for series in of.iter().map(|i| &side[*i]) {
            for (step, any) in any.iter_mut().enumerate() {
                *any |= series.has(step);
            }
        }
        any
    };
    for group in groups(&left, &right, matching) {
        if op == SetOperator::Or {
            let blocked = anywhere(&left, &group.left);
            for i in &group.right {
                keep_right[*i] = blocked.iter().map(|b| !b).collect();
            }
        } else {
            let hit = anywhere(&right, &group.right);
            for i in &group.left {
                keep_left[*i] = hit.iter().map(|h| *h == (op == SetOperator::And)).collect();
            }
        }
    }
    let mut out = Output::judged_later(frame);
    let mut take = |series: Vec<StepSeries>, keep: Vec<Vec<bool>>| -> Result<(), MatchError> {
        for (mut series, keep) in series.into_iter().zip(keep) {
            for (step, _) in keep.iter().enumerate().filter(|(_, keep)| !**keep) {
                series.remove(step);
            }
            if !series.is_empty() {
                out.put_all(series)?;
            }
        }
        Ok(())
    };
    take(left, keep_left)?;
    if op == SetOperator::Or {
        take(right, keep_right)?;
    }
    Ok(out.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(labels: &[(&str, &str)], values: &[f64]) -> StepSeries {
        StepSeries {
            labels: Labels::from_pairs(labels.iter().copied()),
            drop_name: false,
            values: values.to_vec(),
            histograms: Vec::new(),
        }
    }

    fn refused(left: &[StepSeries], right: &[StepSeries], fill_right: Option<f64>) -> String {
        let operation = Operation {
            op: Operator::Add,
            bool_modifier: false,
            frame: Frame {
                steps: left[0].values.len(),
                delayed_names: false,
                max_cells: 1000,
            },
        };
        let matching = Matching {
            cardinality: Cardinality::OneToOne,
            on: true,
            labels: vec!["g".to_owned()],
            include: Vec::new(),
            fill_left: None,
            fill_right,
        };
        match combine_quietly(&operation, left, right, &matching) {
            Err(MatchError::Refused(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    const TWICE: [(&str, &str); 2] = [("a.b", "é"), ("g", "2")];

    #[test]
    fn the_group_that_an_error_names_is_the_first_by_step_and_then_by_the_right_side() {
        let left = [
            series(&[("g", "1")], &[1.0, 1.0]),
            series(&[("g", "2")], &[1.0, 1.0]),
        ];
        let right = [
            series(&[("g", "1"), ("x", "1")], &[ABSENT, 1.0]),
            series(&TWICE, &[1.0, 1.0]),
            series(&[("g", "2")], &[1.0, 1.0]),
            series(&[("g", "1")], &[1.0, 1.0]),
        ];
        let text = refused(&left, &right, None);
        let start = "found duplicate series for the match group {g=\"2\"} on the right hand-side of the operation: ";
        let pair = "[{\"a.b\"=\"é\", g=\"2\"}, {g=\"2\"}]";
        assert!(text.starts_with(&format!("{start}{pair}")), "{text}");
    }

    #[test]
    fn series_that_are_twice_on_the_right_are_told_before_those_that_are_filled_in_twice() {
        let left = [
            series(&[("g", "1"), ("x", "1")], &[1.0]),
            series(&[("g", "1")], &[1.0]),
        ];
        let right = [series(&TWICE, &[1.0]), series(&[("g", "2")], &[1.0])];
        assert!(refused(&left, &right, Some(0.0)).starts_with("found duplicate series"));
        assert!(refused(&left, &right[..1], Some(0.0)).starts_with("multiple matches for labels"));
    }
}
