//! Metrics: the head, its blocks, and what a query sees of both.

use std::sync::Arc;

use async_trait::async_trait;

use crate::block::Block;
use crate::budget::Budget;
use crate::error::Result;
use crate::model::{
    ExemplarSeries, Labels, Matcher, Metadata, MetricBatch, MetricReport, MsRange, Tenant,
};
use crate::read::SeriesSelect;
use crate::signal::{
    Applied, BlockFiles, BlockStats, Head, HeadOptions, SignalKind, TimeSpan, View,
};
use crate::storage::{HeadStats, SeriesSet};

/// One generation of the metrics head.
pub(crate) struct MetricsHead;

#[async_trait]
impl Head for MetricsHead {
    const SIGNAL: SignalKind = SignalKind::Metrics;

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
    _head: &MetricsHead,
    _tenant: &Tenant,
    _batch: &MetricBatch<'_>,
) -> Applied<MetricReport> {
    todo!()
}

/// Takes a replayed batch: everything but the refused items, without admission.
pub(crate) fn replay(
    _head: &MetricsHead,
    _tenant: &Tenant,
    _batch: &MetricBatch<'_>,
    _refused: &[u32],
) {
    todo!()
}

/// See [`crate::Storage::select_series`].
pub(crate) async fn select_series(
    _view: Arc<View<MetricsHead>>,
    _budget: &Arc<Budget>,
    _tenant: &Tenant,
    _select: &SeriesSelect,
) -> Result<SeriesSet> {
    todo!()
}

/// See [`crate::Storage::series_labels`].
pub(crate) async fn series_labels(
    _view: Arc<View<MetricsHead>>,
    _budget: &Arc<Budget>,
    _tenant: &Tenant,
    _any_of: &[Vec<Matcher>],
    _range: MsRange,
    _limit: usize,
) -> Result<Vec<Labels>> {
    todo!()
}

/// See [`crate::Storage::label_names`].
pub(crate) async fn label_names(
    _view: Arc<View<MetricsHead>>,
    _budget: &Arc<Budget>,
    _tenant: &Tenant,
    _any_of: &[Vec<Matcher>],
    _range: MsRange,
) -> Result<Vec<String>> {
    todo!()
}

/// See [`crate::Storage::label_values`].
pub(crate) async fn label_values(
    _view: Arc<View<MetricsHead>>,
    _budget: &Arc<Budget>,
    _tenant: &Tenant,
    _name: &str,
    _any_of: &[Vec<Matcher>],
    _range: MsRange,
) -> Result<Vec<String>> {
    todo!()
}

/// See [`crate::Storage::metadata`].
pub(crate) fn metadata(
    _view: &View<MetricsHead>,
    _tenant: &Tenant,
    _family: Option<&str>,
) -> Vec<Metadata> {
    todo!()
}

/// See [`crate::Storage::exemplars`].
pub(crate) fn exemplars(
    _view: &View<MetricsHead>,
    _tenant: &Tenant,
    _any_of: &[Vec<Matcher>],
    _range: MsRange,
) -> Vec<ExemplarSeries> {
    todo!()
}
