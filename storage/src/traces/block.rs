//! Blocks of traces: a Parquet file with one row a span, and a small index beside it.
//!
//! ```text
//!  spans.parquet   sorted by trace id and reception; every column is plain but `rest`:
//!    trace_id span_id parent_span_id   text, hexadecimal
//!    service name kind status status_message scope_name scope_version   text
//!    start       timestamp in nanoseconds     duration   nanoseconds
//!    attributes resource_attributes           map of text to text
//!    received                                 order of arrival
//!    resource_id scope_id                     position in the index's lists
//!    rest        what the others cannot say: types of attributes, events, links, flags
//!  index.bin       "TLTX", version, then zstd of: rows, receptions, every 512th trace id,
//!                  resources, scopes, operations
//! ```
//!
//! Invariant: a span read from a block equals the span that was written, bit for bit.

mod merge;
mod read;
mod write;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use super::code::{self, Input};
use crate::error::{Error, Result};
use crate::model::{Resource, Scope, TraceId};
use crate::read::ReadError;

pub(super) use merge::merge;
pub(super) use read::{calls, index, search, traces};
pub(super) use write::Writer;

const SPANS_FILE: &str = "spans.parquet";
const INDEX_FILE: &str = "index.bin";
const INDEX_MAGIC: &[u8; 4] = b"TLTX";
const INDEX_VERSION: u8 = 1;
/// Distance of the trace ids in the index. A read by id decodes at most so many rows on either side.
const FENCE_ROWS: usize = 512;

/// Columns by their position; those that are written for other readers only have no name here.
mod column {
    pub(super) const TRACE_ID: usize = 0;
    pub(super) const SPAN_ID: usize = 1;
    pub(super) const PARENT: usize = 2;
    pub(super) const NAME: usize = 4;
    pub(super) const KIND: usize = 5;
    pub(super) const START: usize = 6;
    pub(super) const DURATION: usize = 7;
    pub(super) const STATUS: usize = 8;
    pub(super) const STATUS_MESSAGE: usize = 9;
    pub(super) const ATTRIBUTES: usize = 12;
    pub(super) const RECEIVED: usize = 14;
    pub(super) const RESOURCE_ID: usize = 15;
    pub(super) const SCOPE_ID: usize = 16;
    pub(super) const REST: usize = 17;
}

fn map_type() -> DataType {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    let entry = Field::new("key_value", DataType::Struct(entries), false);
    DataType::Map(Arc::new(entry), false)
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        text("trace_id"),
        text("span_id"),
        Field::new("parent_span_id", DataType::Utf8, true),
        text("service"),
        text("name"),
        text("kind"),
        Field::new("start", time, false),
        Field::new("duration", DataType::Int64, false),
        text("status"),
        Field::new("status_message", DataType::Utf8, true),
        text("scope_name"),
        text("scope_version"),
        Field::new("attributes", map_type(), false),
        Field::new("resource_attributes", map_type(), false),
        Field::new("received", DataType::Int64, false),
        Field::new("resource_id", DataType::Int32, false),
        Field::new("scope_id", DataType::Int32, false),
        Field::new("rest", DataType::Binary, false),
    ]))
}

/// What a query wants to know of a block before it reads rows. Kept in the cache.
pub(super) struct Index {
    pub(super) rows: usize,
    pub(super) max_received: u64,
    /// Trace id of every 512th row, from the first.
    fences: Vec<TraceId>,
    resources: Vec<Arc<Resource>>,
    scopes: Vec<Arc<Scope>>,
    /// Service, operation, kind; sorted.
    pub(super) operations: Vec<(String, String, i32)>,
}

impl Index {
    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        code::put_uvarint(&mut body, self.rows as u64);
        code::put_uvarint(&mut body, self.max_received);
        code::put_uvarint(&mut body, self.fences.len() as u64);
        for id in &self.fences {
            body.extend_from_slice(&id.0);
        }
        code::put_uvarint(&mut body, self.resources.len() as u64);
        for resource in &self.resources {
            code::put_resource(&mut body, resource);
        }
        code::put_uvarint(&mut body, self.scopes.len() as u64);
        for scope in &self.scopes {
            code::put_scope(&mut body, scope);
        }
        code::put_uvarint(&mut body, self.operations.len() as u64);
        for (service, name, kind) in &self.operations {
            code::put_text(&mut body, service);
            code::put_text(&mut body, name);
            body.extend_from_slice(&kind.to_le_bytes());
        }
        let mut out = INDEX_MAGIC.to_vec();
        out.push(INDEX_VERSION);
        code::put_uvarint(&mut out, body.len() as u64);
        match zstd::bulk::compress(&body, 3) {
            Ok(packed) => {
                out.push(1);
                out.extend_from_slice(&packed);
            }
            Err(_) => {
                out.push(0);
                out.extend_from_slice(&body);
            }
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        let bad = || ReadError(format!("{INDEX_FILE} of a block of traces"));
        let rest = bytes.strip_prefix(INDEX_MAGIC).ok_or_else(bad)?;
        let mut head = Input::new(rest);
        if head.byte()? != INDEX_VERSION {
            return Err(bad());
        }
        let size = usize::try_from(head.uvarint()?).map_err(|_| bad())?;
        let packed = head.byte()? == 1;
        let body = if packed {
            zstd::bulk::decompress(head.left(), size).map_err(|_| bad())?
        } else {
            head.left().to_vec()
        };
        let mut input = Input::new(&body);
        let rows = usize::try_from(input.uvarint()?).map_err(|_| bad())?;
        let max_received = input.uvarint()?;
        let n = input.count()?;
        let fences = (0..n)
            .map(|_| Ok(TraceId(input.fixed()?)))
            .collect::<Result<_, ReadError>>()?;
        let n = input.count()?;
        let resources = (0..n)
            .map(|_| input.resource().map(Arc::new))
            .collect::<Result<_, ReadError>>()?;
        let n = input.count()?;
        let scopes = (0..n)
            .map(|_| input.scope().map(Arc::new))
            .collect::<Result<_, ReadError>>()?;
        let n = input.count()?;
        let operations = (0..n)
            .map(|_| {
                let service = input.text()?.to_owned();
                let name = input.text()?.to_owned();
                Ok((service, name, i32::from_le_bytes(input.fixed()?)))
            })
            .collect::<Result<_, ReadError>>()?;
        Ok(Self {
            rows,
            max_received,
            fences,
            resources,
            scopes,
            operations,
        })
    }

    /// Rows among which a trace's rows lie, if there are any.
    fn window(&self, id: TraceId) -> std::ops::Range<usize> {
        let from = self.fences.partition_point(|f| *f < id).saturating_sub(1);
        let to = self.fences.partition_point(|f| *f <= id);
        let rows = |fence: usize| (fence * FENCE_ROWS).min(self.rows);
        rows(from)..rows(to)
    }

    fn resource(&self, number: i32) -> Result<&Arc<Resource>> {
        let at = usize::try_from(number).ok();
        at.and_then(|n| self.resources.get(n)).ok_or_else(corrupt)
    }

    fn scope(&self, number: i32) -> Result<&Arc<Scope>> {
        let at = usize::try_from(number).ok();
        at.and_then(|n| self.scopes.get(n)).ok_or_else(corrupt)
    }
}

fn corrupt() -> Error {
    Error::Corrupt {
        file: SPANS_FILE.to_owned(),
        offset: 0,
        reason: "a row that cannot be".to_owned(),
    }
}
