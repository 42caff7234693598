//! Selectors and subqueries: which samples of which series, and the pipelines that they feed.

use std::sync::Arc;

use storage::model::{METRIC_NAME, MatchOp, Matcher, MsRange};
use storage::read::SeriesSelect;

use super::super::node::{Kind, Node};
use super::super::pipeline::instant::{InstantLeaf, Take};
use super::super::pipeline::range::RangeLeaf;
use super::super::pipeline::stage::Steps;
use super::super::pipeline::{Leaf, Pipeline, Sink, Way};
use super::super::{EvalError, PlannedSelect};
use super::{Compiler, FAR_MS};
use crate::ast::{At, Duration, MatrixSelector, Subquery, VectorSelector};
use crate::functions::Func;
use crate::vector::Grid;

impl Compiler<'_> {
    pub(super) fn at_ms(&self, at: Option<At>) -> Option<i64> {
        at.map(|at| match at {
            At::Timestamp(t) => t.clamp(-FAR_MS, FAR_MS),
            At::Start => self.options.start_ms,
            At::End => self.options.end_ms,
        })
    }

    pub(super) fn instant_selector(
        &mut self,
        v: &VectorSelector,
        grid: Grid,
    ) -> Result<Node, EvalError> {
        let take = if v.smoothed {
            Take::Smoothed
        } else {
            Take::Sample
        };
        let id = self.instant_pipeline(&v.matchers, self.instant_leaf(v, take), grid);
        let kind = Kind::Series(id);
        Ok(Node { grid, kind })
    }

    pub(super) fn instant_leaf(&self, v: &VectorSelector, take: Take) -> InstantLeaf {
        InstantLeaf {
            at_ms: self.at_ms(v.at),
            offset_ms: millis(&v.offset),
            take,
            inner: self.inner,
            position: v.span.start,
        }
    }

    /// A pipeline of an instant selector.
    pub(super) fn instant_pipeline(
        &mut self,
        matchers: &[Matcher],
        leaf: InstantLeaf,
        grid: Grid,
    ) -> usize {
        let lookback = self.options.lookback_ms;
        let (first, last) = (leaf.moment(&grid, 0), leaf.moment(&grid, grid.steps - 1));
        let ahead = if leaf.take == Take::Smoothed {
            lookback
        } else {
            0
        };
        let range = MsRange::new(first - lookback + self.open(), last + ahead);
        self.pipeline(matchers, range, Leaf::Instant(leaf), Vec::new(), grid)
    }

    pub(super) fn range_leaf(&self, func: Func, m: &MatrixSelector, position: usize) -> RangeLeaf {
        RangeLeaf {
            func,
            range_ms: millis(&m.range),
            at_ms: self.at_ms(m.vector.at),
            offset_ms: millis(&m.vector.offset),
            anchored: m.vector.anchored,
            smoothed: m.vector.smoothed,
            inner: self.inner,
            stored: true,
            position,
        }
    }

    /// A pipeline of a range selector.
    pub(super) fn range_pipeline(
        &mut self,
        matchers: &[Matcher],
        leaf: RangeLeaf,
        raw: bool,
        params: Vec<Steps>,
        grid: Grid,
    ) -> usize {
        let (behind, ahead) = leaf.margins(self.options.lookback_ms);
        let (first, last) = (leaf.end_ms(&grid, 0), leaf.end_ms(&grid, grid.steps - 1));
        let min_ms = first - leaf.range_ms - behind + self.open();
        let range = MsRange::new(min_ms, last + ahead);
        let leaf = if raw {
            Leaf::Raw(leaf)
        } else {
            Leaf::Range(leaf)
        };
        self.pipeline(matchers, range, leaf, params, grid)
    }

    pub(super) fn raw_matrix(&mut self, m: &MatrixSelector, grid: Grid) -> Result<Node, EvalError> {
        let leaf = self.range_leaf(Func::LastOverTime, m, m.span.start);
        let id = self.range_pipeline(&m.vector.matchers, leaf, true, Vec::new(), grid);
        self.pipelines[id].sink = Sink::Raw(Vec::new());
        let kind = Kind::RawMatrix(id);
        Ok(Node { grid, kind })
    }

    /// What a subquery evaluates at each of its steps, which are multiples of its step since the epoch.
    pub(super) fn subquery(&mut self, s: &Subquery, parent: Grid) -> Result<Node, EvalError> {
        let grid = self.subquery_grid(s, parent);
        self.with_buckets(|c| c.node(&s.expr, grid))
    }

    fn subquery_grid(&self, s: &Subquery, parent: Grid) -> Grid {
        let (range_ms, offset_ms) = (millis(&s.range), millis(&s.offset));
        let step_ms = s.step.as_ref().map_or(0, millis);
        let step_ms = if step_ms > 0 {
            step_ms
        } else {
            self.options.subquery_step_ms.max(1)
        };
        let (first, last) = match self.at_ms(s.at) {
            Some(at) => (at, at),
            None => (parent.start_ms, parent.last_ms()),
        };
        let before = first - offset_ms - range_ms;
        let mut start_ms = before / step_ms * step_ms;
        if start_ms < before || (start_ms == before && !self.options.closed_ranges) {
            start_ms += step_ms;
        }
        Grid::new(start_ms, last - offset_ms, step_ms)
    }

    fn pipeline(
        &mut self,
        matchers: &[Matcher],
        range: MsRange,
        leaf: Leaf,
        params: Vec<Steps>,
        grid: Grid,
    ) -> usize {
        let select = SeriesSelect {
            matchers: matchers.to_vec(),
            range,
        };
        let known = self.selects.iter().position(|s| s.select == select);
        let select_id = known.unwrap_or_else(|| {
            let id = self.selects.len();
            self.selects.push(PlannedSelect { id, select });
            id
        });
        let one_name = matchers
            .iter()
            .any(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
        self.pipelines.push(Pipeline {
            select: select_id,
            way: Arc::new(Way {
                grid,
                leaf,
                params,
                stages: Vec::new(),
                without_buckets: self.figures && !self.buckets,
                holds: false,
            }),
            sink: Sink::Collect(Vec::new()),
            one_name,
        });
        self.pipelines.len() - 1
    }

    /// The start of ranges is out, so that the first millisecond in is the next one.
    fn open(&self) -> i64 {
        i64::from(!self.options.closed_ranges)
    }
}

/// Milliseconds of a resolved duration.
pub(super) fn millis(duration: &Duration) -> i64 {
    duration.as_millis().unwrap_or(0)
}
