//! Traces: the head, its blocks, and what a query sees of both.
//!
//! ```text
//!  append ─▶ head (compact rows, chained by trace) ─▶ block (Parquet, sorted by trace id)
//!  trace  ─▶ by id from every generation and block
//!  search ─▶ candidates, newest first, from columns ─▶ whole traces for the hits
//! ```

mod block;
mod code;
mod filter;
mod head;
mod select;
mod table;

use crate::model::{SpanBatch, SpanReport, Tenant};
use crate::signal::Applied;

pub(crate) use head::TracesHead;
pub(crate) use select::{dependencies, operations, search_traces, services, trace};

/// Takes a batch into the active generation; every span is taken. The caller writes the log record
/// afterwards.
pub(crate) fn append(head: &TracesHead, tenant: &Tenant, batch: SpanBatch) -> Applied<SpanReport> {
    head.push(tenant, &batch)
}

/// Takes a replayed batch: everything but the refused spans, without admission.
pub(crate) fn replay(head: &TracesHead, tenant: &Tenant, mut batch: SpanBatch, refused: &[u32]) {
    if !refused.is_empty() {
        let mut at = 0u32;
        batch.spans.retain(|_| {
            at += 1;
            refused.binary_search(&(at - 1)).is_err()
        });
    }
    head.push(tenant, &batch);
}
