//! The nouns that storage, the query languages and the program share: plain data without disk,
//! async or locks. One noun a file.

mod attribute_text;
mod batch;
mod entry;
mod histogram;
mod labels;
mod matcher;
mod metadata;
mod regex_syntax;
mod sample;
mod span;
mod tenant;
mod time;

pub use attribute_text::{push_json_float, push_json_string};
pub use batch::{
    BatchEntry, BatchExemplar, BatchSeries, BatchStream, LabelError, LabelPairs, LogBatch,
    LogReport, MetricBatch, MetricReport, Record, RefuseReason, RefusedSample, SpanBatch,
    SpanReport,
};
pub use entry::{EntryBuf, EntryView, Stream, StreamRef};
pub use histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint, Span as BucketSpan};
pub use labels::{Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use metadata::{Exemplar, ExemplarSeries, Metadata, MetricType};
pub use regex_syntax::{compile_anchored, compile_search, translate as translate_go_regex};
pub use sample::{NO_START_MS, STALE_NAN, STALE_NAN_BITS, SampleBuf, is_stale};
pub use span::{
    AnyValue, Attribute, Link, Resource, Scope, Span, SpanEvent, SpanId, SpanKind, StatusCode,
    Trace, TraceId,
};
pub use tenant::{Tenant, TenantError};
pub use time::{MsRange, NsRange};
