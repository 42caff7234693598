//! Traces: the head, its blocks, and what a query sees of both.

use std::sync::Arc;

use async_trait::async_trait;

use crate::block::Block;
use crate::budget::Budget;
use crate::error::Result;
use crate::model::{NsRange, SpanBatch, SpanReport, Tenant, Trace, TraceId};
use crate::read::TraceSelect;
use crate::signal::{
    Applied, BlockFiles, BlockStats, Head, HeadOptions, SignalKind, TimeSpan, View,
};
use crate::storage::{Dependency, HeadStats, Operation};

/// One generation of the traces head.
pub(crate) struct TracesHead;

#[async_trait]
impl Head for TracesHead {
    const SIGNAL: SignalKind = SignalKind::Traces;

    fn new(_options: HeadOptions, _before: Option<&Self>) -> Self {
        Self
    }
    fn is_empty(&self) -> bool {
        true
    }
    fn held_bytes(&self) -> u64 {
        0
    }
    fn tenants(&self) -> Vec<Tenant> {
        Vec::new()
    }
    fn days(&self, _tenant: &Tenant) -> Vec<i64> {
        Vec::new()
    }
    fn stats(&self, _tenant: Option<&Tenant>) -> HeadStats {
        HeadStats::default()
    }
    fn write_block(
        &self,
        _tenant: &Tenant,
        _span: TimeSpan,
        _files: &mut dyn BlockFiles,
    ) -> Result<Option<BlockStats>> {
        todo!()
    }
    async fn merge_blocks(
        _blocks: &[Arc<Block>],
        _drop_before: Option<i64>,
        _files: &mut dyn BlockFiles,
    ) -> Result<Option<BlockStats>> {
        todo!()
    }
}

/// Takes a batch into the active generation. The caller writes the log record afterwards.
pub(crate) fn append(
    _head: &TracesHead,
    _tenant: &Tenant,
    _batch: SpanBatch,
) -> Applied<SpanReport> {
    todo!()
}

/// Takes a replayed batch: everything but the refused spans, without admission.
pub(crate) fn replay(_head: &TracesHead, _tenant: &Tenant, _batch: SpanBatch, _refused: &[u32]) {
    todo!()
}

/// See [`crate::Storage::trace`].
pub(crate) async fn trace(
    _view: Arc<View<TracesHead>>,
    _budget: &Arc<Budget>,
    _tenant: &Tenant,
    _id: TraceId,
) -> Result<Option<Trace>> {
    todo!()
}

/// See [`crate::Storage::search_traces`].
pub(crate) async fn search_traces(
    _view: Arc<View<TracesHead>>,
    _budget: &Arc<Budget>,
    _tenant: &Tenant,
    _select: &TraceSelect,
) -> Result<Vec<Trace>> {
    todo!()
}

/// See [`crate::Storage::services`].
pub(crate) async fn services(
    _view: Arc<View<TracesHead>>,
    _budget: &Arc<Budget>,
    _tenant: &Tenant,
) -> Result<Vec<String>> {
    todo!()
}

/// See [`crate::Storage::operations`].
pub(crate) async fn operations(
    _view: Arc<View<TracesHead>>,
    _budget: &Arc<Budget>,
    _tenant: &Tenant,
    _service: &str,
) -> Result<Vec<Operation>> {
    todo!()
}

/// See [`crate::Storage::dependencies`].
pub(crate) async fn dependencies(
    _view: Arc<View<TracesHead>>,
    _budget: &Arc<Budget>,
    _tenant: &Tenant,
    _range: NsRange,
) -> Result<Vec<Dependency>> {
    todo!()
}
