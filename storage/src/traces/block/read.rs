//! Reads blocks of traces: by id, by search, by time.
//!
//! A search asks the cheap columns first and the attributes of the rows that are left; only ids
//! come out, and the traces are read in a second pass for the hits alone.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int32Array, Int64Array, MapArray,
    RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use arrow::error::ArrowError;
use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, RowFilter,
    RowSelection,
};
use parquet::arrow::async_reader::{ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};

use super::super::code::{self, Input};
use super::super::filter::{ServiceMemo, SpanFilter};
use super::super::head::{CallRow, clamp_ns};
use super::{INDEX_FILE, Index, SPANS_FILE, column, corrupt};
use crate::block::{Block, BlockFile};
use crate::error::{Error, Result};
use crate::model::{AnyValue, Attribute, Span, SpanId, TraceId};

/// Rows decoded at once.
const BATCH_ROWS: usize = 1024;

/// The columns that make a span.
pub(super) const SPAN_COLUMNS: [usize; 13] = [
    column::TRACE_ID,
    column::SPAN_ID,
    column::PARENT,
    column::NAME,
    column::KIND,
    column::START,
    column::DURATION,
    column::STATUS,
    column::STATUS_MESSAGE,
    column::ATTRIBUTES,
    column::RECEIVED,
    column::RESOURCE_ID,
    column::REST,
];

/// A block's index, from the cache or read now.
pub(in crate::traces) async fn index(block: &Arc<Block>) -> Result<Arc<Index>> {
    let load = async {
        let size = block.file_size(INDEX_FILE)?;
        let bytes = block.read(INDEX_FILE, 0..size).await?;
        Ok((Index::decode(&bytes)?, size * 6))
    };
    block.cached("index", load).await
}

/// A stream over rows of the block. The mask is made from column positions.
pub(super) struct Rows {
    pub(super) stream: ParquetRecordBatchStream<BlockFile>,
}

impl Rows {
    pub(super) async fn open(
        block: &Arc<Block>,
        columns: &[usize],
        selection: Option<RowSelection>,
        filters: impl FnOnce(&dyn Fn(&[usize]) -> ProjectionMask) -> Vec<Box<dyn ArrowPredicate>>,
    ) -> Result<Self> {
        let file = block.parquet(SPANS_FILE)?;
        let metadata = file.metadata().await?;
        let metadata = ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new())?;
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(file, metadata)
            .with_batch_size(BATCH_ROWS);
        let mask = |columns: &[usize]| {
            ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied())
        };
        let projection = mask(columns);
        let filters = filters(&mask);
        builder = builder.with_projection(projection);
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        if !filters.is_empty() {
            builder = builder.with_row_filter(RowFilter::new(filters));
        }
        Ok(Self {
            stream: builder.build()?,
        })
    }

    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        Ok(self.stream.next().await.transpose()?)
    }
}

/// Columns of a batch, those that were asked for.
pub(super) struct SpanColumns<'a> {
    index: &'a Index,
    trace_id: Option<&'a StringArray>,
    span_id: Option<&'a StringArray>,
    parent: Option<&'a StringArray>,
    name: Option<&'a StringArray>,
    kind: Option<&'a StringArray>,
    start: Option<&'a TimestampNanosecondArray>,
    duration: Option<&'a Int64Array>,
    status: Option<&'a StringArray>,
    status_message: Option<&'a StringArray>,
    attributes: Option<&'a MapArray>,
    received: Option<&'a Int64Array>,
    resource_id: Option<&'a Int32Array>,
    scope_id: Option<&'a Int32Array>,
    rest: Option<&'a BinaryArray>,
}

impl<'a> SpanColumns<'a> {
    pub(super) fn new(index: &'a Index, batch: &'a RecordBatch) -> Self {
        let column = |name: &str| -> Option<&'a ArrayRef> { batch.column_by_name(name) };
        let text = |name: &str| column(name).and_then(|c| c.as_string_opt::<i32>());
        Self {
            index,
            trace_id: text("trace_id"),
            span_id: text("span_id"),
            parent: text("parent_span_id"),
            name: text("name"),
            kind: text("kind"),
            start: column("start").and_then(|c| c.as_primitive_opt::<TimestampNanosecondType>()),
            duration: column("duration").and_then(|c| c.as_primitive_opt::<Int64Type>()),
            status: text("status"),
            status_message: text("status_message"),
            attributes: column("attributes").and_then(|c| c.as_map_opt()),
            received: column("received").and_then(|c| c.as_primitive_opt::<Int64Type>()),
            resource_id: column("resource_id").and_then(|c| c.as_primitive_opt::<Int32Type>()),
            scope_id: column("scope_id").and_then(|c| c.as_primitive_opt::<Int32Type>()),
            rest: column("rest").and_then(|c| c.as_binary_opt::<i32>()),
        }
    }

    pub(super) fn received(&self, at: usize) -> u64 {
        self.received.map_or(0, |c| c.value(at) as u64)
    }

    pub(super) fn trace_id(&self, at: usize) -> Result<TraceId> {
        let text = self.trace_id.map(|c| c.value(at)).ok_or_else(corrupt)?;
        let id = u128::from_str_radix(text, 16).map_err(|_| corrupt())?;
        Ok(TraceId(id.to_be_bytes()))
    }

    fn start_ns(&self, at: usize) -> u64 {
        self.start.map_or(0, |c| c.value(at) as u64)
    }

    fn duration_ns(&self, at: usize) -> u64 {
        self.duration.map_or(0, |c| c.value(at) as u64)
    }

    /// The span of a row, with what columns there are.
    pub(super) fn span(&self, at: usize) -> Result<Span> {
        let mut span = Span {
            start_ns: self.start_ns(at),
            ..Span::default()
        };
        span.end_ns = span.start_ns.wrapping_add(self.duration_ns(at));
        if self.trace_id.is_some() {
            span.trace_id = self.trace_id(at)?;
        }
        if let Some(c) = self.span_id {
            span.span_id = span_id(c.value(at))?;
        }
        if let Some(c) = self.parent.filter(|c| !c.is_null(at)) {
            span.parent_span_id = span_id(c.value(at))?;
        }
        if let Some(c) = self.name {
            c.value(at).clone_into(&mut span.name);
        }
        if let Some(c) = self.kind {
            span.kind = code::kind_from_text(c.value(at))?;
        }
        if let Some(c) = self.status {
            span.status_code = code::status_from_text(c.value(at))?;
        }
        if let Some(c) = self.status_message.filter(|c| !c.is_null(at)) {
            c.value(at).clone_into(&mut span.status_message);
        }
        if let Some(c) = self.resource_id {
            span.resource = Arc::clone(self.index.resource(c.value(at))?);
        }
        if let Some(c) = self.scope_id {
            span.scope = Arc::clone(self.index.scope(c.value(at))?);
        }
        if let (Some(map), Some(rest)) = (self.attributes, self.rest) {
            let mut input = Input::new(rest.value(at));
            span.attributes = attributes(&map.value(at), &mut input)?;
            input.span_rest(&mut span)?;
        }
        Ok(span)
    }
}

fn span_id(text: &str) -> Result<SpanId> {
    let id = u64::from_str_radix(text, 16).map_err(|_| corrupt())?;
    Ok(SpanId(id.to_be_bytes()))
}

/// Attributes from their text and what `rest` says of their types.
fn attributes(
    entries: &arrow::array::StructArray,
    types: &mut Input<'_>,
) -> Result<Vec<Attribute>> {
    let how = types.byte()?;
    if how == 2 {
        return Ok(types.attributes()?);
    }
    let keys = entries.column(0).as_string_opt::<i32>();
    let values = entries.column(1).as_string_opt::<i32>();
    let (Some(keys), Some(values)) = (keys, values) else {
        return Err(corrupt());
    };
    let mut out = Vec::with_capacity(keys.len());
    for at in 0..keys.len() {
        let text = if values.is_null(at) {
            ""
        } else {
            values.value(at)
        };
        let kind = if how == 0 { b's' } else { types.byte()? };
        let value = match kind {
            b's' => AnyValue::String(text.to_owned()),
            b'b' => AnyValue::Bool(text == "true"),
            b'i' => AnyValue::Int(text.parse().map_err(|_| corrupt())?),
            b'd' => AnyValue::Double(text.parse().map_err(|_| corrupt())?),
            b'x' => types.value()?,
            _ => return Err(corrupt()),
        };
        out.push(Attribute {
            key: keys.value(at).to_owned(),
            value,
        });
    }
    Ok(out)
}

/// All spans of some traces (sorted ids), with their reception numbers.
pub(in crate::traces) async fn traces(
    block: &Arc<Block>,
    ids: &[TraceId],
    mut each: impl FnMut(u64, Span) -> Result<()>,
) -> Result<()> {
    let index = index(block).await?;
    let mut windows: Vec<std::ops::Range<usize>> = Vec::new();
    for window in ids.iter().map(|id| index.window(*id)) {
        if window.is_empty() {
            continue;
        }
        match windows.last_mut() {
            Some(last) if window.start <= last.end => last.end = last.end.max(window.end),
            _ => windows.push(window),
        }
    }
    if windows.is_empty() {
        return Ok(());
    }
    let selection = RowSelection::from_consecutive_ranges(windows.into_iter(), index.rows);
    let wanted: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let mut rows = Rows::open(block, &with_scope(&SPAN_COLUMNS), Some(selection), |mask| {
        let by_id = move |batch: RecordBatch| {
            let ids = text_column(&batch, 0)?;
            Ok(BooleanArray::from_unary(ids, |id| {
                wanted.binary_search_by(|w| w.as_str().cmp(id)).is_ok()
            }))
        };
        vec![Box::new(ArrowPredicateFn::new(mask(&[column::TRACE_ID]), by_id)) as _]
    })
    .await?;
    while let Some(batch) = rows.next().await? {
        let columns = SpanColumns::new(&index, &batch);
        for at in 0..batch.num_rows() {
            each(columns.received(at), columns.span(at)?)?;
        }
    }
    Ok(())
}

pub(super) fn with_scope(columns: &[usize]) -> Vec<usize> {
    let mut columns = columns.to_vec();
    columns.push(column::SCOPE_ID);
    columns
}

/// The traces with a span that passes: first reception of a passing span, and id.
pub(in crate::traces) async fn search(
    block: &Arc<Block>,
    filter: &SpanFilter,
) -> Result<HashMap<TraceId, u64>> {
    let index = index(block).await?;
    let mut found: HashMap<TraceId, u64> = HashMap::new();
    let known = |service_and_name: &(String, String, i32)| {
        filter.operation().is_none_or(|o| o == service_and_name.1)
    };
    let any_service = index.resources.iter().any(|r| filter.service(r));
    if !any_service || !index.operations.iter().any(known) {
        return Ok(found);
    }
    let out = [column::TRACE_ID, column::RECEIVED];
    let mut rows = Rows::open(block, &out, None, |mask| {
        let mut filters: Vec<Box<dyn ArrowPredicate>> = Vec::new();
        let cheap = [
            column::NAME,
            column::KIND,
            column::START,
            column::DURATION,
            column::STATUS,
            column::RESOURCE_ID,
        ];
        let (f, i) = (filter.clone(), Arc::clone(&index));
        let mut services = ServiceMemo::default();
        filters.push(Box::new(ArrowPredicateFn::new(
            mask(&cheap),
            move |batch| pass(&batch, |at, c| c.cheap(at, &f, &mut services), &i),
        )));
        if filter.needs_span() {
            let all = [
                column::KIND,
                column::STATUS,
                column::ATTRIBUTES,
                column::RESOURCE_ID,
                column::SCOPE_ID,
                column::REST,
            ];
            let (f, i) = (filter.clone(), Arc::clone(&index));
            filters.push(Box::new(ArrowPredicateFn::new(mask(&all), move |batch| {
                pass(&batch, |at, c| Ok(f.rest(&c.span(at)?)), &i)
            })));
        }
        filters
    })
    .await?;
    while let Some(batch) = rows.next().await? {
        let columns = SpanColumns::new(&index, &batch);
        for at in 0..batch.num_rows() {
            let received = columns.received(at);
            found
                .entry(columns.trace_id(at)?)
                .and_modify(|r| *r = received.min(*r))
                .or_insert(received);
        }
    }
    Ok(found)
}

impl SpanColumns<'_> {
    fn cheap(&self, at: usize, filter: &SpanFilter, services: &mut ServiceMemo) -> Result<bool> {
        let number = self.resource_id.map_or(-1, |c| c.value(at));
        let resource = self.index.resource(number)?;
        if !filter.times(clamp_ns(self.start_ns(at)), self.duration_ns(at))
            || !services.check(filter, number as u32, resource)
        {
            return Ok(false);
        }
        let name = self.name.map(|c| c.value(at));
        if filter
            .operation()
            .is_some_and(|wanted| name != Some(wanted))
        {
            return Ok(false);
        }
        let (Some(kind), Some(status)) = (self.kind, self.status) else {
            return Err(corrupt());
        };
        Ok(filter.numbers(
            code::kind_from_text(kind.value(at))?,
            code::status_from_text(status.value(at))?,
        ))
    }
}

fn pass(
    batch: &RecordBatch,
    mut check: impl FnMut(usize, &SpanColumns<'_>) -> Result<bool>,
    index: &Index,
) -> Result<BooleanArray, ArrowError> {
    let columns = SpanColumns::new(index, batch);
    let passed: Result<Vec<bool>> = (0..batch.num_rows())
        .map(|at| check(at, &columns))
        .collect();
    match passed {
        Ok(passed) => Ok(BooleanArray::from(passed)),
        Err(e) => Err(ArrowError::ExternalError(Box::new(e))),
    }
}

fn text_column(batch: &RecordBatch, at: usize) -> Result<&StringArray, ArrowError> {
    batch
        .column(at)
        .as_string_opt::<i32>()
        .ok_or_else(|| ArrowError::ExternalError(Box::new(corrupt())))
}

/// All spans with a start from `min_ns` to `max_ns`, in what a dependency graph needs.
pub(in crate::traces) async fn calls(
    block: &Arc<Block>,
    min_ns: i64,
    max_ns: i64,
    mut each: impl FnMut(CallRow) -> Result<()>,
) -> Result<()> {
    let index = index(block).await?;
    let columns = [
        column::TRACE_ID,
        column::SPAN_ID,
        column::PARENT,
        column::START,
        column::DURATION,
        column::RESOURCE_ID,
    ];
    let mut rows = Rows::open(block, &columns, None, |_| Vec::new()).await?;
    while let Some(batch) = rows.next().await? {
        let columns = SpanColumns::new(&index, &batch);
        for at in 0..batch.num_rows() {
            let start_ns = clamp_ns(columns.start_ns(at));
            if start_ns < min_ns || start_ns > max_ns {
                continue;
            }
            let span = columns.span(at)?;
            each(CallRow {
                trace_id: span.trace_id,
                span_id: span.span_id.0,
                parent: span.parent_span_id.0,
                service: span.resource,
                start_ns,
                end_ns: clamp_ns(span.end_ns),
            })?;
        }
    }
    Ok(())
}

impl From<ArrowError> for Error {
    fn from(e: ArrowError) -> Self {
        Self::Parquet(e.into())
    }
}
