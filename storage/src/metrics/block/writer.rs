//! Series in order of labels → the tables of a block and its index. Holds a page of rows of each open column, the
//! compressed pages of one row group, and what the index holds of each label pair.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterPropertiesBuilder;
use parquet::schema::types::ColumnPath;

use super::histograms::HistogramRows;
use super::index::IndexWriter;
use super::table::{SeriesRow, SeriesWriter};
use super::{HISTOGRAMS_FILE, INDEX_FILE, SAMPLES_FILE, ZSTD_LEVEL, compression, properties};
use crate::error::{Error, Result};
use crate::model::{Labels, NO_START_MS, SampleBuf};
use crate::signal::{BlockFiles, BlockStats};

const ROW_GROUP_ROWS: usize = 1 << 20;

/// Rows of a data page, 66 KiB of values: what reading one series unpacks at least. With twice as many samples take 3 % less; up to
/// 64 KiB, for which zstd takes smaller tables, 3 % more.
const PAGE_ROWS: usize = 8448;

/// Level of zstd by which the samples of a cut are packed: saves 5 % over the library's 1, and costs less than the rest of writing.
pub(super) const CUT_LEVEL: i32 = ZSTD_LEVEL;

/// As [`CUT_LEVEL`], of merged blocks, which stay: saves 10 % more, twice as much as 9 does.
pub(super) const MERGED_LEVEL: i32 = 14;

pub(super) type FileWriter = ArrowWriter<Box<dyn Write + Send>>;

/// Starts a Parquet file of a block.
pub(super) fn create(
    files: &mut dyn BlockFiles,
    name: &str,
    schema: SchemaRef,
    properties: WriterPropertiesBuilder,
) -> Result<FileWriter> {
    let options = ArrowWriterOptions::new()
        .with_properties(properties.build())
        .with_skip_arrow_metadata(true);
    Ok(ArrowWriter::try_new_with_options(
        files.create(name)?,
        schema,
        options,
    )?)
}

/// Writes a batch of rows.
pub(super) fn write_columns(
    writer: &mut FileWriter,
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
) -> Result<()> {
    let batch = RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|e| Error::Parquet(ParquetError::ArrowError(e.to_string())))?;
    Ok(writer.write(&batch)?)
}

/// The columns of the table of samples.
pub(super) fn samples_schema() -> Schema {
    Schema::new(vec![
        Field::new("series_id", DataType::Int64, false),
        Field::new("timestamp", DataType::Int64, false),
        Field::new("value", DataType::Float64, false),
        Field::new("start_timestamp", DataType::Int64, true),
    ])
}

/// Writes the tables of a block.
pub(super) struct TableWriter<'f> {
    files: &'f mut dyn BlockFiles,
    zstd_level: i32,
    schema: SchemaRef,
    samples: Option<FileWriter>,
    ids: Vec<i64>,
    times: Vec<i64>,
    values: Vec<f64>,
    starts: Vec<i64>,
    histograms: Option<HistogramRows>,
    series: Option<(SeriesWriter, IndexWriter<Box<dyn Write + Send>>)>,
    used_ids: HashSet<i64>,
    stats: BlockStats,
}

impl<'f> TableWriter<'f> {
    pub(super) fn new(files: &'f mut dyn BlockFiles, zstd_level: i32) -> Self {
        Self {
            files,
            zstd_level,
            schema: Arc::new(samples_schema()),
            samples: None,
            ids: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
            starts: Vec::new(),
            histograms: None,
            series: None,
            used_ids: HashSet::new(),
            stats: BlockStats {
                min_time: i64::MAX,
                max_time: i64::MIN,
                ..BlockStats::default()
            },
        }
    }

    /// Adds a series that follows all before in the order of labels, and its samples, at least one.
    pub(super) fn push(&mut self, labels: &Labels, samples: &SampleBuf) -> Result<()> {
        let (Some(&min_ms), Some(&max_ms)) = (samples.t_ms.first(), samples.t_ms.last()) else {
            return Ok(());
        };
        let id = self.series_id(labels);
        let mut row = SeriesRow {
            id,
            labels: labels.clone(),
            min_ms,
            max_ms,
            first_row: self.stats.rows - self.histogram_rows(),
            rows: 0,
            first_histogram_row: self.histogram_rows(),
            histogram_rows: 0,
        };
        for i in 0..samples.len() {
            let t_ms = samples.t_ms[i];
            let start_ms = samples.start_ms.get(i).copied().unwrap_or(NO_START_MS);
            if let Some(histogram) = samples.histogram(i) {
                self.histogram_table()?
                    .push(id, t_ms, start_ms, histogram)?;
                row.histogram_rows += 1;
                continue;
            }
            self.ids.push(id);
            self.times.push(t_ms);
            self.values.push(samples.values[i]);
            self.starts.push(start_ms);
            row.rows += 1;
            if self.ids.len() == PAGE_ROWS {
                self.write_page()?;
            }
        }
        self.stats.rows += samples.len() as u64;
        self.stats.groups += 1;
        self.stats.raw_bytes += 16 * samples.len() as u64;
        self.stats.min_time = self.stats.min_time.min(min_ms);
        self.stats.max_time = self.stats.max_time.max(max_ms);
        self.push_row(row)
    }

    /// Completes the files; `None` when there was no sample.
    pub(super) fn finish(mut self) -> Result<Option<BlockStats>> {
        let Some((series, index)) = self.series.take() else {
            return Ok(None);
        };
        self.write_page()?;
        let samples = self.samples.take().map(FileWriter::close).transpose()?;
        if let Some(histograms) = self.histograms.take() {
            histograms.finish()?;
        }
        series.finish()?;
        if let Some(samples) = samples {
            drop(index.finish(&samples)?);
        }
        Ok(Some(self.stats))
    }

    fn push_row(&mut self, row: SeriesRow) -> Result<()> {
        let (series, index) = match &mut self.series {
            Some(open) => open,
            none => {
                let series = SeriesWriter::new(self.files)?;
                let index = IndexWriter::new(self.files.create(INDEX_FILE)?)?;
                none.insert((series, index))
            }
        };
        series.push(row.clone())?;
        index.push(row)
    }

    fn histogram_rows(&self) -> u64 {
        self.histograms.as_ref().map_or(0, HistogramRows::rows)
    }

    fn histogram_table(&mut self) -> Result<&mut HistogramRows> {
        if self.histograms.is_none() {
            let (schema, properties) = HistogramRows::layout();
            let writer = create(self.files, HISTOGRAMS_FILE, schema, properties)?;
            self.histograms = Some(HistogramRows::new(writer));
        }
        self.histograms
            .as_mut()
            .ok_or_else(|| Error::BadInput("no table of histograms".to_owned()))
    }

    fn series_id(&mut self, labels: &Labels) -> i64 {
        let mut id = labels.stable_hash() as i64;
        let mut seed = 0;
        while !self.used_ids.insert(id) {
            seed += 1;
            id = xxhash_rust::xxh3::xxh3_64_with_seed(labels.as_bytes(), seed) as i64;
        }
        id
    }

    /// Writes the rows collected so far as a page. Also creates a table without rows, so that each block has one.
    fn write_page(&mut self) -> Result<()> {
        let writer = match &mut self.samples {
            Some(writer) => writer,
            none => {
                let column = |name: &str| ColumnPath::from(name);
                let properties = properties(ROW_GROUP_ROWS)
                    .set_compression(compression(self.zstd_level))
                    .set_dictionary_enabled(false)
                    .set_write_batch_size(PAGE_ROWS)
                    .set_data_page_row_count_limit(PAGE_ROWS)
                    // The count of rows decides, so that pages of all columns have the same rows.
                    .set_data_page_size_limit(16 * PAGE_ROWS)
                    // Ids are hashes: differences of them do not get smaller. Where there are too many for a
                    // dictionary, series are so short that little helps.
                    .set_column_dictionary_enabled(column("series_id"), true)
                    .set_column_encoding(column("series_id"), Encoding::DELTA_BINARY_PACKED)
                    .set_column_encoding(column("timestamp"), Encoding::DELTA_BINARY_PACKED)
                    .set_column_encoding(column("value"), Encoding::BYTE_STREAM_SPLIT)
                    .set_column_encoding(column("start_timestamp"), Encoding::DELTA_BINARY_PACKED);
                let schema = Arc::clone(&self.schema);
                none.insert(create(self.files, SAMPLES_FILE, schema, properties)?)
            }
        };
        if self.ids.is_empty() {
            return Ok(());
        }
        let starts = std::mem::take(&mut self.starts);
        let starts = starts.into_iter().map(|s| (s != NO_START_MS).then_some(s));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(std::mem::take(&mut self.ids))),
            Arc::new(Int64Array::from(std::mem::take(&mut self.times))),
            Arc::new(Float64Array::from(std::mem::take(&mut self.values))),
            Arc::new(starts.collect::<Int64Array>()),
        ];
        write_columns(writer, &self.schema, columns)
    }
}
