//! A log query: the first or last entries that get through its pipeline.
//!
//! Pages come in the asked order by their near end. That makes two things certain: an entry before
//! the near end of a page (after it, going backward) has no rival among later pages, and a page whose
//! near end lies beyond the worst of enough entries ends the query.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use indexmap::IndexSet;
use storage::model::EntryBuf;
use storage::read::{Direction, LogPage};

use super::Params;
use super::streams::{Options, Streams};
use crate::answer::{Categories, EntryResult, Stats, StreamResult};
use crate::ast::LogExpr;
use crate::error::Error;
use crate::labels::{LabelBuilder, LabelSet};
use crate::pipeline::Pipeline;
use crate::stages::Hints;

/// An entry that got through.
struct Kept {
    t_ns: i64,
    /// In `sets`.
    set: usize,
    /// Order of arrival, which orders entries of one time.
    order: u64,
    line: Box<str>,
}

/// Labels of entries: the ones that name the stream of the answer, and the others where labels are
/// categorized.
type Labelled = (LabelSet, Option<(LabelSet, LabelSet)>);

pub(super) struct LogQuery {
    log: LogExpr,
    pipeline: Result<Pipeline, Error>,
    forward: bool,
    limit: usize,
    interval_ns: i64,
    categorize: bool,
    options: Options,
    streams: Streams,
    sets: IndexSet<Labelled>,
    kept: Vec<Kept>,
    arrived: u64,
    /// Time of the worst entry that is kept, where there are enough.
    worst_ns: Option<i64>,
    /// Entries that `interval_ns` has settled on.
    thinned: Vec<Kept>,
    buf: EntryBuf,
}

impl LogQuery {
    pub(super) fn new(log: &LogExpr, params: &Params) -> Self {
        let hints = Hints {
            now_ns: params.now_ns,
            ..Hints::default()
        };
        Self {
            pipeline: Pipeline::with_hints(&log.stages, &hints),
            log: log.clone(),
            forward: params.direction == Direction::Forward,
            limit: params.limit,
            interval_ns: params.interval_ns,
            categorize: params.categorize_labels,
            options: Options {
                hide_level: params.compat2,
                twice: false,
            },
            streams: Streams::default(),
            sets: IndexSet::new(),
            kept: Vec::new(),
            arrived: 0,
            worst_ns: None,
            thinned: Vec::new(),
            buf: EntryBuf::default(),
        }
    }

    pub(super) const fn log(&self) -> &LogExpr {
        &self.log
    }

    /// Whether a time comes after another in the asked order.
    const fn is_beyond(&self, t_ns: i64, other_ns: i64) -> bool {
        if self.forward {
            t_ns > other_ns
        } else {
            t_ns < other_ns
        }
    }

    pub(super) fn push(
        &mut self,
        page: &dyn LogPage,
        stats: &mut Stats,
    ) -> Result<ControlFlow<()>, Error> {
        if let Err(error) = &self.pipeline {
            return Err(error.clone());
        }
        let (first_ns, last_ns) = page.bounds_ns();
        let near_ns = if self.forward { first_ns } else { last_ns };
        if self.interval_ns > 0 {
            self.thin(Some(near_ns));
            if self.thinned.len() >= self.limit {
                return Ok(ControlFlow::Break(()));
            }
        } else {
            self.cut();
            if self
                .worst_ns
                .is_some_and(|worst| self.is_beyond(near_ns, worst))
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.buf.clear();
        page.entries(&mut self.buf)?;
        self.page(page, stats);
        Ok(ControlFlow::Continue(()))
    }

    fn page(&mut self, page: &dyn LogPage, stats: &mut Stats) {
        let (Ok(pipeline), sets, categorize) = (&self.pipeline, &mut self.sets, self.categorize)
        else {
            return;
        };
        let state = self.streams.get(&page.stream().labels);
        // Of one page no more than `limit` entries count, and they come in order.
        let most = if self.interval_ns > 0 {
            usize::MAX
        } else {
            self.limit
        };
        let (count, forward) = (self.buf.len(), self.forward);
        let mut taken = 0;
        for i in 0..count {
            let at = if forward { i } else { count - 1 - i };
            let Some(entry) = self.buf.get(at) else {
                break;
            };
            let (t_ns, line) = (entry.t_ns(), entry.line());
            let too_far = self.worst_ns.is_some_and(|worst| {
                if forward {
                    t_ns >= worst
                } else {
                    t_ns <= worst
                }
            });
            if too_far || taken >= most {
                break;
            }
            stats.lines += 1;
            stats.bytes += line.len() as u64;
            if !pipeline.admits(line) {
                continue;
            }
            state.start(&entry, self.options);
            let Some(line) = pipeline.run(t_ns, line, &mut state.labels) else {
                continue;
            };
            let set = state.number(|labels| sets.insert_full(labelled(labels, categorize)).0);
            self.arrived += 1;
            taken += 1;
            self.kept.push(Kept {
                t_ns,
                set,
                order: self.arrived,
                line: line.into(),
            });
        }
    }

    fn sort(&self, entries: &mut [Kept]) {
        let by_time = |a: &Kept, b: &Kept| {
            if self.forward {
                a.t_ns.cmp(&b.t_ns)
            } else {
                b.t_ns.cmp(&a.t_ns)
            }
        };
        entries.sort_by(|a, b| {
            // Entries of one time in several streams: any order will do, but always the same.
            let labels = |k: &Kept| self.sets.get_index(k.set).map(|(labels, _)| labels);
            by_time(a, b)
                .then_with(|| labels(b).cmp(&labels(a)))
                .then_with(|| a.order.cmp(&b.order))
        });
    }

    /// Keeps no more entries than asked.
    fn cut(&mut self) {
        if self.kept.len() < self.limit {
            return;
        }
        let mut kept = std::mem::take(&mut self.kept);
        self.sort(&mut kept);
        kept.truncate(self.limit);
        self.worst_ns = kept.last().map(|k| k.t_ns);
        self.kept = kept;
        self.drop_unused_sets();
    }

    /// Entries that were cut leave their labels behind; of many such the used ones are kept.
    fn drop_unused_sets(&mut self) {
        if self.sets.len() < self.kept.len() * 4 + 1024 {
            return;
        }
        let all = std::mem::take(&mut self.sets);
        for kept in &mut self.kept {
            if let Some(set) = all.get_index(kept.set) {
                kept.set = self.sets.insert_full(set.clone()).0;
            }
        }
        self.streams.forget();
    }

    /// Bytes held, roughly.
    pub(super) fn held_bytes(&self) -> usize {
        let lines: usize = self
            .kept
            .iter()
            .chain(&self.thinned)
            .map(|k| k.line.len() + 48)
            .sum();
        lines + self.sets.len() * 512
    }

    /// Takes of the entries that no later page can come before those that keep the distance.
    fn thin(&mut self, near_ns: Option<i64>) {
        let kept = std::mem::take(&mut self.kept);
        let (mut certain, rest): (Vec<_>, Vec<_>) = kept
            .into_iter()
            .partition(|k| near_ns.is_none_or(|near| self.is_beyond(near, k.t_ns)));
        self.kept = rest;
        self.sort(&mut certain);
        for entry in certain {
            if self.thinned.len() >= self.limit {
                return;
            }
            let far = self.thinned.last().is_none_or(|last| {
                last.t_ns.abs_diff(entry.t_ns) >= self.interval_ns.unsigned_abs()
            });
            if far {
                self.thinned.push(entry);
            }
        }
    }

    pub(super) fn finish(mut self) -> Vec<StreamResult> {
        if self.interval_ns > 0 {
            self.thin(None);
            self.kept = std::mem::take(&mut self.thinned);
        } else {
            self.cut();
            let mut kept = std::mem::take(&mut self.kept);
            self.sort(&mut kept);
            self.kept = kept;
        }
        let mut streams: HashMap<&LabelSet, Vec<EntryResult>> = HashMap::new();
        let mut categories: HashMap<usize, Arc<Categories>> = HashMap::new();
        for kept in self.kept {
            let Some((labels, others)) = self.sets.get_index(kept.set) else {
                continue;
            };
            let categories = others.as_ref().map(|(metadata, parsed)| {
                Arc::clone(categories.entry(kept.set).or_insert_with(|| {
                    Arc::new(Categories {
                        structured_metadata: metadata.clone(),
                        parsed: parsed.clone(),
                    })
                }))
            });
            let entry = EntryResult {
                t_ns: kept.t_ns,
                line: kept.line.into(),
                categories,
            };
            streams.entry(labels).or_default().push(entry);
        }
        let mut results: Vec<_> = streams
            .into_iter()
            .map(|(labels, entries)| StreamResult {
                labels: labels.clone(),
                entries,
            })
            .collect();
        results.sort_by(|a, b| a.labels.cmp(&b.labels));
        results
    }
}

fn labelled(labels: &LabelBuilder, categorize: bool) -> Labelled {
    if categorize {
        let (stream, metadata, parsed) = labels.categorized();
        (stream, Some((metadata, parsed)))
    } else {
        (labels.labels(), None)
    }
}
