//! From a log record back into a head: the program's decoder makes the batch, the signal takes it without admission.

use std::sync::Arc;

use crate::logs::{self, LogsHead};
use crate::metrics::{self, MetricsHead};
use crate::model::{LogBatch, MetricBatch, SpanBatch};
use crate::recover::Apply;
use crate::signal::SignalKind;
use crate::storage::{RecordDecoder, RecordSink};
use crate::traces::{self, TracesHead};
use crate::wal::WalRecord;

/// A batch of the wrong signal is dropped: the decoder was told which one it is.
struct Sink<'a, H> {
    head: &'a H,
    record: &'a WalRecord<'a>,
}

impl RecordSink for Sink<'_, MetricsHead> {
    fn metrics(&mut self, batch: &MetricBatch<'_>) {
        metrics::replay(self.head, &self.record.tenant, batch, &self.record.refused);
    }
    fn logs(&mut self, _batch: &LogBatch<'_>) {}
    fn spans(&mut self, _batch: SpanBatch) {}
}

impl RecordSink for Sink<'_, LogsHead> {
    fn metrics(&mut self, _batch: &MetricBatch<'_>) {}
    fn logs(&mut self, batch: &LogBatch<'_>) {
        logs::replay(self.head, &self.record.tenant, batch, &self.record.refused);
    }
    fn spans(&mut self, _batch: SpanBatch) {}
}

impl RecordSink for Sink<'_, TracesHead> {
    fn metrics(&mut self, _batch: &MetricBatch<'_>) {}
    fn logs(&mut self, _batch: &LogBatch<'_>) {}
    fn spans(&mut self, batch: SpanBatch) {
        traces::replay(self.head, &self.record.tenant, batch, &self.record.refused);
    }
}

pub(crate) fn metrics(decoder: Arc<dyn RecordDecoder>) -> Apply<MetricsHead> {
    Arc::new(move |head, record| {
        decoder.decode(
            SignalKind::Metrics,
            record.record,
            &mut Sink { head, record },
        )
    })
}

pub(crate) fn logs(decoder: Arc<dyn RecordDecoder>) -> Apply<LogsHead> {
    Arc::new(move |head, record| {
        decoder.decode(SignalKind::Logs, record.record, &mut Sink { head, record })
    })
}

pub(crate) fn traces(decoder: Arc<dyn RecordDecoder>) -> Apply<TracesHead> {
    Arc::new(move |head, record| {
        decoder.decode(
            SignalKind::Traces,
            record.record,
            &mut Sink { head, record },
        )
    })
}
