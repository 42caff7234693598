//! The table of native histograms: one row a sample, every field exact.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, Float64Builder, Int32Builder, Int64Builder,
    ListBuilder, PrimitiveArray, PrimitiveBuilder, RecordBatch,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Float64Type, Int32Type, Int64Type, Schema, SchemaRef,
};
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::file::properties::WriterPropertiesBuilder;
use smallvec::SmallVec;

use super::writer::{FileWriter, write_columns};
use super::{HISTOGRAMS_FILE, OpenBlock, properties};
use crate::block::Block;
use crate::codec::histogram::{HistogramEncoder, HistogramSample, bucket_count};
use crate::error::Result;
use crate::metrics::runs::{Piece, Run};
use crate::model::{BucketSpan, Counts, Histogram, NO_START_MS, ResetHint};

const PAGE_ROWS: usize = 1024;
const ROW_GROUP_ROWS: usize = 64 * PAGE_ROWS;
/// Samples of a chunk that rows are recoded to.
const CHUNK_SAMPLES: usize = 120;

/// Collects rows and writes them page by page.
pub(super) struct HistogramRows {
    writer: FileWriter,
    schema: SchemaRef,
    rows: u64,
    columns: Columns,
}

#[derive(Default)]
struct Columns {
    series_id: Int64Builder,
    timestamp: Int64Builder,
    start_timestamp: Int64Builder,
    reset_hint: Int32Builder,
    schema: Int32Builder,
    zero_threshold: Float64Builder,
    sum: Float64Builder,
    count: Int64Builder,
    count_float: Float64Builder,
    zero_count: Int64Builder,
    zero_count_float: Float64Builder,
    positive_offsets: ListBuilder<Int32Builder>,
    positive_lengths: ListBuilder<Int64Builder>,
    positive_deltas: ListBuilder<Int64Builder>,
    positive_counts: ListBuilder<Float64Builder>,
    negative_offsets: ListBuilder<Int32Builder>,
    negative_lengths: ListBuilder<Int64Builder>,
    negative_deltas: ListBuilder<Int64Builder>,
    negative_counts: ListBuilder<Float64Builder>,
    custom_values: ListBuilder<Float64Builder>,
}

/// The columns after `series_id`, `timestamp` and `start_timestamp`: name, type, whether it is a list. The order of [`Columns`].
const FIELDS: [(&str, DataType, bool); 17] = [
    ("reset_hint", DataType::Int32, false),
    ("schema", DataType::Int32, false),
    ("zero_threshold", DataType::Float64, false),
    ("sum", DataType::Float64, false),
    ("count", DataType::Int64, false),
    ("count_float", DataType::Float64, false),
    ("zero_count", DataType::Int64, false),
    ("zero_count_float", DataType::Float64, false),
    ("positive_offsets", DataType::Int32, true),
    ("positive_lengths", DataType::Int64, true),
    ("positive_deltas", DataType::Int64, true),
    ("positive_counts", DataType::Float64, true),
    ("negative_offsets", DataType::Int32, true),
    ("negative_lengths", DataType::Int64, true),
    ("negative_deltas", DataType::Int64, true),
    ("negative_counts", DataType::Float64, true),
    ("custom_values", DataType::Float64, true),
];

impl HistogramRows {
    /// Schema and properties of the file.
    pub(super) fn layout() -> (SchemaRef, WriterPropertiesBuilder) {
        let mut fields = vec![
            Field::new("series_id", DataType::Int64, false),
            Field::new("timestamp", DataType::Int64, false),
            Field::new("start_timestamp", DataType::Int64, true),
        ];
        fields.extend(FIELDS.map(|(name, kind, list)| {
            if list {
                let item = Field::new("item", kind, true);
                Field::new(name, DataType::List(Arc::new(item)), true)
            } else {
                Field::new(name, kind, true)
            }
        }));
        let properties = properties(ROW_GROUP_ROWS)
            .set_write_batch_size(PAGE_ROWS)
            .set_data_page_row_count_limit(PAGE_ROWS);
        (Arc::new(Schema::new(fields)), properties)
    }

    pub(super) fn new(writer: FileWriter) -> Self {
        let (schema, _) = Self::layout();
        Self {
            writer,
            schema,
            rows: 0,
            columns: Columns::default(),
        }
    }

    /// Rows so far.
    pub(super) const fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn push(
        &mut self,
        series_id: i64,
        t_ms: i64,
        start_ms: i64,
        h: &Histogram,
    ) -> Result<()> {
        self.columns.push(series_id, t_ms, start_ms, h);
        self.rows += 1;
        if self.columns.timestamp.len() >= PAGE_ROWS {
            self.write_page()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.write_page()?;
        self.writer.close()?;
        Ok(())
    }

    fn write_page(&mut self) -> Result<()> {
        let columns = self.columns.finish();
        write_columns(&mut self.writer, &self.schema, columns)
    }
}

impl Columns {
    fn push(&mut self, series_id: i64, t_ms: i64, start_ms: i64, h: &Histogram) {
        self.series_id.append_value(series_id);
        self.timestamp.append_value(t_ms);
        self.start_timestamp
            .append_option((start_ms != NO_START_MS).then_some(start_ms));
        self.reset_hint.append_value(h.reset_hint as i32);
        self.schema.append_value(h.schema);
        self.zero_threshold.append_value(h.zero_threshold);
        self.sum.append_value(h.sum);
        let spans = |spans: &[BucketSpan]| -> (Vec<i32>, Vec<i64>) {
            let one = |s: &BucketSpan| (s.offset, i64::from(s.length));
            spans.iter().map(one).unzip()
        };
        let (offsets, lengths) = spans(&h.positive_spans);
        push_list(&mut self.positive_offsets, Some(&offsets));
        push_list(&mut self.positive_lengths, Some(&lengths));
        let (offsets, lengths) = spans(&h.negative_spans);
        push_list(&mut self.negative_offsets, Some(&offsets));
        push_list(&mut self.negative_lengths, Some(&lengths));
        push_list(&mut self.custom_values, Some(&h.custom_values));
        match &h.counts {
            Counts::Integer {
                count,
                zero_count,
                positive,
                negative,
            } => {
                self.count.append_value(*count as i64);
                self.zero_count.append_value(*zero_count as i64);
                self.count_float.append_null();
                self.zero_count_float.append_null();
                push_list(&mut self.positive_deltas, Some(positive));
                push_list(&mut self.negative_deltas, Some(negative));
                push_list(&mut self.positive_counts, None);
                push_list(&mut self.negative_counts, None);
            }
            Counts::Float {
                count,
                zero_count,
                positive,
                negative,
            } => {
                self.count.append_null();
                self.zero_count.append_null();
                self.count_float.append_value(*count);
                self.zero_count_float.append_value(*zero_count);
                push_list(&mut self.positive_deltas, None);
                push_list(&mut self.negative_deltas, None);
                push_list(&mut self.positive_counts, Some(positive));
                push_list(&mut self.negative_counts, Some(negative));
            }
        }
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let all: [&mut dyn ArrayBuilder; 20] = [
            &mut self.series_id,
            &mut self.timestamp,
            &mut self.start_timestamp,
            &mut self.reset_hint,
            &mut self.schema,
            &mut self.zero_threshold,
            &mut self.sum,
            &mut self.count,
            &mut self.count_float,
            &mut self.zero_count,
            &mut self.zero_count_float,
            &mut self.positive_offsets,
            &mut self.positive_lengths,
            &mut self.positive_deltas,
            &mut self.positive_counts,
            &mut self.negative_offsets,
            &mut self.negative_lengths,
            &mut self.negative_deltas,
            &mut self.negative_counts,
            &mut self.custom_values,
        ];
        all.map(|builder| builder.finish()).into()
    }
}

fn push_list<T: ArrowPrimitiveType>(
    list: &mut ListBuilder<PrimitiveBuilder<T>>,
    values: Option<&[T::Native]>,
) {
    if let Some(values) = values {
        list.values().append_slice(values);
    }
    list.append(values.is_some());
}

/// Reads ascending ranges of rows and recodes each as a run of chunks.
pub(super) async fn fetch(block: &Arc<Block>, rows: &[Range<u64>]) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = rows.iter().map(|_| Run(SmallVec::new())).collect();
    if rows.iter().all(Range::is_empty) {
        return Ok(runs);
    }
    let mut selectors = Vec::new();
    let mut at = 0_u64;
    for range in rows {
        if range.start > at {
            selectors.push(RowSelector::skip((range.start - at) as usize));
        }
        if range.end > at.max(range.start) {
            selectors.push(RowSelector::select((range.end - range.start) as usize));
        }
        at = at.max(range.end);
    }
    let mut stream = ParquetRecordBatchStreamBuilder::new(block.parquet(HISTOGRAMS_FILE)?)
        .await?
        .with_row_selection(RowSelection::from(selectors))
        .with_batch_size(PAGE_ROWS)
        .build()?;
    let mut wanted = rows
        .iter()
        .enumerate()
        .flat_map(|(i, r)| r.clone().map(move |_| i));
    let mut encoder = HistogramEncoder::default();
    let mut current = None;
    while let Some(batch) = stream.try_next().await? {
        let corrupt = || OpenBlock::corrupt(block, HISTOGRAMS_FILE, "not a table of histograms");
        let reader = Reader::new(&batch).ok_or_else(corrupt)?;
        for i in 0..batch.num_rows() {
            let run = wanted.next();
            if run != current || encoder.len() >= CHUNK_SAMPLES {
                seal(&mut encoder, current, &mut runs);
                current = run;
            }
            encoder.push(reader.sample(i).ok_or_else(corrupt)?);
        }
    }
    seal(&mut encoder, current, &mut runs);
    Ok(runs)
}

fn seal(encoder: &mut HistogramEncoder, run: Option<usize>, runs: &mut [Run]) {
    if let Some(run) = run.and_then(|i| runs.get_mut(i))
        && !encoder.is_empty()
    {
        run.0.push(Piece::Chunk(encoder.to_bytes()));
    }
    *encoder = HistogramEncoder::default();
}

struct Reader<'a>(&'a RecordBatch);

impl<'a> Reader<'a> {
    fn new(batch: &'a RecordBatch) -> Option<Self> {
        let fields_match = FIELDS.iter().all(|(name, kind, list)| {
            batch
                .column_by_name(name)
                .is_some_and(|c| match c.data_type() {
                    DataType::List(item) => *list && item.data_type() == kind,
                    found => !*list && found == kind,
                })
        });
        fields_match.then_some(Self(batch))
    }

    fn number<T: ArrowPrimitiveType>(&self, name: &str, i: usize) -> Option<T::Native> {
        let column: &PrimitiveArray<T> = self.0.column_by_name(name)?.as_primitive_opt()?;
        column.is_valid(i).then(|| column.value(i))
    }

    fn list<T: ArrowPrimitiveType>(&self, name: &str, i: usize) -> Option<Vec<T::Native>> {
        let column = self.0.column_by_name(name)?.as_list_opt::<i32>()?;
        if !column.is_valid(i) {
            return None;
        }
        let values = column.value(i);
        let values: &PrimitiveArray<T> = values.as_primitive_opt()?;
        Some(values.values().to_vec())
    }

    fn spans(&self, offsets: &str, lengths: &str, i: usize) -> Option<Vec<BucketSpan>> {
        let offsets = self.list::<Int32Type>(offsets, i)?;
        let lengths = self.list::<Int64Type>(lengths, i)?;
        let spans = std::iter::zip(&offsets, &lengths).map(|(&offset, &length)| {
            Some(BucketSpan {
                offset,
                length: u32::try_from(length).ok()?,
            })
        });
        let spans: Vec<BucketSpan> = spans.collect::<Option<_>>()?;
        (offsets.len() == lengths.len()).then_some(spans)
    }

    fn sample(&self, i: usize) -> Option<HistogramSample> {
        let counts = match self.number::<Int64Type>("count", i) {
            Some(count) => Counts::Integer {
                count: count as u64,
                zero_count: self.number::<Int64Type>("zero_count", i)? as u64,
                positive: self.list::<Int64Type>("positive_deltas", i)?,
                negative: self.list::<Int64Type>("negative_deltas", i)?,
            },
            None => Counts::Float {
                count: self.number::<Float64Type>("count_float", i)?,
                zero_count: self.number::<Float64Type>("zero_count_float", i)?,
                positive: self.list::<Float64Type>("positive_counts", i)?,
                negative: self.list::<Float64Type>("negative_counts", i)?,
            },
        };
        let hint = self.number::<Int32Type>("reset_hint", i)?;
        let histogram = Histogram {
            reset_hint: ResetHint::from_number(u64::try_from(hint).ok()?),
            schema: self.number::<Int32Type>("schema", i)?,
            zero_threshold: self.number::<Float64Type>("zero_threshold", i)?,
            sum: self.number::<Float64Type>("sum", i)?,
            positive_spans: self.spans("positive_offsets", "positive_lengths", i)?,
            negative_spans: self.spans("negative_offsets", "negative_lengths", i)?,
            custom_values: self.list::<Float64Type>("custom_values", i)?,
            counts,
        };
        let (positive, negative) = match &histogram.counts {
            Counts::Integer {
                positive, negative, ..
            } => (positive.len(), negative.len()),
            Counts::Float {
                positive, negative, ..
            } => (positive.len(), negative.len()),
        };
        let whole = bucket_count(&histogram.positive_spans) == positive as u64
            && bucket_count(&histogram.negative_spans) == negative as u64;
        whole.then_some(HistogramSample {
            t_ms: self.number::<Int64Type>("timestamp", i)?,
            start_ms: self
                .number::<Int64Type>("start_timestamp", i)
                .unwrap_or(NO_START_MS),
            histogram: Arc::new(histogram),
        })
    }
}
