//! Logs: the head, its blocks, and what a query sees of both.

use std::sync::Arc;

use async_trait::async_trait;

use crate::block::Block;
use crate::budget::Budget;
use crate::error::Result;
use crate::model::{Labels, LogBatch, LogReport, Matcher, NsRange, Tenant};
use crate::read::LogSelect;
use crate::signal::{
    Applied, BlockFiles, BlockStats, Head, HeadOptions, SignalKind, TimeSpan, View,
};
use crate::storage::{HeadStats, LogPages, LogStats};

/// One generation of the logs head.
pub(crate) struct LogsHead;

#[async_trait]
impl Head for LogsHead {
    const SIGNAL: SignalKind = SignalKind::Logs;

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

/// Takes a batch into the active generation. The caller writes the log record afterwards. Dropped duplicates
/// are among the refused.
pub(crate) fn append(
    _head: &LogsHead,
    _tenant: &Tenant,
    _batch: &LogBatch<'_>,
) -> Applied<LogReport> {
    todo!()
}

/// Takes a replayed batch: everything but the refused entries, without admission.
pub(crate) fn replay(_head: &LogsHead, _tenant: &Tenant, _batch: &LogBatch<'_>, _refused: &[u32]) {
    todo!()
}

/// See [`crate::Storage::select_logs`].
pub(crate) async fn select_logs(
    _view: Arc<View<LogsHead>>,
    _budget: &Arc<Budget>,
    _tenant: &Tenant,
    _select: &LogSelect,
) -> Result<LogPages> {
    todo!()
}

/// See [`crate::Storage::log_streams`].
pub(crate) async fn log_streams(
    _view: Arc<View<LogsHead>>,
    _budget: &Arc<Budget>,
    _tenant: &Tenant,
    _any_of: &[Vec<Matcher>],
    _range: NsRange,
) -> Result<Vec<Labels>> {
    todo!()
}

/// See [`crate::Storage::log_stats`].
pub(crate) async fn log_stats(
    _view: Arc<View<LogsHead>>,
    _budget: &Arc<Budget>,
    _tenant: &Tenant,
    _matchers: &[Matcher],
    _range: NsRange,
) -> Result<LogStats> {
    todo!()
}
