//! From a log record back into a head: the program's decoder makes the batch, the signal takes it without admission.

use std::sync::Arc;

use crate::logs::{self, LogsHead};
use crate::metrics::{self, MetricsHead};
use crate::model::{LogBatch, MetricBatch, SpanBatch};
use crate::recover::{Apply, Likely, Take};
use crate::signal::SignalKind;
use crate::storage::{RecordDecoder, RecordSink};
use crate::traces::{self, TracesHead};
use crate::wal::WalRecord;

/// A batch of the wrong signal is dropped: the decoder was told which one it is.
struct Sink<'a, 't, H> {
    record: &'a WalRecord<'a>,
    likely: &'a Likely<H>,
    take: &'a mut Take<'t, H>,
}

impl RecordSink for Sink<'_, '_, MetricsHead> {
    fn metrics(&mut self, batch: &MetricBatch<'_>) {
        let WalRecord {
            tenant, refused, ..
        } = self.record;
        let likely = self.likely.read();
        let found = likely
            .as_ref()
            .map(|head| metrics::find_ahead(head, tenant, batch, refused));
        drop(likely);
        (self.take)(&mut |head| metrics::replay(head, tenant, batch, refused, found.as_ref()));
    }
    fn logs(&mut self, _batch: &LogBatch<'_>) {}
    fn spans(&mut self, _batch: SpanBatch) {}
}

impl RecordSink for Sink<'_, '_, LogsHead> {
    fn metrics(&mut self, _batch: &MetricBatch<'_>) {}
    fn logs(&mut self, batch: &LogBatch<'_>) {
        let WalRecord {
            tenant, refused, ..
        } = self.record;
        (self.take)(&mut |head| logs::replay(head, tenant, batch, refused));
    }
    fn spans(&mut self, _batch: SpanBatch) {}
}

impl RecordSink for Sink<'_, '_, TracesHead> {
    fn metrics(&mut self, _batch: &MetricBatch<'_>) {}
    fn logs(&mut self, _batch: &LogBatch<'_>) {}
    fn spans(&mut self, batch: SpanBatch) {
        let WalRecord {
            tenant, refused, ..
        } = self.record;
        let mut batch = Some(batch);
        (self.take)(&mut |head| {
            if let Some(batch) = batch.take() {
                traces::replay(head, tenant, batch, refused);
            }
        });
    }
}

pub(crate) fn metrics(decoder: Arc<dyn RecordDecoder>) -> Apply<MetricsHead> {
    Arc::new(move |record, likely, take| {
        let mut sink = Sink {
            record,
            likely,
            take,
        };
        decoder.decode(SignalKind::Metrics, record.record, &mut sink)
    })
}

pub(crate) fn logs(decoder: Arc<dyn RecordDecoder>) -> Apply<LogsHead> {
    Arc::new(move |record, likely, take| {
        let mut sink = Sink {
            record,
            likely,
            take,
        };
        decoder.decode(SignalKind::Logs, record.record, &mut sink)
    })
}

pub(crate) fn traces(decoder: Arc<dyn RecordDecoder>) -> Apply<TracesHead> {
    Arc::new(move |record, likely, take| {
        let mut sink = Sink {
            record,
            likely,
            take,
        };
        decoder.decode(SignalKind::Traces, record.record, &mut sink)
    })
}
