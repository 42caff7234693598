//! The series table of a block: written from rows, read back as an index from matchers to runs of rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Int64Array, MapArray, MapBuilder, MapFieldNames, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use futures::TryStreamExt;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::basic::Encoding;
use parquet::schema::types::ColumnPath;
use roaring::RoaringBitmap;

use super::writer::{create, write_columns};
use super::{OpenBlock, SERIES_FILE, properties};
use crate::block::Block;
use crate::error::Result;
use crate::index::Index;
use crate::model::{Labels, METRIC_NAME, Matcher, MsRange};
use crate::signal::BlockFiles;

const ROW_GROUP_ROWS: usize = 1 << 16;
const BATCH_ROWS: usize = 1 << 13;

/// A row of the table.
#[derive(Debug)]
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

/// Writes the table. Rows are sorted by labels.
pub(super) fn write_series(files: &mut dyn BlockFiles, rows: &[SeriesRow]) -> Result<()> {
    let schema = schema();
    let mut properties = properties(ROW_GROUP_ROWS);
    for name in NUMBERS {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    properties = properties.set_column_dictionary_enabled(ColumnPath::from("series_id"), false);
    let mut writer = create(files, SERIES_FILE, Arc::clone(&schema), properties)?;
    for rows in rows.chunks(BATCH_ROWS) {
        let names = MapFieldNames {
            entry: "key_value".to_owned(),
            key: "key".to_owned(),
            value: "value".to_owned(),
        };
        let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
        for row in rows {
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
        write_columns(&mut writer, &schema, columns)?;
    }
    writer.close()?;
    Ok(())
}

/// The table in memory. Ids are rows of the table, so they ascend with the labels.
#[derive(Debug, Default)]
pub(in crate::metrics) struct SeriesTable {
    pub(in crate::metrics) index: Index,
    times: Vec<(i64, i64)>,
    rows: Vec<(u64, u32)>,
    /// Empty when no series has histograms.
    histogram_rows: Vec<(u64, u32)>,
}

impl SeriesTable {
    /// Reads the table of a block.
    ///
    /// # Errors
    /// `Corrupt`, `Parquet`, or what the object store says.
    pub(super) async fn read(block: &Arc<Block>) -> Result<Self> {
        let mut stream = ParquetRecordBatchStreamBuilder::new(block.parquet(SERIES_FILE)?)
            .await?
            .with_batch_size(BATCH_ROWS)
            .build()?;
        let mut table = Self::default();
        while let Some(batch) = stream.try_next().await? {
            table
                .add(&batch)
                .ok_or_else(|| OpenBlock::corrupt(block, SERIES_FILE, "not a table of series"))?;
        }
        if table.histogram_rows.iter().all(|(_, n)| *n == 0) {
            table.histogram_rows = Vec::new();
        }
        Ok(table)
    }

    fn add(&mut self, batch: &arrow::array::RecordBatch) -> Option<()> {
        let column = |name: &str| batch.column_by_name(name);
        let text = |array: &ArrayRef| array.as_any().downcast_ref::<StringArray>().cloned();
        let names = text(column(METRIC_NAME)?)?;
        let labels = column("labels")?.as_any().downcast_ref::<MapArray>()?;
        let (keys, values) = (text(labels.keys())?, text(labels.values())?);
        let mut numbers = Vec::with_capacity(NUMBERS.len());
        for name in NUMBERS {
            numbers.push(column(name)?.as_any().downcast_ref::<Int64Array>()?);
        }
        let mut set: Vec<(&str, &str)> = Vec::new();
        for i in 0..batch.num_rows() {
            set.clear();
            let offsets = labels.value_offsets();
            for at in *offsets.get(i)? as usize..*offsets.get(i + 1)? as usize {
                set.push((keys.value(at), values.value(at)));
            }
            if names.is_valid(i) {
                let at = set.partition_point(|(name, _)| *name < METRIC_NAME);
                set.insert(at, (METRIC_NAME, names.value(i)));
            }
            if !self.index.insert(&set).1 {
                return None;
            }
            let number = |n: usize| numbers.get(n).map(|a| a.value(i));
            let (Ok(first), Ok(rows)) = (u64::try_from(number(2)?), u32::try_from(number(3)?))
            else {
                return None;
            };
            let (Ok(first_h), Ok(rows_h)) = (u64::try_from(number(4)?), u32::try_from(number(5)?))
            else {
                return None;
            };
            self.times.push((number(0)?, number(1)?));
            self.rows.push((first, rows));
            self.histogram_rows.push((first_h, rows_h));
        }
        Some(())
    }

    /// Bytes held.
    pub(super) fn held_bytes(&self) -> usize {
        self.index.held_bytes()
            + self.times.capacity() * 16
            + (self.rows.capacity() + self.histogram_rows.capacity()) * 16
    }

    /// The series that pass all matchers and may have a sample in the range.
    pub(in crate::metrics) fn select(&self, matchers: &[Matcher], range: MsRange) -> RoaringBitmap {
        let found = self.index.select(matchers);
        let in_range = |&id: &u32| {
            self.times
                .get(id as usize)
                .is_some_and(|&(min, max)| range.overlaps(MsRange::new(min, max)))
        };
        if self
            .times
            .iter()
            .all(|&(min, max)| range.min_ms <= min && max <= range.max_ms)
        {
            return found;
        }
        found.iter().filter(in_range).collect()
    }

    /// First and last time of a series; empty where there is no such series.
    pub(super) fn times(&self, id: u32) -> (i64, i64) {
        self.times
            .get(id as usize)
            .copied()
            .unwrap_or((i64::MAX, i64::MIN))
    }

    /// Rows of a series' floats, may be none.
    pub(in crate::metrics) fn rows(&self, id: u32) -> Range<u64> {
        range(&self.rows, id)
    }

    /// Rows of a series' histograms, may be none.
    pub(in crate::metrics) fn histogram_rows(&self, id: u32) -> Range<u64> {
        range(&self.histogram_rows, id)
    }
}

fn range(rows: &[(u64, u32)], id: u32) -> Range<u64> {
    let (first, n) = rows.get(id as usize).copied().unwrap_or_default();
    first..first.saturating_add(u64::from(n))
}
