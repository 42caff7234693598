//! The series table of a block, as rows. Readers from outside use it; the server itself asks the index made of the same rows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Int64Array, MapArray, MapBuilder, MapFieldNames, RecordBatch, StringArray,
    StringBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use futures::TryStreamExt;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::basic::Encoding;
use parquet::schema::types::ColumnPath;

use super::writer::{FileWriter, create, write_columns};
use super::{OpenBlock, SERIES_FILE, properties};
use crate::block::Block;
use crate::error::Result;
use crate::model::{Labels, METRIC_NAME};
use crate::signal::BlockFiles;

const ROW_GROUP_ROWS: usize = 1 << 16;
const BATCH_ROWS: usize = 1 << 13;

/// A row of the table.
#[derive(Clone, Debug)]
pub(super) struct SeriesRow {
    pub(super) id: i64,
    pub(super) labels: Labels,
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    pub(super) first_row: u64,
    pub(super) rows: u64,
    pub(super) first_histogram_row: u64,
    pub(super) histogram_rows: u64,
}

/// Names of the numeric columns after the labels.
const NUMBERS: [&str; 6] = [
    "min_time",
    "max_time",
    "first_row",
    "rows",
    "first_histogram_row",
    "histogram_rows",
];

fn schema() -> SchemaRef {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    let entries = Field::new("key_value", DataType::Struct(entries), false);
    let mut fields = vec![
        Field::new("series_id", DataType::Int64, false),
        Field::new(METRIC_NAME, DataType::Utf8, true),
        Field::new("labels", DataType::Map(Arc::new(entries), false), false),
    ];
    fields.extend(NUMBERS.map(|name| Field::new(name, DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}

/// Writes the table, row by row, sorted by labels.
pub(super) struct SeriesWriter {
    writer: FileWriter,
    schema: SchemaRef,
    rows: Vec<SeriesRow>,
}

impl SeriesWriter {
    pub(super) fn new(files: &mut dyn BlockFiles) -> Result<Self> {
        let schema = schema();
        let mut properties = properties(ROW_GROUP_ROWS);
        for name in NUMBERS {
            properties = properties
                .set_column_dictionary_enabled(ColumnPath::from(name), false)
                .set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
        }
        properties = properties.set_column_dictionary_enabled(ColumnPath::from("series_id"), false);
        Ok(Self {
            writer: create(files, SERIES_FILE, Arc::clone(&schema), properties)?,
            schema,
            rows: Vec::new(),
        })
    }

    pub(super) fn push(&mut self, row: SeriesRow) -> Result<()> {
        self.rows.push(row);
        match self.rows.len() < BATCH_ROWS {
            true => Ok(()),
            false => self.write_rows(),
        }
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.write_rows()?;
        self.writer.close()?;
        Ok(())
    }

    fn write_rows(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let names = MapFieldNames {
            entry: "key_value".to_owned(),
            key: "key".to_owned(),
            value: "value".to_owned(),
        };
        let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
        for row in &rows {
            for (name, value) in row.labels.iter().filter(|(n, _)| *n != METRIC_NAME) {
                labels.keys().append_value(name);
                labels.values().append_value(value);
            }
            labels
                .append(true)
                .map_err(|e| parquet::errors::ParquetError::ArrowError(e.to_string()))?;
        }
        let numbers = |f: fn(&SeriesRow) -> i64| -> ArrayRef {
            Arc::new(rows.iter().map(|r| Some(f(r))).collect::<Int64Array>())
        };
        let names: StringArray = rows.iter().map(|r| r.labels.metric_name()).collect();
        let columns: Vec<ArrayRef> = vec![
            numbers(|r| r.id),
            Arc::new(names),
            Arc::new(labels.finish()),
            numbers(|r| r.min_ms),
            numbers(|r| r.max_ms),
            numbers(|r| r.first_row as i64),
            numbers(|r| r.rows as i64),
            numbers(|r| r.first_histogram_row as i64),
            numbers(|r| r.histogram_rows as i64),
        ];
        write_columns(&mut self.writer, &self.schema, columns)
    }
}

/// Hands the rows of a block's table to a function, in order.
///
/// # Errors
/// `Corrupt`, `Parquet`, what the object store says, or what the function says.
pub(super) async fn read_rows(
    block: &Arc<Block>,
    mut f: impl FnMut(SeriesRow) -> Result<()>,
) -> Result<()> {
    let mut stream = ParquetRecordBatchStreamBuilder::new(block.parquet(SERIES_FILE)?)
        .await?
        .with_batch_size(BATCH_ROWS)
        .build()?;
    while let Some(batch) = stream.try_next().await? {
        let rows = rows_of(&batch)
            .ok_or_else(|| OpenBlock::corrupt(block, SERIES_FILE, "not a table of series"))?;
        rows.into_iter().try_for_each(&mut f)?;
    }
    Ok(())
}

fn rows_of(batch: &RecordBatch) -> Option<Vec<SeriesRow>> {
    let column = |name: &str| batch.column_by_name(name);
    let text = |array: &ArrayRef| array.as_any().downcast_ref::<StringArray>().cloned();
    let names = text(column(METRIC_NAME)?)?;
    let labels = column("labels")?.as_any().downcast_ref::<MapArray>()?;
    let (keys, values) = (text(labels.keys())?, text(labels.values())?);
    let integers = |name| column(name)?.as_any().downcast_ref::<Int64Array>();
    let ids = integers("series_id")?;
    let mut numbers = Vec::with_capacity(NUMBERS.len());
    for name in NUMBERS {
        numbers.push(integers(name)?);
    }
    let mut rows = Vec::with_capacity(batch.num_rows());
    let mut set: Vec<(&str, &str)> = Vec::new();
    for i in 0..batch.num_rows() {
        set.clear();
        let offsets = labels.value_offsets();
        for at in *offsets.get(i)? as usize..*offsets.get(i + 1)? as usize {
            set.push((keys.value(at), values.value(at)));
        }
        if names.is_valid(i) {
            set.push((METRIC_NAME, names.value(i)));
        }
        let number = |n: usize| numbers.get(n).map(|a| a.value(i));
        let unsigned = |n: usize| u64::try_from(number(n)?).ok();
        rows.push(SeriesRow {
            id: ids.value(i),
            labels: Labels::from_pairs(set.iter().copied()),
            min_ms: number(0)?,
            max_ms: number(1)?,
            first_row: unsigned(2)?,
            rows: unsigned(3)?,
            first_histogram_row: unsigned(4)?,
            histogram_rows: unsigned(5)?,
        });
    }
    Some(rows)
}
