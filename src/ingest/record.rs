//! The forms in which requests lie in the write-ahead log, and their way back into batches.
//!
//! A number never changes its meaning: logs of older versions are replayed by newer ones.

use storage::model::Record;
use storage::{RecordDecoder, RecordSink, SignalKind};

/// A snappy block with a remote-write 1.0 request, as received (flags 0), or written by ourselves in
/// that form with start timestamps (flags 1).
pub const REMOTE_WRITE_1: u8 = 1;
/// A snappy block with a Loki push request (protobuf), as received or re-encoded from JSON or OTLP.
pub const LOKI_PUSH: u8 = 16;
/// An OTLP trace export request (protobuf), as received or re-encoded from another format.
pub const OTLP_TRACES: u8 = 32;
/// The same, in a zstd frame.
pub const OTLP_TRACES_ZSTD: u8 = 33;

/// Turns records into batches with the decoders of the doors.
#[derive(Debug, Default)]
pub struct Decoder;

impl RecordDecoder for Decoder {
    fn decode(
        &self,
        _signal: SignalKind,
        record: Record<'_>,
        sink: &mut dyn RecordSink,
    ) -> Result<(), String> {
        match record.kind {
            LOKI_PUSH => super::loki_push::replay(record, sink),
            REMOTE_WRITE_1 => super::remote_write::replay(record, sink),
            OTLP_TRACES | OTLP_TRACES_ZSTD => super::spans::replay(record, sink),
            kind => Err(format!("record of unknown kind {kind}")),
        }
    }
}
