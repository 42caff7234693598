//! What a list of traces shows of each.

use std::collections::{BTreeMap, HashSet};

use storage::model::{Span, SpanId, StatusCode, Trace, TraceId};

/// Counts of a trace.
pub(super) struct Summary<'a> {
    pub(super) trace_id: TraceId,
    /// The earliest span without a parent.
    pub(super) root: Option<&'a Span>,
    pub(super) min_start_ns: u64,
    pub(super) max_end_ns: u64,
    pub(super) spans: usize,
    pub(super) errors: usize,
    /// Spans whose parent is not in the trace.
    pub(super) orphans: usize,
    /// By service: spans, and those that failed.
    pub(super) services: BTreeMap<&'a str, (usize, usize)>,
}

impl<'a> Summary<'a> {
    pub(super) fn of(trace: &'a Trace) -> Self {
        let ids: HashSet<SpanId> = trace.spans.iter().map(|s| s.span_id).collect();
        let mut services: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let mut errors = 0;
        for span in &trace.spans {
            let failed = usize::from(span.status_code == StatusCode::ERROR);
            let name = span.resource.service_name().unwrap_or_default();
            let counts = services.entry(name).or_default();
            counts.0 += 1;
            counts.1 += failed;
            errors += failed;
        }
        let parentless = trace.spans.iter().filter(|s| s.parent_span_id.is_zero());
        let orphan = |s: &&Span| !s.parent_span_id.is_zero() && !ids.contains(&s.parent_span_id);
        Self {
            trace_id: trace.trace_id,
            root: parentless.min_by_key(|s| s.start_ns),
            min_start_ns: trace.spans.iter().map(|s| s.start_ns).min().unwrap_or(0),
            max_end_ns: trace.spans.iter().map(|s| s.end_ns).max().unwrap_or(0),
            spans: trace.spans.len(),
            errors,
            orphans: trace.spans.iter().filter(orphan).count(),
            services,
        }
    }
}
