//! Blocks of logs: a Parquet file with one row an entry, a table of streams, and an index beside them.
//!
//! ```text
//!  entries.parquet   sorted by labels and time:
//!    stream_id            position in streams.parquet
//!    timestamp            nanoseconds, UTC
//!    labels               of the stream, as {name="value", ..}
//!    line                 text
//!    structured_metadata  map of text to text
//!  streams.parquet   stream_id, labels (map), entries, first and last timestamp
//!  index.bin         "TLLX", version, then zstd of: streams (labels), pages
//! ```
//!
//! A *page* is a run of rows of one stream, of some 128 KiB of text; the index knows the time range of each.
//! Invariant: pages of one stream follow each other in rows and in time.

mod merge;
mod read;
mod write;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::codec::varint;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::model::Labels;

pub(super) use merge::merge;
pub(super) use read::{BlockReader, index};
pub(super) use write::write;

const ENTRIES_FILE: &str = "entries.parquet";
const STREAMS_FILE: &str = "streams.parquet";
const INDEX_FILE: &str = "index.bin";
const INDEX_MAGIC: &[u8; 4] = b"TLLX";
const INDEX_VERSION: u8 = 1;

fn map_type() -> DataType {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    let entry = Field::new("key_value", DataType::Struct(entries), false);
    DataType::Map(Arc::new(entry), false)
}

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

fn entries_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("stream_id", DataType::Int32, false),
        Field::new("timestamp", time_type(), false),
        Field::new("labels", DataType::Utf8, false),
        Field::new("line", DataType::Utf8, false),
        Field::new("structured_metadata", map_type(), false),
    ]))
}

fn streams_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("stream_id", DataType::Int32, false),
        Field::new("labels", map_type(), false),
        Field::new("entries", DataType::Int64, false),
        Field::new("first_timestamp", time_type(), false),
        Field::new("last_timestamp", time_type(), false),
    ]))
}

/// A run of rows of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockPage {
    pub(super) first_row: u64,
    pub(super) rows: u32,
    pub(super) line_bytes: u32,
    pub(super) min_ns: i64,
    pub(super) max_ns: i64,
}

/// What a query wants to know of a block before it reads rows. Kept in the cache.
pub(super) struct BlockIndex {
    /// Streams by their position, for matchers.
    pub(super) index: Index,
    pub(super) streams: Vec<Labels>,
    /// Range of each stream in `pages`.
    ends: Vec<u32>,
    pages: Vec<BlockPage>,
}

impl BlockIndex {
    /// The pages of a stream, in order of time.
    pub(super) fn pages(&self, stream: u32) -> &[BlockPage] {
        let at = stream as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.pages[start as usize..self.ends[at] as usize]
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let body = bytes
            .strip_prefix(INDEX_MAGIC)
            .and_then(|rest| rest.split_first())
            .filter(|(version, _)| **version == INDEX_VERSION)
            .map(|(_, rest)| rest)
            .ok_or_else(corrupt)?;
        let size = zstd::zstd_safe::get_frame_content_size(body)
            .ok()
            .flatten()
            .and_then(|size| usize::try_from(size).ok())
            .filter(|size| *size <= body.len().saturating_mul(4096))
            .ok_or_else(corrupt)?;
        let body = zstd::bulk::decompress(body, size).map_err(|_| corrupt())?;
        let mut rest = &body[..];
        let number = |rest: &mut &[u8]| varint::take(rest).map_err(|_| corrupt());
        let streams = number(&mut rest)?;
        let mut out = Self {
            index: Index::default(),
            streams: Vec::new(),
            ends: Vec::new(),
            pages: Vec::new(),
        };
        let mut row = 0_u64;
        for id in 0..streams {
            let length = usize::try_from(number(&mut rest)?).map_err(|_| corrupt())?;
            let (labels, tail) = rest.split_at_checked(length).ok_or_else(corrupt)?;
            rest = tail;
            let labels = Labels::from_bytes(labels).ok_or_else(corrupt)?;
            let pairs: Vec<(&str, &str)> = labels.iter().collect();
            if out.index.insert(&pairs) != (u32::try_from(id).map_err(|_| corrupt())?, true) {
                return Err(corrupt());
            }
            out.streams.push(labels);
            for _ in 0..number(&mut rest)? {
                let rows = u32::try_from(number(&mut rest)?).map_err(|_| corrupt())?;
                let line_bytes = u32::try_from(number(&mut rest)?).map_err(|_| corrupt())?;
                let min_ns = varint::take_signed(&mut rest).map_err(|_| corrupt())?;
                let length = number(&mut rest)?;
                out.pages.push(BlockPage {
                    first_row: row,
                    rows,
                    line_bytes,
                    min_ns,
                    max_ns: min_ns.wrapping_add(length as i64),
                });
                row += u64::from(rows);
            }
            out.ends.push(out.pages.len() as u32);
        }
        Ok(out)
    }
}

/// Writes the index while a block is written.
#[derive(Default)]
struct IndexWriter {
    streams: u64,
    body: Vec<u8>,
}

impl IndexWriter {
    fn stream(&mut self, labels: &Labels, pages: &[BlockPage]) {
        self.streams += 1;
        varint::put(&mut self.body, labels.as_bytes().len() as u64);
        self.body.extend_from_slice(labels.as_bytes());
        varint::put(&mut self.body, pages.len() as u64);
        for page in pages {
            varint::put(&mut self.body, u64::from(page.rows));
            varint::put(&mut self.body, u64::from(page.line_bytes));
            varint::put_signed(&mut self.body, page.min_ns);
            varint::put(&mut self.body, page.max_ns.wrapping_sub(page.min_ns) as u64);
        }
    }

    fn finish(self) -> Result<Vec<u8>> {
        let mut all = Vec::with_capacity(self.body.len() + 10);
        varint::put(&mut all, self.streams);
        all.extend_from_slice(&self.body);
        let packed = zstd::bulk::compress(&all, 3).map_err(Error::io(INDEX_FILE))?;
        let mut out = INDEX_MAGIC.to_vec();
        out.push(INDEX_VERSION);
        out.extend_from_slice(&packed);
        Ok(out)
    }
}

fn corrupt() -> Error {
    Error::Corrupt {
        file: "a block of logs".to_owned(),
        offset: 0,
        reason: "its content is not what was written".to_owned(),
    }
}
