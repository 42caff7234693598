//! What the pages of each column of samples hold once they are unpacked, and in which form it is kept.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::page::{self, Streams, Times};
use crate::model::NO_START_MS;

/// A page as it lies in the file.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) rows: usize,
    /// Describes the page as if it were a column chunk of its own.
    pub(super) chunk: ColumnChunkMetaData,
    /// Where it begins in the file.
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
    /// Whether it is kept, and will be read by more than one query.
    pub(super) is_kept: bool,
}

/// What a page holds.
pub(super) trait Unpacked: Sized {
    type Value: Copy;
    /// What a row takes, as a rule.
    const ROW_BYTES: usize;

    fn unpack(page: &Packed) -> Result<Self, ParquetError>;

    /// Number of rows.
    fn len(&self) -> usize;

    /// Adds the values of some rows.
    fn extend(&self, rows: Range<usize>, out: &mut Vec<Self::Value>);
}

impl Unpacked for Times {
    type Value = i64;
    const ROW_BYTES: usize = size_of::<u32>();

    fn unpack(page: &Packed) -> Result<Self, ParquetError> {
        match page::times(&page.bytes, page.rows) {
            Some(times) => Ok(times),
            None => read::<Int64Type>(page).map(Self::Far),
        }
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn extend(&self, rows: Range<usize>, out: &mut Vec<i64>) {
        self.extend(rows, out);
    }
}

/// Values of samples. Those of a page that is read once stay in streams of bytes: often only some rows of each series are wanted.
#[derive(Debug)]
pub(super) enum Values {
    Streams(Streams),
    Plain(Vec<f64>),
    /// As those of `up` often are, or of what only tells a version in its labels.
    Constant {
        value: f64,
        rows: usize,
    },
}

impl Unpacked for Values {
    type Value = f64;
    const ROW_BYTES: usize = size_of::<f64>();

    fn unpack(page: &Packed) -> Result<Self, ParquetError> {
        let (bytes, rows) = (&page.bytes, page.rows);
        let unpacked = match page.is_kept {
            true => page::values(bytes, rows),
            false => page::streams(bytes, rows).map(Self::Streams),
        };
        match unpacked {
            Some(values) => Ok(values),
            None => read::<DoubleType>(page).map(Self::Plain),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Streams(streams) => streams.len(),
            Self::Plain(values) => values.len(),
            Self::Constant { rows, .. } => *rows,
        }
    }

    fn extend(&self, rows: Range<usize>, out: &mut Vec<f64>) {
        match self {
            Self::Streams(streams) => streams.extend(rows, out),
            Self::Plain(values) => out.extend_from_slice(&values[rows]),
            Self::Constant { value, .. } => out.resize(out.len() + rows.len(), *value),
        }
    }
}

/// Start timestamps, [`NO_START_MS`] where there is none.
#[derive(Debug)]
pub(super) struct StartTimestamps(Vec<i64>);

impl Unpacked for StartTimestamps {
    type Value = i64;
    const ROW_BYTES: usize = size_of::<i64>();

    fn unpack(page: &Packed) -> Result<Self, ParquetError> {
        let mut column = reader::<Int64Type>(page)?;
        let (mut levels, mut present) = (Vec::with_capacity(page.rows), Vec::new());
        column.read_records(page.rows, Some(&mut levels), None, &mut present)?;
        let mut present = present.into_iter();
        let start = |level: i16| match level {
            0 => NO_START_MS,
            _ => present.next().unwrap_or(NO_START_MS),
        };
        Ok(Self(levels.into_iter().map(start).collect()))
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn extend(&self, rows: Range<usize>, out: &mut Vec<i64>) {
        out.extend_from_slice(&self.0[rows]);
    }
}

/// All values of a page without nulls, by parquet's reader.
fn read<T: DataType>(page: &Packed) -> Result<Vec<T::T>, ParquetError> {
    let mut values = Vec::with_capacity(page.rows);
    reader::<T>(page)?.read_records(page.rows, None, None, &mut values)?;
    Ok(values)
}

fn reader<T: DataType>(page: &Packed) -> Result<ColumnReaderImpl<T>, ParquetError> {
    let bytes = Arc::new(page.clone());
    let pages = SerializedPageReader::new(bytes, &page.chunk, page.rows, None)?;
    let column = page.chunk.column_descr_ptr();
    Ok(ColumnReaderImpl::new(column, Box::new(pages)))
}

impl Packed {
    /// Its bytes from a position in the file on.
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let skipped = start
            .checked_sub(self.offset)
            .and_then(|n| usize::try_from(n).ok())
            .filter(|&n| n <= self.bytes.len())
            .ok_or_else(|| ParquetError::EOF(format!("byte {start} is not in the page")))?;
        Ok(self.bytes.slice(skipped..))
    }
}

impl Length for Packed {
    fn len(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

impl ChunkReader for Packed {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} are not in the page"
            )));
        }
        Ok(bytes.slice(..length))
    }
}
