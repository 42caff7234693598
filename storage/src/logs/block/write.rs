//! Writes entries, sorted by labels and time, as the files of a block.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, MapBuilder, MapFieldNames, RecordBatch, StringBuilder,
    TimestampNanosecondBuilder,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::super::head::{HeadPage, StreamPages};
use super::super::page::{PAGE_BYTES, PAGE_ENTRIES};
use super::{
    BlockPage, ENTRIES_FILE, INDEX_FILE, IndexWriter, STREAMS_FILE, entries_schema, streams_schema,
};
use crate::error::{Error, Result};
use crate::model::{EntryBuf, EntryView, Labels};
use crate::signal::{BlockFiles, BlockStats, TimeSpan};

/// Rows and bytes of text that are handed to the Parquet writer at once.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Rows of a row group, and the bytes that the writer may hold for one.
const GROUP_ROWS: usize = 256 * 1024;
const GROUP_BYTES: usize = 24 * 1024 * 1024;
/// Bytes and rows of a Parquet page.
const DATA_PAGE_BYTES: usize = 256 * 1024;
const DATA_PAGE_ROWS: usize = 4096;

/// Writes one block.
pub(super) struct Writer<'a> {
    files: &'a mut dyn BlockFiles,
    parquet: ArrowWriter<Box<dyn Write + Send>>,
    columns: Columns,
    streams: Streams,
    index: IndexWriter,
    stream: Option<Current>,
    stats: BlockStats,
}

struct Current {
    labels: Labels,
    text: String,
    pages: Vec<BlockPage>,
}

struct Columns {
    rows: usize,
    bytes: usize,
    stream_id: Int32Builder,
    timestamp: TimestampNanosecondBuilder,
    labels: StringBuilder,
    line: StringBuilder,
    metadata: MapBuilder<StringBuilder, StringBuilder>,
}

struct Streams {
    id: Int32Builder,
    labels: MapBuilder<StringBuilder, StringBuilder>,
    entries: Int64Builder,
    first: TimestampNanosecondBuilder,
    last: TimestampNanosecondBuilder,
}

fn map_builder() -> MapBuilder<StringBuilder, StringBuilder> {
    let names = MapFieldNames {
        entry: "key_value".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    };
    MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
}

fn put_map<'t>(
    map: &mut MapBuilder<StringBuilder, StringBuilder>,
    pairs: impl Iterator<Item = (&'t str, &'t str)>,
) -> Result<usize> {
    let mut bytes = 0;
    for (name, value) in pairs {
        bytes += name.len() + value.len();
        map.keys().append_value(name);
        map.values().append_value(value);
    }
    map.append(true).map_err(ParquetError::from)?;
    Ok(bytes)
}

impl<'a> Writer<'a> {
    /// # Errors
    /// What the disk says.
    pub(super) fn new(files: &'a mut dyn BlockFiles) -> Result<Self> {
        let file = files.create(ENTRIES_FILE)?;
        let timestamp = ColumnPath::from("timestamp");
        let line = ColumnPath::from("line");
        let sorting = [0, 1].map(|column_idx| SortingColumn {
            column_idx,
            descending: false,
            nulls_first: false,
        });
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_data_page_size_limit(DATA_PAGE_BYTES)
            .set_data_page_row_count_limit(DATA_PAGE_ROWS)
            .set_write_batch_size(256)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_sorting_columns(Some(sorting.to_vec()))
            .set_column_dictionary_enabled(timestamp.clone(), false)
            .set_column_encoding(timestamp.clone(), Encoding::DELTA_BINARY_PACKED)
            .set_column_statistics_enabled(timestamp, EnabledStatistics::Page)
            .set_column_dictionary_enabled(line.clone(), false)
            .set_column_statistics_enabled(line, EnabledStatistics::None)
            .build();
        let parquet = ArrowWriter::try_new(file, entries_schema(), Some(properties))?;
        Ok(Self {
            files,
            parquet,
            columns: Columns {
                rows: 0,
                bytes: 0,
                stream_id: Int32Builder::new(),
                timestamp: TimestampNanosecondBuilder::new().with_timezone("UTC"),
                labels: StringBuilder::new(),
                line: StringBuilder::new(),
                metadata: map_builder(),
            },
            streams: Streams {
                id: Int32Builder::new(),
                labels: map_builder(),
                entries: Int64Builder::new(),
                first: TimestampNanosecondBuilder::new().with_timezone("UTC"),
                last: TimestampNanosecondBuilder::new().with_timezone("UTC"),
            },
            index: IndexWriter::default(),
            stream: None,
            stats: BlockStats {
                min_time: i64::MAX,
                max_time: i64::MIN,
                ..BlockStats::default()
            },
        })
    }

    /// Ends the stream before and starts this one. Streams come in order of labels.
    pub(super) fn start(&mut self, labels: &Labels) -> Result<()> {
        self.end_stream()?;
        self.stream = Some(Current {
            labels: labels.clone(),
            text: labels.to_string(),
            pages: Vec::new(),
        });
        Ok(())
    }

    /// Adds the next entry of the stream, not earlier than the one before.
    pub(super) fn push(&mut self, entry: EntryView<'_>) -> Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let (t_ns, line) = (entry.t_ns(), entry.line());
        let page = match stream.pages.last_mut() {
            Some(page)
                if (page.line_bytes as usize) < PAGE_BYTES
                    && (page.rows as usize) < PAGE_ENTRIES =>
            {
                page
            }
            _ => {
                stream.pages.push(BlockPage {
                    first_row: self.stats.rows,
                    rows: 0,
                    line_bytes: 0,
                    min_ns: t_ns,
                    max_ns: t_ns,
                });
                let last = stream.pages.len() - 1;
                &mut stream.pages[last]
            }
        };
        page.rows += 1;
        page.line_bytes = page.line_bytes.saturating_add(line.len() as u32);
        page.max_ns = page.max_ns.max(t_ns);
        self.stats.rows += 1;
        self.stats.min_time = self.stats.min_time.min(t_ns);
        self.stats.max_time = self.stats.max_time.max(t_ns);
        let c = &mut self.columns;
        c.stream_id.append_value(self.index.streams as i32);
        c.timestamp.append_value(t_ns);
        c.labels.append_value(&stream.text);
        c.line.append_value(line);
        let metadata = put_map(&mut c.metadata, entry.metadata())?;
        c.rows += 1;
        c.bytes += line.len() + metadata + stream.text.len();
        self.stats.raw_bytes += line.len() as u64;
        if c.rows >= BATCH_ROWS || c.bytes >= BATCH_BYTES {
            self.write_batch()?;
        }
        Ok(())
    }

    fn end_stream(&mut self) -> Result<()> {
        let Some(stream) = self.stream.take().filter(|s| !s.pages.is_empty()) else {
            return Ok(());
        };
        let (Some(first), Some(last)) = (stream.pages.first(), stream.pages.last()) else {
            return Ok(());
        };
        let s = &mut self.streams;
        s.id.append_value(self.index.streams as i32);
        put_map(&mut s.labels, stream.labels.iter())?;
        let rows: i64 = stream.pages.iter().map(|p| i64::from(p.rows)).sum();
        s.entries.append_value(rows);
        s.first.append_value(first.min_ns);
        s.last.append_value(last.max_ns);
        self.index.stream(&stream.labels, &stream.pages);
        self.stats.groups += 1;
        Ok(())
    }

    fn write_batch(&mut self) -> Result<()> {
        let c = &mut self.columns;
        if c.rows == 0 {
            return Ok(());
        }
        (c.rows, c.bytes) = (0, 0);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(c.stream_id.finish()),
            Arc::new(c.timestamp.finish()),
            Arc::new(c.labels.finish()),
            Arc::new(c.line.finish()),
            Arc::new(c.metadata.finish()),
        ];
        let batch = RecordBatch::try_new(entries_schema(), columns).map_err(ParquetError::from)?;
        self.parquet.write(&batch)?;
        if self.parquet.in_progress_size() >= GROUP_BYTES {
            self.parquet.flush()?;
        }
        Ok(())
    }

    /// Ends the files; `None` when nothing was written.
    pub(super) fn finish(mut self) -> Result<Option<BlockStats>> {
        self.end_stream()?;
        self.write_batch()?;
        self.parquet.close()?;
        let s = &mut self.streams;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(s.id.finish()),
            Arc::new(s.labels.finish()),
            Arc::new(s.entries.finish()),
            Arc::new(s.first.finish()),
            Arc::new(s.last.finish()),
        ];
        let batch = RecordBatch::try_new(streams_schema(), columns).map_err(ParquetError::from)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .build();
        let file = self.files.create(STREAMS_FILE)?;
        let mut parquet = ArrowWriter::try_new(file, streams_schema(), Some(properties))?;
        parquet.write(&batch)?;
        parquet.close()?;
        let mut file = self.files.create(INDEX_FILE)?;
        file.write_all(&self.index.finish()?)
            .and_then(|()| file.flush())
            .map_err(Error::io(INDEX_FILE))?;
        Ok((self.stats.rows > 0).then_some(self.stats))
    }
}

/// Writes the entries of a span of time of streams that come in order of labels.
pub(in crate::logs) fn write(
    streams: Vec<StreamPages>,
    span: TimeSpan,
    files: &mut dyn BlockFiles,
) -> Result<Option<BlockStats>> {
    let mut writer = Writer::new(files)?;
    for stream in streams {
        writer.start(&stream.labels)?;
        write_stream(&mut writer, stream.pages, span)?;
    }
    writer.finish()
}

/// Pages that overlap in time are read together, so that entries come in order.
fn write_stream(writer: &mut Writer<'_>, mut pages: Vec<HeadPage>, span: TimeSpan) -> Result<()> {
    let within = |t: i64| span.min <= t && t <= span.max;
    pages.retain(|page| {
        let (min, max) = page.bounds_ns();
        min <= span.max && span.min <= max
    });
    // Stable: pages that begin at one time stay in order of arrival.
    pages.sort_by_key(|page| page.bounds_ns().0);
    let mut rest = &pages[..];
    while let Some((first, _)) = rest.split_first() {
        let mut max = first.bounds_ns().1;
        let mut count = 1;
        while let Some(page) = rest.get(count)
            && page.bounds_ns().0 <= max
        {
            max = max.max(page.bounds_ns().1);
            count += 1;
        }
        let (cluster, tail) = rest.split_at(count);
        rest = tail;
        let mut bufs = Vec::with_capacity(count);
        for page in cluster {
            let mut buf = EntryBuf::default();
            page.read(within, &mut buf)?;
            bufs.push(buf);
        }
        if let [buf] = &bufs[..] {
            buf.iter().try_for_each(|entry| writer.push(entry))?;
            continue;
        }
        let mut entries: Vec<EntryView<'_>> = bufs.iter().flat_map(EntryBuf::iter).collect();
        entries.sort_by_key(EntryView::t_ns);
        entries
            .into_iter()
            .try_for_each(|entry| writer.push(entry))?;
    }
    Ok(())
}
