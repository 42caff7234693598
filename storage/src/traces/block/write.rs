//! Writes spans, sorted by trace id and reception, as the files of a block.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, MapBuilder, MapFieldNames, RecordBatch,
    StringBuilder, TimestampNanosecondBuilder,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::super::code;
use super::super::filter::service_of;
use super::super::head::clamp_ns;
use super::super::table::Table;
use super::{FENCE_ROWS, INDEX_FILE, Index, SPANS_FILE, schema};
use crate::error::{Error, Result};
use crate::model::{AnyValue, Attribute, Resource, Scope, Span, TraceId};
use crate::signal::{BlockFiles, BlockStats};

/// Rows that are handed to the Parquet writer at once.
const BATCH_ROWS: usize = 2048;
/// Rows of a row group: what the Parquet writer holds in memory.
const GROUP_ROWS: usize = 64 * 1024;
/// Rows of a page: what a read by id decodes at least.
const PAGE_ROWS: usize = 2048;

/// Writes one block.
pub(in crate::traces) struct Writer<'a> {
    files: &'a mut dyn BlockFiles,
    parquet: ArrowWriter<Box<dyn Write + Send>>,
    columns: Columns,
    resources: Table<Resource>,
    scopes: Table<Scope>,
    operations: BTreeSet<(String, String, i32)>,
    fences: Vec<TraceId>,
    last_trace: Option<TraceId>,
    max_received: u64,
    stats: BlockStats,
    scratch: Vec<u8>,
}

struct Columns {
    rows: usize,
    trace_id: StringBuilder,
    span_id: StringBuilder,
    parent: StringBuilder,
    service: StringBuilder,
    name: StringBuilder,
    kind: StringBuilder,
    start: TimestampNanosecondBuilder,
    duration: Int64Builder,
    status: StringBuilder,
    status_message: StringBuilder,
    scope_name: StringBuilder,
    scope_version: StringBuilder,
    attributes: MapBuilder<StringBuilder, StringBuilder>,
    resource_attributes: MapBuilder<StringBuilder, StringBuilder>,
    received: Int64Builder,
    resource_id: Int32Builder,
    scope_id: Int32Builder,
    rest: BinaryBuilder,
}

impl<'a> Writer<'a> {
    /// # Errors
    /// What the disk says.
    pub(in crate::traces) fn new(files: &'a mut dyn BlockFiles) -> Result<Self> {
        let file = files.create(SPANS_FILE)?;
        let path = |name: &str| ColumnPath::from(name);
        let packed = Encoding::DELTA_BINARY_PACKED;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_write_batch_size(512)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_sorting_columns(Some(vec![SortingColumn {
                column_idx: 0,
                descending: false,
                nulls_first: false,
            }]));
        for name in ["start", "duration", "received"] {
            properties = properties
                .set_column_dictionary_enabled(path(name), false)
                .set_column_encoding(path(name), packed);
        }
        for name in ["span_id", "rest"] {
            properties = properties
                .set_column_dictionary_enabled(path(name), false)
                .set_column_statistics_enabled(path(name), EnabledStatistics::None);
        }
        let parquet = ArrowWriter::try_new(file, schema(), Some(properties.build()))?;
        Ok(Self {
            files,
            parquet,
            columns: Columns::new(),
            resources: Table::new(code::put_resource),
            scopes: Table::new(code::put_scope),
            operations: BTreeSet::new(),
            fences: Vec::new(),
            last_trace: None,
            max_received: 0,
            stats: BlockStats {
                min_time: i64::MAX,
                max_time: i64::MIN,
                ..BlockStats::default()
            },
            scratch: Vec::new(),
        })
    }

    /// Adds the next span.
    ///
    /// # Errors
    /// What the disk says.
    pub(in crate::traces) fn push(&mut self, received: u64, span: &Span) -> Result<()> {
        if (self.stats.rows as usize).is_multiple_of(FENCE_ROWS) {
            self.fences.push(span.trace_id);
        }
        if self.last_trace != Some(span.trace_id) {
            self.last_trace = Some(span.trace_id);
            self.stats.groups += 1;
        }
        let start = clamp_ns(span.start_ns);
        self.stats.rows += 1;
        self.stats.min_time = self.stats.min_time.min(start);
        self.stats.max_time = self.stats.max_time.max(start);
        self.max_received = self.max_received.max(received);
        let service = service_of(&span.resource);
        let operation = (service.to_owned(), span.name.clone(), span.kind.0);
        self.operations.insert(operation);
        let resource_id = self.resources.number(&span.resource);
        let scope_id = self.scopes.number(&span.scope);

        self.scratch.clear();
        put_types(&mut self.scratch, &span.attributes);
        code::put_span_rest(&mut self.scratch, span);
        let c = &mut self.columns;
        c.rows += 1;
        c.trace_id.append_value(span.trace_id.to_string());
        c.span_id.append_value(span.span_id.to_string());
        if span.parent_span_id.is_zero() {
            c.parent.append_null();
        } else {
            c.parent.append_value(span.parent_span_id.to_string());
        }
        c.service.append_value(service);
        c.name.append_value(&span.name);
        c.kind.append_value(code::kind_text(span.kind));
        c.start.append_value(span.start_ns as i64);
        c.duration
            .append_value(span.end_ns.wrapping_sub(span.start_ns) as i64);
        c.status.append_value(code::status_text(span.status_code));
        if span.status_message.is_empty() {
            c.status_message.append_null();
        } else {
            c.status_message.append_value(&span.status_message);
        }
        c.scope_name.append_value(&span.scope.name);
        c.scope_version.append_value(&span.scope.version);
        self.stats.raw_bytes += append_map(&mut c.attributes, &span.attributes)?;
        append_map(&mut c.resource_attributes, &span.resource.attributes)?;
        c.received.append_value(received as i64);
        c.resource_id.append_value(resource_id as i32);
        c.scope_id.append_value(scope_id as i32);
        c.rest.append_value(&self.scratch);
        self.stats.raw_bytes += (48 + span.name.len() + self.scratch.len()) as u64;
        if self.columns.rows >= BATCH_ROWS {
            self.write_batch()?;
        }
        Ok(())
    }

    /// Ends the files.
    ///
    /// # Errors
    /// What the disk says.
    pub(in crate::traces) fn finish(mut self) -> Result<BlockStats> {
        self.write_batch()?;
        self.parquet.close()?;
        let index = Index {
            rows: self.stats.rows as usize,
            max_received: self.max_received,
            fences: self.fences,
            resources: self.resources.values().to_vec(),
            scopes: self.scopes.values().to_vec(),
            operations: self.operations.into_iter().collect(),
        };
        let mut file = self.files.create(INDEX_FILE)?;
        file.write_all(&index.encode())
            .and_then(|()| file.flush())
            .map_err(Error::io(INDEX_FILE))?;
        Ok(self.stats)
    }

    fn write_batch(&mut self) -> Result<()> {
        if self.columns.rows > 0 {
            let batch = self.columns.finish()?;
            self.parquet.write(&batch)?;
        }
        Ok(())
    }
}

impl Columns {
    fn new() -> Self {
        let map = || {
            let names = MapFieldNames {
                entry: "key_value".to_owned(),
                key: "key".to_owned(),
                value: "value".to_owned(),
            };
            MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
        };
        Self {
            rows: 0,
            trace_id: StringBuilder::new(),
            span_id: StringBuilder::new(),
            parent: StringBuilder::new(),
            service: StringBuilder::new(),
            name: StringBuilder::new(),
            kind: StringBuilder::new(),
            start: TimestampNanosecondBuilder::new().with_timezone("UTC"),
            duration: Int64Builder::new(),
            status: StringBuilder::new(),
            status_message: StringBuilder::new(),
            scope_name: StringBuilder::new(),
            scope_version: StringBuilder::new(),
            attributes: map(),
            resource_attributes: map(),
            received: Int64Builder::new(),
            resource_id: Int32Builder::new(),
            scope_id: Int32Builder::new(),
            rest: BinaryBuilder::new(),
        }
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        self.rows = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
            Arc::new(self.parent.finish()),
            Arc::new(self.service.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(self.start.finish()),
            Arc::new(self.duration.finish()),
            Arc::new(self.status.finish()),
            Arc::new(self.status_message.finish()),
            Arc::new(self.scope_name.finish()),
            Arc::new(self.scope_version.finish()),
            Arc::new(self.attributes.finish()),
            Arc::new(self.resource_attributes.finish()),
            Arc::new(self.received.finish()),
            Arc::new(self.resource_id.finish()),
            Arc::new(self.scope_id.finish()),
            Arc::new(self.rest.finish()),
        ];
        Ok(RecordBatch::try_new(schema(), columns).map_err(parquet::errors::ParquetError::from)?)
    }
}

/// Appends attributes as text, each key once; the length of all text.
fn append_map(
    map: &mut MapBuilder<StringBuilder, StringBuilder>,
    attributes: &[Attribute],
) -> Result<u64> {
    let mut bytes = 0;
    for (i, a) in attributes.iter().enumerate() {
        if attributes[..i].iter().any(|b| b.key == a.key) {
            continue;
        }
        bytes += a.key.len();
        map.keys().append_value(&a.key);
        match &a.value {
            AnyValue::Empty => map.values().append_null(),
            AnyValue::String(s) => {
                bytes += s.len();
                map.values().append_value(s);
            }
            value => {
                let text = value.to_text();
                bytes += text.len();
                map.values().append_value(text);
            }
        }
    }
    map.append(true)
        .map_err(parquet::errors::ParquetError::from)?;
    Ok(bytes as u64)
}

/// What a map of text does not tell of attributes: 0 all are text; 1 and a byte for each; 2 and all of them, where a
/// key comes twice. See [`super::read`] for the other way.
fn put_types(out: &mut Vec<u8>, attributes: &[Attribute]) {
    let twice = |(i, a): (usize, &Attribute)| attributes[..i].iter().any(|b| b.key == a.key);
    if attributes.iter().enumerate().any(twice) {
        out.push(2);
        code::put_attributes(out, attributes);
        return;
    }
    if attributes
        .iter()
        .all(|a| matches!(a.value, AnyValue::String(_)))
    {
        out.push(0);
        return;
    }
    out.push(1);
    for a in attributes {
        match &a.value {
            AnyValue::String(_) => out.push(b's'),
            AnyValue::Bool(_) => out.push(b'b'),
            AnyValue::Int(_) => out.push(b'i'),
            AnyValue::Double(d)
                if a.value.to_text().parse::<f64>().map(f64::to_bits) == Ok(d.to_bits()) =>
            {
                out.push(b'd');
            }
            value => {
                out.push(b'x');
                code::put_value(out, value);
            }
        }
    }
}
